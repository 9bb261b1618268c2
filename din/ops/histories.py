"""Histories and the candidates that they are weighed for: one interface for training, evaluation and requests.

A *pair* is a behaviour together with a candidate that it is weighed for. Models compute with tensors over pairs,
[*pairs, X], so one formula fits both cases:

    Packed       B impressions with a history each              pairs [T]      behaviour t, its impression's candidate
    OneHistory   C candidates of one user, who has one history  pairs [C, L]   every behaviour with every candidate

`din.ops` explains the shape letters. The C candidates of a request are impressions too.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor
from typing_extensions import override

from din.ops.segments import LOWEST, segment_max, segment_softmax, segment_sum


class Histories(ABC):
    """The histories of B impressions.

    Attributes:
        impressions: B.
        owners: the number of users: B, or 1 in a request.
    """

    impressions: int
    owners: int

    @abstractmethod
    def queries(self, rows_BX: Tensor) -> Tensor:
        """Return the row of each pair's candidate, in a form that broadcasts to [*pairs, X]."""

    @abstractmethod
    def keys(self, rows_TX: Tensor) -> Tensor:
        """Return the row of each pair's behaviour, in a form that broadcasts to [*pairs, X]."""

    @abstractmethod
    def dot(self, rows_BX: Tensor, rows_TX: Tensor) -> Tensor:
        """Return the product of each pair's rows, that of its candidate and that of its behaviour, [*pairs, 1]."""

    @abstractmethod
    def largest(self, scores: Tensor) -> Tensor:
        """Return the largest of the scores [*pairs, 1] of each impression, [B, 1], which is 0 without behaviours."""

    @abstractmethod
    def of_owners(self) -> "Histories":
        """Return the same histories, each with one candidate: B of them, or 1 in a request."""

    @abstractmethod
    def weighted_sum(self, weights: Tensor, key_TK: Tensor) -> Tensor:
        """Return Σ weight·key over the behaviours of each impression, [B, K], which is 0 without behaviours.

        Args:
            weights: one weight of each pair, [*pairs, 1].
            key_TK: the keys of the behaviours.
        """

    @abstractmethod
    def softmax(self, scores: Tensor) -> Tensor:
        """Return the softmax of scores [*pairs, 1] over the behaviours of each impression, in the same shape."""

    @abstractmethod
    def total(self, rows_TX: Tensor) -> Tensor:
        """Return the sum of the behaviours' rows for each impression, [B, X]."""

    @abstractmethod
    def recency(self, rows_TX: Tensor) -> Tensor:
        """Return the number of later behaviours in the history of each, int64 [T]: 0 for the newest.

        Args:
            rows_TX: any rows of the behaviours.
        """

    @abstractmethod
    def blocks(self, rows_TX: Tensor, length: int) -> tuple[Tensor, Tensor]:
        """Return the newest `length` behaviours of each history, newest first, padded with zeros.

        Args:
            rows_TX: the rows of the behaviours.
            length: the largest number of behaviours to return.

        Returns:
            The rows [owners, length, X], and 1 where there is a behaviour, 0 where there is padding, [owners, length].
        """

    def mean(self, rows_TX: Tensor, member_T1: Tensor | None = None) -> Tensor:
        """Return the mean of the behaviours' rows for each impression, [B, X], which is 0 without behaviours.

        Args:
            member_T1: 1 for the behaviours that count, else 0. None: all count.
        """
        one_T1 = torch.ones_like(rows_TX[:, :1]) if member_T1 is None else member_T1
        return self.total(rows_TX * one_T1) / self.total(one_T1).clamp_min(1)


class Packed(Histories):
    """Impressions with one history each. The behaviours of all histories are concatenated.

    Args:
        segment_T: each behaviour's impression, non-decreasing.
        impressions: B.
    """

    def __init__(self, segment_T: Tensor, impressions: int) -> None:
        self.segment_T = segment_T
        self.impressions = self.owners = impressions

    @override
    def queries(self, rows_BX: Tensor) -> Tensor:
        return rows_BX.index_select(0, self.segment_T)

    @override
    def keys(self, rows_TX: Tensor) -> Tensor:
        return rows_TX

    @override
    def dot(self, rows_BX: Tensor, rows_TX: Tensor) -> Tensor:
        return (self.queries(rows_BX) * rows_TX).sum(1, keepdim=True)

    @override
    def largest(self, scores: Tensor) -> Tensor:
        top_B = segment_max(scores.squeeze(1), self.segment_T, self.impressions)
        return torch.where(top_B == LOWEST, torch.zeros_like(top_B), top_B).unsqueeze(1)

    @override
    def of_owners(self) -> "Packed":
        return self

    @override
    def weighted_sum(self, weights: Tensor, key_TK: Tensor) -> Tensor:
        return self.total(weights * key_TK)

    @override
    def softmax(self, scores: Tensor) -> Tensor:
        return segment_softmax(scores, self.segment_T, self.impressions)

    @override
    def total(self, rows_TX: Tensor) -> Tensor:
        return segment_sum(rows_TX, self.segment_T, self.impressions)

    @override
    def recency(self, rows_TX: Tensor) -> Tensor:
        one_T1 = torch.ones_like(rows_TX[:, :1]).long()
        end_B = segment_sum(one_T1, self.segment_T, self.impressions).squeeze(1).cumsum(0)
        return end_B.index_select(0, self.segment_T) - one_T1.squeeze(1).cumsum(0)

    @override
    def blocks(self, rows_TX: Tensor, length: int) -> tuple[Tensor, Tensor]:
        recency_T = self.recency(rows_TX)
        places = self.impressions * length
        place_T = torch.where(recency_T < length, self.segment_T * length + recency_T, places)
        marked = torch.cat([rows_TX, torch.ones_like(rows_TX[:, :1])], 1)
        filled = segment_sum(marked, place_T, places + 1)[:-1].view(self.impressions, length, -1)
        return filled[:, :, :-1], filled[:, :, -1]


class OneHistory(Histories):
    """The candidates of one request, which share one history. Nothing is copied for each candidate.

    Args:
        candidates: C.
    """

    owners = 1

    def __init__(self, candidates: int) -> None:
        self.impressions = candidates

    @override
    def queries(self, rows_BX: Tensor) -> Tensor:
        return rows_BX.unsqueeze(1)

    @override
    def keys(self, rows_TX: Tensor) -> Tensor:
        return rows_TX.unsqueeze(0)

    @override
    def dot(self, rows_BX: Tensor, rows_TX: Tensor) -> Tensor:
        return (rows_BX @ rows_TX.T).unsqueeze(2)

    @override
    def largest(self, scores: Tensor) -> Tensor:
        top_C1 = self._with_lowest(scores.squeeze(2)).amax(1, keepdim=True)
        return torch.where(top_C1 == LOWEST, torch.zeros_like(top_C1), top_C1)

    @override
    def of_owners(self) -> "OneHistory":
        return OneHistory(1)

    @override
    def weighted_sum(self, weights: Tensor, key_TK: Tensor) -> Tensor:
        return weights.squeeze(2) @ key_TK

    @override
    def softmax(self, scores: Tensor) -> Tensor:
        return torch.softmax(self._with_lowest(scores), 1)[:, :-1]

    @override
    def total(self, rows_TX: Tensor) -> Tensor:
        return rows_TX.sum(0, keepdim=True).expand(self.impressions, -1)

    @override
    def recency(self, rows_TX: Tensor) -> Tensor:
        return self._one_segment(rows_TX).recency(rows_TX)

    @override
    def blocks(self, rows_TX: Tensor, length: int) -> tuple[Tensor, Tensor]:
        return self._one_segment(rows_TX).blocks(rows_TX, length)

    def _with_lowest(self, scores: Tensor) -> Tensor:
        """Return the scores [C, L, …] with one that gets no weight, since a maximum over no behaviour is undefined."""
        return torch.cat([scores, torch.full_like(scores.sum(1, keepdim=True), LOWEST)], 1)

    def _one_segment(self, rows_TX: Tensor) -> Packed:
        return Packed(torch.zeros_like(rows_TX[:, 0], dtype=torch.long), 1)

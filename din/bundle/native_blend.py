"""The blend of a saved model in numpy: what `din.model.blend` computes, in less time.

`din.ops` explains the shape letters, and `din.bundle.native` O. E, I, K, J, S and r are those of `din.model.blend`.
Q is S·r.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from din.bundle.native_histories import ScoredHistories
from din.features.packing import PackedBatch
from din.ops.constants import SHRINK
from din.ops.scoring import Floats, product
from din.schema import ITEM_ID, Group

Ids = NDArray[np.int64]

_PREFIX = "blend."


class _Impressions(NamedTuple):
    """B candidates and the T behaviours of their O histories.

    Attributes:
        candidate_B, behaviour_T: their ids.
        segment_T: the candidate of each behaviour, if each has a history of its own.
        offsets: int64 [O + 1], where each history begins.
    """

    candidate_B: Ids
    behaviour_T: Ids
    segment_T: Ids
    offsets: Ids

    @property
    def share_history(self) -> bool:
        """Whether all candidates have the same history."""
        return len(self.offsets) == 2

    def total(self, rows_TX: Floats) -> Floats:
        """Return the sum of each history's rows, [O, X]."""
        if self.share_history:
            return rows_TX.sum(0, keepdims=True)
        return ScoredHistories(rows_TX, self.offsets).total()

    def by_behaviour(self, rows_OX: Floats) -> Floats:
        """Return rows that broadcast to those of each behaviour's history, [T, X] or [1, X]."""
        return rows_OX if self.share_history else rows_OX[self.segment_T]


class NativeBlend:
    """The blend of a saved model.

    Args:
        record: the `BlendRecord` in the model's config.json.
        offsets: the first row of each field in the joint table.
        weights: the weights of the model, with those of the blend.
    """

    def __init__(self, record: Mapping[str, Any], offsets: Mapping[str, int], weights: Mapping[str, Floats]) -> None:
        tensors = {name.removeprefix(_PREFIX): tensor for name, tensor in weights.items() if name.startswith(_PREFIX)}
        self._tensors = tensors
        self._vectors = tensors["vectors"]
        self._offsets = offsets
        self._feedback: str | None = record["feedback"]
        if self._feedback is not None:
            starts, items, self._each = tensors["factors"].shape
            self._begin_S = np.arange(starts) * self._each
            self._factor_IQ = tensors["factors"].transpose(1, 0, 2).reshape(items, -1)
            self._noise_Q = np.repeat(tensors["noise"], self._each)

    @classmethod
    def of(cls, config: Mapping[str, Any], weights: Mapping[str, Floats]) -> Self | None:
        """Return the blend of a model with this config.json, or None if it has none."""
        record = config.get("blend")
        return cls(record, config["table"]["offsets"], weights) if record else None

    def __call__(self, logit_B: Floats, packed: PackedBatch, offsets: Ids) -> Floats:
        """Return the blended logits [B].

        Args:
            logit_B: the logits of the model.
            packed: the impressions.
            offsets: int64 [O + 1], where each history begins.
        """
        weights = self._tensors
        column_BK = np.empty((len(packed), len(weights["centre"])), np.float32)
        first = 0
        for part in self._columns(logit_B, packed, offsets):
            column_BK[:, first : first + part.shape[1]] = part
            first += part.shape[1]
        z_BK = (column_BK - weights["centre"]) / weights["scale"]
        bent_BJK = np.maximum(z_BK[:, np.newaxis] - weights["knots"], 0) * weights["bends"]
        return z_BK @ weights["slopes"] + bent_BJK.sum((1, 2)) + weights["constant"]

    def _columns(self, logit_B: Floats, packed: PackedBatch, offsets: Ids) -> Iterator[Floats]:
        """Yield the columns, [B, X], or [1, X] for what the candidates of a request share."""
        item_U = self._known(next(iter(packed.lookups[Group.ITEM].values())).ids, ITEM_ID, self._vectors)
        rows = _Impressions(item_U[packed.candidate], item_U[packed.behaviour], packed.segment, offsets)
        length_O1 = np.diff(offsets)[:, np.newaxis]
        yield logit_B[:, np.newaxis]
        yield self._tensors["counts"][rows.candidate_B]
        yield np.log1p(length_O1).astype(np.float32)
        x_T1 = self._feedback_of(packed, rows.behaviour_T)
        nearest_B, sums_B2 = self._neighbours(rows, np.concatenate([np.ones_like(x_T1), x_T1], 1))
        yield nearest_B[:, np.newaxis]
        yield sums_B2[:, :1] / (length_O1 + 1).astype(np.float32)
        if self._feedback is not None:
            shrunk_O1 = (length_O1 + SHRINK).astype(np.float32)
            mean_O1 = rows.total(x_T1) / shrunk_O1
            yield np.divide(sums_B2[:, 1:] - mean_O1 * sums_B2[:, :1], shrunk_O1)
            yield from self._factors(rows, x_T1)

    def _neighbours(self, rows: _Impressions, value_T2: Floats) -> tuple[Floats, Floats]:
        """Return the largest cosine of each candidate with a behaviour, [B], and Σ cosine·value, [B, 2]."""
        candidate_BE = self._vectors[rows.candidate_B]
        behaviour_TE = self._vectors[rows.behaviour_T]
        if rows.share_history:
            cosine_BT = product(candidate_BE, behaviour_TE.T)
            cosine_BT[rows.candidate_B[:, np.newaxis] == rows.behaviour_T] = 0
            nearest_B = cosine_BT.max(1) if len(rows.behaviour_T) else np.zeros(len(cosine_BT), np.float32)
            return nearest_B, cosine_BT @ value_T2
        cosine_T = np.einsum("te,te->t", behaviour_TE, candidate_BE[rows.segment_T])
        cosine_T[rows.candidate_B[rows.segment_T] == rows.behaviour_T] = 0
        starts = rows.offsets[:-1]
        filled = starts < rows.offsets[1:]
        nearest_B = np.zeros(len(starts), np.float32)
        nearest_B[filled] = np.maximum.reduceat(cosine_T, starts[filled])
        return nearest_B, rows.total(cosine_T[:, np.newaxis] * value_T2)

    def _feedback_of(self, packed: PackedBatch, behaviour_T: Ids) -> Floats:
        """Return the feedback of each behaviour less the mean of its item, [T, 1]; 0 without feedback."""
        if self._feedback is None:
            return np.zeros((len(behaviour_T), 1), np.float32)
        values = self._tensors["values"]
        value_T = self._known(packed.lookups[Group.BEHAVIOUR][self._feedback].ids, self._feedback, values)
        x_T = (values[value_T] - self._tensors["means"][behaviour_T]) * (behaviour_T > 0)
        return x_T[:, np.newaxis]

    def _factors(self, rows: _Impressions, x_T1: Floats) -> Iterator[Floats]:
        """Yield level and taste, means over the starts of the factor model, whose factors are side by side."""
        noise_Q = self._noise_Q
        v_TQ = self._factor_IQ[rows.behaviour_T]
        sum_OQ = rows.total(v_TQ * v_TQ) + noise_Q
        w_OQ = np.divide(rows.total(v_TQ * x_T1), sum_OQ)
        product_TS = np.add.reduceat(v_TQ * rows.by_behaviour(w_OQ), self._begin_S, 1)
        left_TQ = x_T1 - np.repeat(product_TS, self._each, 1)
        w_OQ += np.float32(0.5) * (rows.total(left_TQ * v_TQ) - noise_Q * w_OQ) / sum_OQ
        part_OQ = w_OQ / np.float32(len(self._begin_S))
        yield part_OQ[:, self._begin_S].sum(1, keepdims=True)
        part_OQ[:, self._begin_S] = 0
        yield (self._factor_IQ[rows.candidate_B] * part_OQ).sum(1, keepdims=True)

    def _known(self, row_N: Ids, field: str, table: Floats) -> Ids:
        """Return the ids of rows of a field's part of the joint table, 0 for those that the table does not hold."""
        id_N = row_N - self._offsets[field]
        return np.where(id_N < len(table), id_N, 0)

"""Tensors of a packed batch, and the lookups into the embedding table.

The table is an argument of every model, not a parameter: training passes the rows of the batch as one dense leaf (the
gradient is dense over R rows, flat in vocabulary size), evaluation and export pass the whole table.
`index_select`, not `table[ids]`: its backward is several times faster on CPU.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from din.eventlog.packing import Lookup, PackedBatch

LOWEST = -1e30  # a score that softmax gives no weight beside any real one


class Ids(NamedTuple):
    """`Lookup` as tensors."""

    ids: Tensor
    owners: Tensor | None
    weights: Tensor | None

    @property
    def plain(self) -> bool:
        """One id for each owner, taken as it is."""
        return self.owners is None and self.weights is None


class Batch(NamedTuple):
    """`PackedBatch` as tensors; lookups in the order of the fields.

    For a request (one user, C candidates): behaviour [L], segment [L] of zeros, users and contexts of one owner.
    rows [R]: in training the row of the joint table behind each row of the table at hand; None = it is the joint table.
    """

    items: tuple[Ids, ...]
    behaviours: tuple[Ids, ...]
    users: tuple[Ids, ...]
    contexts: tuple[Ids, ...]
    candidate: Tensor
    behaviour: Tensor
    segment: Tensor
    rows: Tensor | None = None


class Keys(NamedTuple):
    """Keys of T packed behaviours without a copy of each: behaviour t has row position_T[t] of source_NK, or t (None).

    segment_T: the impression of each, non-decreasing.
    """

    source_NK: Tensor
    position_T: Tensor | None
    segment_T: Tensor

    def rows(self) -> Tensor:
        """One for each behaviour, [T, K]."""
        return self.source_NK if self.position_T is None else self.source_NK.index_select(0, self.position_T)

    def chosen(self, member_T: Tensor) -> "Keys":
        """Those of the behaviours where `member` is true."""
        at = member_T.nonzero().squeeze(1)
        position = at if self.position_T is None else self.position_T.index_select(0, at)
        return Keys(self.source_NK, position, self.segment_T.index_select(0, at))


class Columns(NamedTuple):
    """Columns column .. column + width of the table's rows that fields of `owners` hold, the fields side by side."""

    lookups: tuple[Ids, ...]
    owners: int
    column: int
    width: int


class Embedded(NamedTuple):
    """What a model reads of the table, each group's fields side by side.

    items_UD: of distinct items. behaviours_TF: of past feedback. profile_BP: of users and contexts. bias_B1: each
    candidate's item bias, where the model has it.
    """

    items_UD: Tensor
    behaviours_TF: Tensor
    profile_BP: Tensor
    bias_B1: Tensor | None = None


def encode(embedded: Embedded, batch: Batch) -> tuple[Tensor, Keys]:
    """Candidates [B, D], and the keys of all behaviours [T, K]: item fields, then feedback."""
    items_UD, feedback_TF = embedded[:2]
    keys = Keys(items_UD, batch.behaviour, batch.segment)
    if batch.behaviours:
        keys = Keys(torch.cat([keys.rows(), feedback_TF], 1), None, batch.segment)
    return items_UD.index_select(0, batch.candidate), keys


def to_tensors(packed: PackedBatch, rows: Tensor | None = None) -> Batch:
    """Share a packed batch's memory as tensors."""
    return Batch(
        items=_ids(packed.items),
        behaviours=_ids(packed.behaviours),
        users=_ids(packed.users),
        contexts=_ids(packed.contexts),
        candidate=torch.from_numpy(packed.candidate),
        behaviour=torch.from_numpy(packed.behaviour),
        segment=torch.from_numpy(packed.segment),
        rows=rows,
    )


def embed(table: Tensor, columns: Columns) -> Tensor:
    """Of a table [R, W] to [owners, fields × width]; a `multi` field is the mean of its values, a standardised one its
    row times the value."""
    lookups, owners, column, width = columns
    own = table[:, column : column + width]
    return torch.cat([table.new_zeros(owners, 0), *(embed_field(own, lookup, owners) for lookup in lookups)], 1)


def embed_field(table: Tensor, lookup: Ids, owners: int) -> Tensor:
    """[N, W] of one field."""
    rows = table.index_select(0, lookup.ids)
    if lookup.weights is not None:
        rows = rows * lookup.weights.unsqueeze(1)
    if lookup.owners is None:
        return rows
    return segment_sum(rows, lookup.owners, owners) / segment_sum(
        rows.new_ones(rows.shape[0], 1), lookup.owners, owners
    )


def segment_sum(values: Tensor, segment: Tensor, segments: int) -> Tensor:
    """Sum rows [T, W] by `segment` [T] into [segments, W]; an empty segment is 0."""
    return values.new_zeros(segments, values.shape[1]).index_add(0, segment, values)


def segment_softmax(score_T1: Tensor, segment_T: Tensor, impressions: int, member_T1: Tensor | None) -> Tensor:
    """Softmax over the behaviours of each impression, [T, 1]; behaviours with `member` 0 get no weight."""
    if member_T1 is not None:
        score_T1 = torch.where(member_T1 > 0, score_T1, LOWEST)
    top_B = score_T1.new_full((impressions,), LOWEST)
    top_B = top_B.scatter_reduce(0, segment_T, score_T1.detach().squeeze(1), "amax")
    power_T1 = (score_T1 - top_B.index_select(0, segment_T).unsqueeze(1)).exp()
    if member_T1 is not None:
        power_T1 = power_T1 * member_T1
    total_B1 = segment_sum(power_T1, segment_T, impressions).clamp_min(1)  # the top one alone adds 1
    return power_T1 / total_B1.index_select(0, segment_T)


def _ids(group: dict[str, Lookup]) -> tuple[Ids, ...]:
    def tensor(array: np.ndarray | None) -> Tensor | None:
        return None if array is None else torch.from_numpy(array)

    return tuple(Ids(torch.from_numpy(x.ids), tensor(x.owners), tensor(x.weights)) for x in group.values())

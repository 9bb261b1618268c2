"""Tensors of a packed batch.

The embedding table is an argument of every model, not a parameter: training passes the rows of the batch as one dense
leaf (the gradient is dense over R rows, flat in vocabulary size), evaluation and export pass the whole table.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from din.features.packing import PackedBatch
from din.field_forms import Lookup
from din.ops.inputs import Places
from din.ops.lookup import Ids
from din.schema import Group


class Batch(NamedTuple):
    """`PackedBatch` as tensors; each group's lookups in the order of its fields.

    For a request (one user, C candidates): behaviour [L], segment [L] of zeros, user and context fields of one owner.
    rows [R]: in training the row of the joint table behind each row of the table at hand; None = it is the joint table.
    """

    lookups: dict[Group, tuple[Ids, ...]]
    candidate: Tensor
    behaviour: Tensor
    segment: Tensor
    rows: Tensor | None = None

    @property
    def places(self) -> Places:
        """Which items it shows."""
        return Places(self.candidate, self.behaviour, self.segment)

    @property
    def profile(self) -> tuple[Ids, ...]:
        """Lookups of user and context fields, which have one owner an impression."""
        return self.lookups[Group.USER] + self.lookups[Group.CONTEXT]

    @property
    def distinct_items(self) -> int:
        """How many distinct items there are."""
        return self.lookups[Group.ITEM][0].ids.shape[0]


def to_tensors(packed: PackedBatch, rows: Tensor | None = None) -> Batch:
    """Share a packed batch's memory as tensors."""
    return Batch(
        lookups={group: tuple(map(_ids, own.values())) for group, own in packed.lookups.items()},
        candidate=torch.from_numpy(packed.candidate),
        behaviour=torch.from_numpy(packed.behaviour),
        segment=torch.from_numpy(packed.segment),
        rows=rows,
    )


def _ids(lookup: Lookup) -> Ids:
    def tensor(array: np.ndarray | None) -> Tensor | None:
        return None if array is None else torch.from_numpy(array)

    return Ids(torch.from_numpy(lookup.ids), tensor(lookup.owners), tensor(lookup.weights))

"""The tensors of a packed batch.

The embedding table is an argument of every model, not a parameter. Training passes the rows of the batch as one dense
leaf, so the gradient is dense over these rows and its size does not grow with the vocabularies. Evaluation and export
pass the whole table.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from din.features.packing import PackedBatch
from din.kinds import Lookup
from din.ops.inputs import Places
from din.schema import Group


class Batch(NamedTuple):
    """A `PackedBatch` as tensors.

    A request has one user, C candidates and L behaviours: there, read C for B and L for T. Its segments are all 0, and
    its user and context fields have one owner.

    Attributes:
        lookups: the lookups of each group, in the order of its fields.
        rows: in training, the joint-table row of each row of the table that the model is given. None: the model is
            given the joint table itself.
    """

    lookups: dict[Group, tuple[Lookup[Tensor], ...]]
    candidate: Tensor  # int64 [B], positions among the distinct items
    behaviour: Tensor  # int64 [T], positions among the distinct items
    segment: Tensor  # int64 [T], each behaviour's impression
    age: Tensor | None  # float32 [T], seconds from the behaviour to the impression, NaN where unknown
    rows: Tensor | None = None  # int64 [R]
    negative: Tensor | None = None  # int64 [T], a random item for each behaviour; None if no loss reads it
    user: Tensor | None = None  # int64 [B], the user of each impression; None if no loss reads requests
    request: Tensor | None = None  # int64 [B], the number of its request in the batch

    @property
    def places(self) -> Places:
        """The items of candidates and behaviours, and the ages of behaviours."""
        return Places(self.candidate, self.behaviour, self.segment, self.age)

    @property
    def profile(self) -> tuple[Lookup[Tensor], ...]:
        """Lookups of user and context fields, which have one owner per impression."""
        return self.lookups[Group.USER] + self.lookups[Group.CONTEXT]

    @property
    def distinct_items(self) -> int:
        """The number of distinct items."""
        return self.lookups[Group.ITEM][0].ids.shape[0]


def to_tensors(packed: PackedBatch, rows: Tensor | None = None) -> Batch:
    """Return a packed batch as tensors that share its memory."""
    return Batch(
        lookups={group: tuple(map(_lookup, by_name.values())) for group, by_name in packed.lookups.items()},
        candidate=torch.from_numpy(packed.candidate),
        behaviour=torch.from_numpy(packed.behaviour),
        segment=torch.from_numpy(packed.segment),
        age=_tensor(packed.age),
        rows=rows,
        negative=_tensor(packed.negative),
        user=_tensor(packed.user),
        request=_tensor(packed.request),
    )


def _lookup(lookup: Lookup) -> Lookup[Tensor]:
    return Lookup(torch.from_numpy(lookup.ids), _tensor(lookup.owners), _tensor(lookup.weights))


def _tensor(array: np.ndarray | None) -> Tensor | None:
    return None if array is None else torch.from_numpy(array)

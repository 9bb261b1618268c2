"""Tensors of a packed batch.

The embedding table is an argument of every model, not a parameter: training passes the rows of the batch as one dense
leaf (the gradient is dense over R rows, flat in vocabulary size), evaluation and export pass the whole table.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from din.features.packing import Lookup, PackedBatch
from din.ops.inputs import Places
from din.ops.lookup import Ids


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

    @property
    def places(self) -> Places:
        """Which items it shows."""
        return Places(self.candidate, self.behaviour, self.segment)


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


def _ids(group: dict[str, Lookup]) -> tuple[Ids, ...]:
    def tensor(array: np.ndarray | None) -> Tensor | None:
        return None if array is None else torch.from_numpy(array)

    return tuple(Ids(torch.from_numpy(x.ids), tensor(x.owners), tensor(x.weights)) for x in group.values())

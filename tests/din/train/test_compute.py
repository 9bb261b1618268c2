"""Where a training computes."""

import math

import pytest
import torch
from torch import Tensor

from din.kinds import Lookup
from din.model.embedding import Batch
from din.schema import Group
from din.train.compute import in_large_pages, moved


def test_every_tensor_of_a_batch_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lookups move with the rest. The device `meta` stands for a GPU."""
    monkeypatch.setattr(Tensor, "pin_memory", lambda tensor: tensor)  # needs a GPU
    ids = torch.zeros(3, dtype=torch.int64)
    lookups = {Group.ITEM: (Lookup(ids), Lookup(ids, ids)), Group.USER: (Lookup(ids, weights=torch.zeros(3)),)}
    batch = moved(Batch(lookups=lookups, candidate=ids, behaviour=ids, segment=ids, age=ids), torch.device("meta"))
    own = [part for group in batch.lookups.values() for one in group for part in one.parts().values()]
    assert len(own) == 5
    assert all(part.is_meta for part in (*own, batch.candidate, batch.behaviour, batch.segment, batch.age))


@pytest.mark.parametrize("shape", [(1,), (3, 17), (200_000, 9)])
def test_large_pages_hold_the_same_values(shape: tuple[int, ...]) -> None:
    """The copy can be changed, and the original keeps its values."""
    tensor = torch.arange(math.prod(shape), dtype=torch.float32).view(shape)
    copy = in_large_pages(tensor)
    assert torch.equal(copy, tensor)
    copy += 1
    assert torch.equal(copy, tensor + 1)

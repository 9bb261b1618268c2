"""Where a training computes."""

import pytest
import torch
from torch import Tensor

from din.kinds import Lookup
from din.model.embedding import Batch
from din.schema import Group
from din.train.compute import moved


def test_every_tensor_of_a_batch_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lookups move with the rest. The device `meta` stands for a GPU."""
    monkeypatch.setattr(Tensor, "pin_memory", lambda tensor: tensor)  # needs a GPU
    ids = torch.zeros(3, dtype=torch.int64)
    lookups = {Group.ITEM: (Lookup(ids), Lookup(ids, ids)), Group.USER: (Lookup(ids, weights=torch.zeros(3)),)}
    batch = moved(Batch(lookups=lookups, candidate=ids, behaviour=ids, segment=ids, age=ids), torch.device("meta"))
    own = [part for group in batch.lookups.values() for one in group for part in one.parts().values()]
    assert len(own) == 5
    assert all(part.is_meta for part in (*own, batch.candidate, batch.behaviour, batch.segment, batch.age))

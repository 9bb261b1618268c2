"""Batches from a background thread. Alone: `pytest tests/din/train/test_loader.py`."""

import threading
from collections.abc import Generator, Iterator
from contextlib import nullcontext

import pytest

from din.base.errors import InputError
from din.train.loader import GROUP, prefetch


@pytest.mark.parametrize("torn", [False, True])
@pytest.mark.parametrize("size", [0, 1, GROUP - 1, GROUP, GROUP + 1, 5 * GROUP + 3])
def test_every_batch_comes_once_and_in_order(size: int, torn: bool) -> None:
    """Nothing is lost or repeated at the borders of groups. An error is raised here, after all earlier groups."""

    def source() -> Iterator[int]:
        yield from range(size)
        if torn:
            raise InputError("shard 3 is torn")

    found: list[int] = []
    with pytest.raises(InputError, match="shard 3 is torn") if torn else nullcontext():
        found.extend(prefetch(source()))
    assert found == list(range(len(found)))
    assert size - GROUP * torn <= len(found) <= size


def test_closing_ends_the_thread() -> None:
    """The thread finishes the group that it has begun, and makes no other."""
    made: list[int] = []

    def source() -> Iterator[int]:
        for number in range(100 * GROUP):
            made.append(number)
            yield number

    before = set(threading.enumerate())
    batches = prefetch(source())
    next(batches)
    assert isinstance(batches, Generator)
    batches.close()
    for worker in set(threading.enumerate()) - before:
        worker.join(30)
        assert not worker.is_alive()
    assert len(made) <= GROUP

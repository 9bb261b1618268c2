"""Batches from a background thread."""

import threading
from collections.abc import Iterator

import pytest

from din.errors import InputError
from din.train.loader import GROUP, prefetch


@pytest.mark.parametrize("size", [0, 1, GROUP - 1, GROUP, GROUP + 1, 5 * GROUP + 3])
def test_every_batch_comes_once_and_in_order(size: int) -> None:
    assert list(prefetch(iter(range(size)))) == list(range(size))


def test_the_next_group_is_made_by_another_thread_while_one_is_used() -> None:
    makers: list[int] = []
    second_group_is_begun = threading.Event()

    def source() -> Iterator[int]:
        for number in range(2 * GROUP):
            makers.append(threading.get_ident())
            if number == GROUP:
                second_group_is_begun.set()
            yield number

    batches = prefetch(source())
    assert next(batches) == 0
    assert second_group_is_begun.wait(30)
    assert list(batches) == list(range(1, 2 * GROUP))
    assert threading.get_ident() not in makers


def test_what_the_thread_raises_is_raised_here() -> None:
    def source() -> Iterator[int]:
        yield from range(GROUP)
        raise InputError("shard 3 is torn")

    found: list[int] = []
    with pytest.raises(InputError, match="shard 3 is torn"):
        found.extend(prefetch(source()))
    assert found == list(range(GROUP))

"""A feature directory that is not whole. Alone: `pytest tests/eventlog/test_reader.py`."""

from collections.abc import Callable
from typing import Any

import pytest

from din.errors import InputError
from din.eventlog.reader import Features


@pytest.mark.parametrize("read", [lambda features: features.split_rows("train"), lambda f: f.shard(1, "train")])
@pytest.mark.parametrize(("content", "says"), [(None, "not found"), (b"PAR1 torn", "not a readable Parquet file")])
def test_a_shard_that_is_gone_or_torn_is_bad_input(
    read: Callable[[Features], Any], content: bytes | None, says: str, features: Features
) -> None:
    """Where only its footer is read too: the file by name, and the stage to run."""
    shard = features.root / "shards/00001/train.parquet"
    shard.unlink()
    if content is not None:
        shard.write_bytes(content)
    with pytest.raises(InputError, match=rf"00001/train.parquet: {says}.*featurize"):
        read(features)


def test_a_torn_page_is_named_in_one_line(features: Features) -> None:
    """Arrow's own message takes three; the footer, which is read first, is whole."""
    shard = features.root / "shards/00001/train.parquet"
    content = bytearray(shard.read_bytes())
    content[4:200] = bytes([255]) * 196
    shard.write_bytes(content)
    assert features.split_rows("train")[1] > 0
    with pytest.raises(InputError) as caught:
        features.shard(1, "train")
    assert len(str(caught.value).splitlines()) == 1

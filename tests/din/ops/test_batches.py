"""Packing and deduplication give the same arrays in both backends. Alone: `pytest tests/din/ops/test_batches.py`."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from din.features.packing import Packer
from din.features.reader import Features
from din.ops import backend
from din.ops.deduplicate import Deduplicator
from tests.helpers.backends import needs_compiler

pytestmark = needs_compiler


@given(st.lists(st.lists(st.integers(0, 19), max_size=40), min_size=1, max_size=4), st.sampled_from(["int32", "int64"]))
def test_distinct_ids(batches: list[list[int]], dtype: str) -> None:
    """No id is repeated, and distinct[position] are the ids, for any earlier calls and alike in both backends."""
    native, reference = Deduplicator(20), Deduplicator(20)
    for batch in batches:
        ids = np.array(batch, dtype)
        with backend.using("native"):
            ours = native(ids)
        distinct, position = reference(ids)
        assert sorted(distinct.tolist()) == sorted(set(batch))
        assert distinct[position].tolist() == batch
        for found, expected in zip(ours, (distinct, position), strict=True):
            assert found.dtype == expected.dtype
            np.testing.assert_array_equal(found, expected)


@settings(max_examples=40)
@given(
    shard=st.integers(0, 1),
    rows=st.lists(st.integers(0, 30), max_size=9),
    rate=st.sampled_from([0.0, 0.3, 1.0]),
    dropping=st.booleans(),
)
def test_packed_batches(shard: int, rows: list[int], rate: float, dropping: bool, features_once: Features) -> None:
    """All arrays and their types are equal for all kinds of fields, dropped values, and repeated or no impressions."""
    read, own = features_once.shard(shard, "train"), np.array(rows, np.int64)
    packed = []
    for name in ("native", "reference"):
        with backend.using(name):
            packed.append(Packer(features_once, rate).pack(read, own, np.random.default_rng(1) if dropping else None))
    ours, theirs = packed
    pairs = [(getattr(ours, n), getattr(theirs, n)) for n in ("candidate", "behaviour", "segment", "labels")]
    for a, b in zip(ours.every_lookup(), theirs.every_lookup(), strict=True):
        pairs += [(a.ids, b.ids), (a.owners, b.owners), (a.weights, b.weights)]
    for found, expected in pairs:
        np.testing.assert_array_equal(found, expected)
        assert found is expected is None or found.dtype == expected.dtype

"""Packed batches, compared with a loop over impressions. Alone: `pytest tests/din/features`."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from din.features.packing import Packer
from din.features.reader import Features
from din.kinds import Lookup
from din.schema import UNKNOWN_TIME, Group


def values_of(lookup: Lookup, owner: int) -> list[int]:
    """Return the ids of one owner, found by a loop."""
    if lookup.owners is None:
        return [int(lookup.ids[owner])]
    return [int(i) for i, o in zip(lookup.ids, lookup.owners, strict=True) if o == owner]


@settings(max_examples=20)
@given(data=st.data())
def test_a_packed_batch_holds_the_values_of_each_impression(data: st.DataObject, features_once: Features) -> None:
    """Candidate, history, feedback, profile and context of every impression equal the rows of the shard; so do ages."""
    shard = features_once.shard(data.draw(st.integers(0, 1)), "train")
    count = len(shard.impressions)
    rows = np.array(data.draw(st.lists(st.integers(0, count - 1), min_size=1, max_size=9)))
    packer = Packer(features_once, ages=True)
    packed = packer.pack(shard, rows)
    behaviours = np.bincount(packed.segment, minlength=len(rows))
    position = 0
    for b, row in enumerate(rows):
        start, end = shard.impressions.history_start[row], shard.impressions.history_end[row]
        assert behaviours[b] == end - start
        for name, lookup in packed.lookups[Group.ITEM].items():
            offset, column = packer.layout.offsets[name], features_once.items[name]
            expected = expected_ids(column, shard.impressions.item[row], offset)
            assert values_of(lookup, packed.candidate[b]) == expected
            for step, behaviour in enumerate(range(start, end)):
                expected = expected_ids(column, shard.behaviours.item[behaviour], offset)
                assert values_of(lookup, packed.behaviour[position + step]) == expected
        for name, lookup in packed.lookups[Group.BEHAVIOUR].items():
            for step, behaviour in enumerate(range(start, end)):
                expected = expected_ids(shard.behaviours.fields[name], behaviour, packer.layout.offsets[name])
                assert values_of(lookup, position + step) == expected
        now, times = shard.impressions.timestamp[row], shard.behaviours.time[start:end]
        expected = [np.nan if time == UNKNOWN_TIME else np.float32((now - time) / 1e6) for time in times]
        np.testing.assert_array_equal(packed.age[position : position + end - start], expected)
        for name, lookup in packed.lookups[Group.USER].items():
            expected = expected_ids(features_once.users[name], shard.impressions.user[row], packer.layout.offsets[name])
            assert values_of(lookup, b) == expected
        position += end - start


def expected_ids(column, owner: int, offset: int) -> list[int]:
    """Return the rows of one owner in the joint table, read from the column."""
    if column.offsets is not None:
        return [int(v) + offset for v in column.values[column.offsets[owner] : column.offsets[owner + 1]]]
    value = column.values[owner]
    if column.values.dtype == np.float32:
        return [offset + (0 if np.isnan(value) else 1)]
    return [int(value) + offset]


def test_tables_lie_one_below_the_other(features_once: Features) -> None:
    """Offsets follow the order of fields without gaps, so ids of different fields are never equal."""
    layout = Packer(features_once).layout
    ends = 0
    for field in features_once.fields:
        assert layout.offsets[field.name] == ends
        ends += features_once.rows[field.name]
    assert layout.rows == ends


def test_dropping_everything_leaves_only_unknown(features_once: Features) -> None:
    """With `unknown_rate` 1, every id becomes row 0 of its table, and standardised numbers stay."""
    packer = Packer(features_once, unknown_rate=1.0)
    shard = features_once.shard(0, "train")
    packed = packer.pack(shard, np.arange(5), np.random.default_rng(0))
    for field in features_once.of(Group.ITEM):
        ids = packed.lookups[Group.ITEM][field.name].ids - packer.layout.offsets[field.name]
        assert not field.form.holds_ids or not ids.any()

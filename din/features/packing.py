"""Packed batches: values beside offsets, no padding, no mask.

    impressions   0        1   2               B = 3, their histories 2, 0 and 3 behaviours long
    behaviour     a  b         c  a  d         T = 5, as positions among the batch's items
    segment       0  0         2  2  2         the impression of each behaviour
    offsets       0        2   2        5      where each history begins
    items         a  b  c  d  x                U = 5 distinct items, candidates included: looked up once each

A batch costs what its behaviours are worth. Item fields are looked up once per distinct item, so the gradient of a
popular item is summed by the gather's backward and its row is updated once.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from din.features.reader import Features, Impressions, Shard
from din.field_forms import Column, Lookup, OneId
from din.ops.deduplicate import Deduplicator
from din.ops.packing import field_ids, pack_histories
from din.schema import Field, Group


@dataclass(frozen=True)
class PackedBatch:
    """B impressions with T behaviours over U distinct items (see the picture above).

    lookups: by field name, of the U items, the T behaviours, and the user and context of each of the B impressions.
    """

    lookups: dict[Group, dict[str, Lookup]]
    candidate: np.ndarray  # int64 [B], positions among the U items
    behaviour: np.ndarray  # int64 [T], positions among the U items
    segment: np.ndarray  # int64 [T], non-decreasing
    labels: np.ndarray  # float32 [B]

    def __len__(self) -> int:
        return len(self.labels)

    def every_lookup(self) -> list[Lookup]:
        """Return the lookups of all groups, in their order."""
        return [lookup for group in self.lookups.values() for lookup in group.values()]


@dataclass(frozen=True)
class TableLayout:
    """All fields' embedding tables, one below the other: one gather and one update per step, whatever the fields."""

    offsets: dict[str, int]
    rows: int

    @classmethod
    def of(cls, fields: Sequence[Field], rows: dict[str, int]) -> "TableLayout":
        """Lay the tables of `fields` out in their order; `rows` by field name."""
        ends = np.cumsum([rows[field.name] for field in fields])
        return cls(
            {field.name: int(end) - rows[field.name] for field, end in zip(fields, ends, strict=True)}, int(ends[-1])
        )


class Packer:
    """Makes packed batches of impressions of one feature directory."""

    def __init__(self, features: Features, unknown_rate: float = 0.0) -> None:
        self._features, self._unknown_rate = features, float(unknown_rate)
        self.layout = TableLayout.of(features.fields, features.rows)
        self._distinct_items = Deduplicator(features.manifest["items"])

    def pack(self, shard: Shard, rows: np.ndarray, random: np.random.Generator | None = None) -> PackedBatch:
        """Pack impressions `rows` [B] of a shard; with `random`, drop `unknown_rate` of all values to unknown."""
        impressions: Impressions = shard.impressions
        rows = rows.astype(np.int64, copy=False)
        users = impressions.user[rows]  # first, since numpy checks the bounds of rows
        places, segment, touched = pack_histories(
            rows, impressions.history_start, impressions.history_end, shard.behaviour_item, impressions.item
        )
        items, position = self._distinct_items(touched)
        return PackedBatch(
            lookups={
                Group.ITEM: self._group(Group.ITEM, self._features.items, items, random),
                Group.BEHAVIOUR: self._group(Group.BEHAVIOUR, shard.behaviour_fields, places, random),
                Group.USER: self._group(Group.USER, self._features.users, users, random),
                Group.CONTEXT: self._group(Group.CONTEXT, impressions.contexts, rows, random),
            },
            candidate=position[len(places) :],
            behaviour=position[: len(places)],
            segment=segment,
            labels=impressions.label[rows].astype(np.float32),
        )

    def _group(
        self, group: Group, columns: dict[str, Column], owners: np.ndarray, random: np.random.Generator | None
    ) -> dict[str, Lookup]:
        lookups, rate = {}, self._unknown_rate
        for field in self._features.of(group):
            column, offset = columns[field.name], self.layout.offsets[field.name]
            drawn = None if random is None else random.random(len(owners), np.float32)
            if isinstance(field.form, OneId):
                lookups[field.name] = Lookup(field_ids(column.values, owners, offset, drawn, rate))
            else:
                dropped = None if drawn is None else drawn < rate
                lookups[field.name] = field.form.look_up(column.take(owners), offset, dropped)
        return lookups

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

from din.eventlog.reader import Column, Features, Impressions, Shard, ragged_take
from din.native.library import Kernels
from din.schema import UNKNOWN, Field, Group


@dataclass(frozen=True)
class Lookup:
    """Rows of the joint embedding table for one field of N owners.

    ids: int64 [M]. owners: int64 [M], the owner of each id, non-decreasing, every owner at least once; None where
    M = N and owner i has id i. weights: float32 [M] for a standardised field, else None.
    """

    ids: np.ndarray
    owners: np.ndarray | None = None
    weights: np.ndarray | None = None


@dataclass(frozen=True)
class PackedBatch:
    """B impressions with T behaviours over U distinct items (see the picture above); lookups by field name."""

    items: dict[str, Lookup]
    behaviours: dict[str, Lookup]
    users: dict[str, Lookup]
    contexts: dict[str, Lookup]
    candidate: np.ndarray  # int64 [B], positions among the U items
    behaviour: np.ndarray  # int64 [T], positions among the U items
    segment: np.ndarray  # int64 [T], non-decreasing
    labels: np.ndarray  # float32 [B]

    def __len__(self) -> int:
        return len(self.labels)

    def lookups(self) -> list[Lookup]:
        """All lookups, in a fixed order."""
        groups = (self.items, self.behaviours, self.users, self.contexts)
        return [lookup for group in groups for lookup in group.values()]


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


class Deduplicator:
    """Distinct values of integer arrays in O(N), by a scratch array as large as the id space; not thread-safe."""

    def __init__(self, size: int, kernels: Kernels | None = None) -> None:
        self._slot, self._kernels = np.zeros(size, np.int32), kernels

    def __call__(self, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Distinct ids [U] in order of their last occurrence, and the position of every id among them [N]."""
        if self._kernels:
            found, position = np.empty_like(ids, np.int64), np.empty(len(ids), np.int64)
            size = self._kernels("distinct", len(ids), ids.astype(np.int64, copy=False), self._slot, found, position)
            return found[:size].astype(ids.dtype, copy=False), position
        positions = np.arange(len(ids), dtype=np.int32)
        self._slot[ids] = positions
        distinct = ids[self._slot[ids] == positions]
        self._slot[distinct] = np.arange(len(distinct), dtype=np.int32)
        return distinct, self._slot[ids].astype(np.int64)


def look_up(column: Column, field: Field, offset: int, dropped: np.ndarray | None = None) -> Lookup:
    """A field's rows in the joint table; `dropped` bool [N] marks owners whose value is taken as unknown."""
    if field.standardised:
        missing = np.isnan(column.values)
        ids = np.where(missing, UNKNOWN, 1).astype(np.int64)
        return Lookup(ids + offset, weights=np.where(missing, 1, column.values).astype(np.float32))
    ids, owners = column.values.astype(np.int64), None
    if column.offsets is not None:
        owners = np.repeat(np.arange(len(column.offsets) - 1), np.diff(column.offsets))
    if dropped is not None:
        ids[dropped if owners is None else dropped[owners]] = UNKNOWN
    return Lookup(ids + offset, owners)


class Packer:
    """Makes packed batches of impressions of one feature directory."""

    def __init__(self, features: Features, unknown_rate: float = 0.0, kernels: Kernels | None = None) -> None:
        self._features, self.kernels = features, kernels
        self._unknown_rate = float(unknown_rate)
        self.layout = TableLayout.of(features.fields, features.rows)
        self._distinct_items = Deduplicator(features.manifest["items"], kernels)

    def pack(self, shard: Shard, rows: np.ndarray, random: np.random.Generator | None = None) -> PackedBatch:
        """Pack impressions `rows` [B] of a shard; with `random`, drop `unknown_rate` of all values to unknown."""
        impressions: Impressions = shard.impressions
        rows = rows.astype(np.int64, copy=False)
        users = impressions.user[rows]  # before kernels see rows: numpy looks at their bounds
        flat, segment, touched = self._histories(shard, rows)
        items, position = self._distinct_items(touched)
        return PackedBatch(
            items=self._group(Group.ITEM, self._features.items, items, random),
            behaviours=self._group(Group.BEHAVIOUR, shard.behaviour_fields, flat, random),
            users=self._group(Group.USER, self._features.users, users, random),
            contexts=self._group(Group.CONTEXT, impressions.contexts, rows, random),
            candidate=position[len(flat) :],
            behaviour=position[: len(flat)],
            segment=segment,
            labels=impressions.label[rows].astype(np.float32),
        )

    def _histories(self, shard: Shard, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Each behaviour's position in the shard and impression [T], items of behaviours, then candidates [T + B]."""
        impressions = shard.impressions
        if not self.kernels:
            flat, offsets = ragged_take(impressions.history_start[rows], impressions.history_end[rows])
            segment = np.repeat(np.arange(len(rows)), np.diff(offsets))
            return flat, segment, np.concatenate([shard.behaviour_item[flat], impressions.item[rows]])
        views = (len(rows), rows, impressions.history_start, impressions.history_end)
        flat, segment = np.empty((2, self.kernels("behaviours", *views)), np.int64)
        touched = np.empty(len(flat) + len(rows), np.int64)
        self.kernels("histories", *views, shard.behaviour_item, impressions.item, flat, segment, touched)
        return flat, segment, touched

    def _group(
        self, group: Group, columns: dict[str, Column], owners: np.ndarray, random: np.random.Generator | None
    ) -> dict[str, Lookup]:
        lookups, count, rate = {}, len(owners), self._unknown_rate
        for field in self._features.of(group):
            column, offset = columns[field.name], self.layout.offsets[field.name]
            drawn = random.random(count, np.float32) if random is not None else None
            if self.kernels and column.values.dtype == np.int32 and column.offsets is None:
                owners, ids = owners.astype(np.int64, copy=False), np.empty(count, np.int64)
                self.kernels("look_up", count, owners, column.values, drawn, rate, offset, ids)
                lookups[field.name] = Lookup(ids)
            else:
                dropped = None if drawn is None else drawn < rate
                lookups[field.name] = look_up(column.take(owners), field, offset, dropped)
        return lookups

"""Recount from the shards how often late ids occur until the day on which they become known.

    day 0        training
    day n        the nth held-out day
    number       of an impression: its day. Of a behaviour: the first day with an impression whose history holds it

An impression's own click is a behaviour as well, but counts once for the item: as the impression.

A late id that occurs too rarely until its day would be known too early: the model would have a row for something that
only the future tells. Without late ids, nothing is read. Memory holds one shard and two arrays per vocabulary.
"""

from datetime import date

import numpy as np
import pyarrow as pa

from din.schema import DAY_US, SPLITS, Field, Group, Kind
from validation.shards import Features, Rows, values

_NEVER = np.iinfo(np.int32).max


class Recount:
    """The occurrences of the ids of each vocabulary that has late ids, [R] each.

    Attributes:
        fields: the fields that have late ids.
        since: the number of the day on which each id becomes known.
        counts: the occurrences until that day, inclusive.
        before: the occurrences before that day.
    """

    def __init__(self, features: Features) -> None:
        self._features = features
        self.fields = [field for field in features.fields if features.late(field)]
        self.since = {field.name: features.day_numbers(field) for field in self.fields}
        self.counts = {name: np.zeros(len(since), np.int64) for name, since in self.since.items()}
        self.before = {name: np.zeros(len(since), np.int64) for name, since in self.since.items()}
        self._days = 1 + len(features.held_out)
        for shard in range(features.manifest["shards"] if self.fields else 0):
            self._add_shard(shard)

    def broken(self, field: Field, count: np.ndarray) -> np.ndarray:
        """Mark the late ids with a wrong `count` [R], or which do not reach the least count on their day: bool [R]."""
        least = self._features.manifest["params"]["min_count"] if field.kind is Kind.ID else 1
        counts = self.counts[field.name]
        wrong = (counts != count) | (counts < least) | (self.before[field.name] >= least)
        return wrong & (self.since[field.name] > 0)

    def _add_shard(self, shard: int) -> None:
        first_day = (self._features.held_out[0] - date(1970, 1, 1)).days
        past, past_table = self._features.read(shard, "behaviours")
        seen = np.full(len(past), _NEVER, np.int32)
        shown = np.zeros(len(past), bool)
        for split in SPLITS:
            rows, table = self._features.read(shard, split)
            number = np.clip(1 + rows["timestamp"] // DAY_US - first_day, 0, self._days - 1).astype(np.int32)
            _mark_first(seen, rows, number)
            shown |= _own(past, rows)
            self._add_entities(Group.USER, rows["user"], number)
            self._add_entities(Group.ITEM, rows["item"], number)
            self._add(Group.CONTEXT, table, number, np.ones(len(rows), np.int64))
        visible = seen < _NEVER
        others = visible & ~shown
        self._add_entities(Group.ITEM, past["item"][others], seen[others])
        past_table = past_table.filter(pa.array(visible))
        self._add(Group.BEHAVIOUR, past_table, seen[visible], np.ones(len(past_table), np.int64))

    def _add_entities(self, group: Group, entity: np.ndarray, number: np.ndarray) -> None:
        """Count the fields of users or items, each pair of entity and day once with its weight."""
        table = self._features.items if group is Group.ITEM else self._features.users
        pairs = entity.astype(np.int64) * self._days + number
        distinct, weights = np.unique(pairs, return_counts=True)
        self._add(group, table.take(pa.array(distinct // self._days)), distinct % self._days, weights)

    def _add(self, group: Group, table: pa.Table, number: np.ndarray, weight: np.ndarray) -> None:
        """Count the values of a group's fields in rows with a number [B] and a weight [B]."""
        for field in self.fields:
            if field.group is not group:
                continue
            ids, row = values(table[field.name], field)
            size = len(self.since[field.name])
            weights = weight[row]
            since = self.since[field.name][ids]
            for total, held in ((self.counts, number[row] <= since), (self.before, number[row] < since)):
                total[field.name] += np.bincount(ids[held], weights[held], size).astype(np.int64)


def _mark_first(seen: np.ndarray, rows: Rows, number: np.ndarray) -> None:
    """Lower `seen` [T] to the smallest number of the impressions whose history holds the behaviour."""
    for day in np.unique(number):
        own = number == day
        begun = np.bincount(rows["history_start"][own], minlength=len(seen) + 1)
        ended = np.bincount(rows["history_end"][own], minlength=len(seen) + 1)
        held = np.cumsum(begun - ended)[:-1] > 0
        seen[held] = np.minimum(seen[held], day)


def _own(past: Rows, rows: Rows) -> np.ndarray:
    """Mark the behaviours [T] that are one of the impressions: the same user, item, time and sequence number."""
    if not len(rows):
        return np.zeros(len(past), bool)
    order = np.argsort(rows["sequence"])
    at = np.searchsorted(rows["sequence"], past["sequence"], sorter=order)
    nearest = order[np.minimum(at, len(order) - 1)]
    same = [rows[name][nearest] == past[name] for name in ("user", "item", "timestamp", "sequence")]
    return np.logical_and.reduce(same)

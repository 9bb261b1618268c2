"""Packed batches: values beside offsets, without padding or masks.

    impressions   0        1   2               B = 3 impressions, whose histories have 2, 0 and 3 behaviours
    behaviour     a  b         c  a  d         T = 5 behaviours, as positions among the batch's items
    segment       0  0         2  2  2         the impression of each behaviour
    offsets       0        2   2        5      the beginning of each history
    items         a  b  c  d  x                U = 5 distinct items, including candidates

The cost of a batch grows with its real behaviours only. Item fields are looked up once per distinct item, so the
gradient of a popular item is summed before its row is updated, once.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from din.features.reader import Features, Impressions, Shard
from din.kinds import UNKNOWN, Column, Lookup, OneId
from din.ops.deduplicate import Deduplicator
from din.ops.gather import field_ids, pack_histories
from din.schema import ITEM_ID, UNKNOWN_TIME, Field, Group


@dataclass(frozen=True)
class PackedBatch:
    """B impressions with T behaviours over U distinct items (see the picture above).

    Attributes:
        lookups: by group and field name. The owners are the U items, the T behaviours, and the B users and contexts of
            the impressions.
    """

    lookups: dict[Group, dict[str, Lookup]]
    candidate: np.ndarray  # int64 [B], positions among the U items
    behaviour: np.ndarray  # int64 [T], positions among the U items
    segment: np.ndarray  # int64 [T], non-decreasing
    age: np.ndarray | None  # float32 [T], seconds from the behaviour to its impression; None if the model reads none
    labels: np.ndarray  # float32 [B]
    negative: np.ndarray | None = None  # int64 [T], a random item for each behaviour, as positions among the U items
    user: np.ndarray | None = None  # int64 [B], rows of users.parquet; None if no loss reads requests
    request: np.ndarray | None = None  # int64 [B], see `requests_of`

    def __len__(self) -> int:
        return len(self.labels)

    def every_lookup(self) -> list[Lookup]:
        """Return the lookups of all fields, in the order of groups and fields."""
        return [lookup for group in self.lookups.values() for lookup in group.values()]


@dataclass(frozen=True)
class TableLayout:
    """The joint table: the embedding tables of all fields, stacked, so that one update serves all.

    Attributes:
        offsets: first row of each field.
        rows: R, the number of rows.
    """

    offsets: dict[str, int]
    rows: int

    @classmethod
    def of(cls, fields: Sequence[Field], rows: dict[str, int]) -> "TableLayout":
        """Lay out the tables of `fields` in their order.

        Args:
            rows: the number of rows of each field's table.
        """
        ends = np.cumsum([rows[field.name] for field in fields])
        offsets = {field.name: int(end) - rows[field.name] for field, end in zip(fields, ends, strict=True)}
        return cls(offsets, int(ends[-1]))


def ages(impression_T: np.ndarray, behaviour_T: np.ndarray) -> np.ndarray:
    """Return the age of each behaviour in seconds, float32 [T], given both times in µs. Unknown times give NaN."""
    age_T = ((impression_T - behaviour_T) / 1e6).astype(np.float32)
    age_T[behaviour_T == UNKNOWN_TIME] = np.nan
    return age_T


def requests_of(impressions: Impressions, rows: np.ndarray) -> np.ndarray:
    """Number the requests of impressions `rows` from 0, int64 [B]. One user's impressions of one time are a request."""
    pairs = np.stack([impressions.user[rows], impressions.timestamp[rows]], 1)
    return np.unique(pairs, axis=0, return_inverse=True)[1]


def _known_items(features: Features) -> np.ndarray:
    """Return the rows of items.parquet that have an id of their own by now. If there are none, row 0, the unknown item.

    Items that become known later are left out, so that negatives don't reveal them.
    """
    rows = np.flatnonzero(features.items[ITEM_ID].values != UNKNOWN)
    return rows if len(rows) else np.zeros(1, np.int64)


class Packer:
    """Packs impressions of one feature directory into batches.

    Args:
        unknown_rate: the share of values that `pack` replaces by unknown, if it is given random numbers.
        ages: whether batches hold the ages of behaviours; see `din.model.model.Model.reads_ages`.
        negatives: whether batches that are packed with random numbers hold negatives; see `Model.reads_negatives`.
        requests: whether these batches say which user and request each impression is of; see `Model.reads_requests`.
    """

    def __init__(
        self,
        features: Features,
        unknown_rate: float = 0.0,
        *,
        ages: bool = False,
        negatives: bool = False,
        requests: bool = False,
    ) -> None:
        self._features = features
        self._ages = ages
        self._negatives = _known_items(features) if negatives else None
        self.requests = requests
        self._unknown_rate = float(unknown_rate)
        self.layout = TableLayout.of(features.fields, features.rows)
        self._distinct_items = Deduplicator(features.manifest.items)

    def pack(self, shard: Shard, rows: np.ndarray, random: np.random.Generator | None = None) -> PackedBatch:
        """Pack impressions `rows` [B] of a shard.

        Args:
            random: draws negatives, and the values to replace by unknown. None draws neither.
        """
        impressions: Impressions = shard.impressions
        rows = rows.astype(np.int64, copy=False)
        users = impressions.user[rows]  # before the native calls, since numpy checks the bounds of rows
        places, segment, touched = pack_histories(
            rows, impressions.history_start, impressions.history_end, shard.behaviours.item, impressions.item
        )
        if random is not None and self._negatives is not None:
            touched = np.concatenate([touched, random.choice(self._negatives, len(places))])
        items, position = self._distinct_items(touched)
        behaviour, candidate, drawn = np.split(position, [len(places), len(places) + len(rows)])
        age = None
        if self._ages:
            age = ages(impressions.timestamp[rows][segment], shard.behaviours.time[places])
        return PackedBatch(
            lookups={
                Group.ITEM: self._group(Group.ITEM, self._features.items, items, random),
                Group.BEHAVIOUR: self._group(Group.BEHAVIOUR, shard.behaviours.fields, places, random),
                Group.USER: self._group(Group.USER, self._features.users, users, random),
                Group.CONTEXT: self._group(Group.CONTEXT, impressions.contexts, rows, random),
            },
            candidate=candidate,
            behaviour=behaviour,
            segment=segment,
            age=age,
            labels=impressions.label[rows].astype(np.float32),
            negative=None if random is None or self._negatives is None else drawn,
            user=users.astype(np.int64) if random is not None and self.requests else None,
            request=requests_of(impressions, rows) if random is not None and self.requests else None,
        )

    def _group(
        self, group: Group, columns: dict[str, Column], owners: np.ndarray, random: np.random.Generator | None
    ) -> dict[str, Lookup]:
        """Look up the fields of a group for some owners.

        Args:
            columns: the fields of all owners.
            owners: positions in `columns`.
        """
        lookups = {}
        rate = self._unknown_rate
        for field in self._features.of(group):
            column = columns[field.name]
            offset = self.layout.offsets[field.name]
            drawn = None if random is None else random.random(len(owners), np.float32)
            if isinstance(field.form, OneId):
                lookups[field.name] = Lookup(field_ids(column.values, owners, offset, drawn, rate))
            else:
                dropped = None if drawn is None else drawn < rate
                lookups[field.name] = field.form.look_up(column.take(owners), offset, dropped)
        return lookups

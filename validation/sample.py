"""A sample of impressions, small enough to judge the meaning of every field on it.

    B impressions · M values of a field: one per impression, or several of a `multi` field

Users are sampled by a hash, so each user is in the sample of every split or of none. A split has at most about
`MAX_ROWS` sampled rows. Memory holds the sample and one shard.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from din.kinds import UNKNOWN, OneId, Vector
from din.schema import DAY_US, SPLITS, WEIGHT, Field, Group
from validation import detector_limits
from validation.feature_directory import FeatureDirectory, date_of, integers


@dataclass(frozen=True)
class Codes:
    """A field's values as codes.

    Attributes:
        code: [M] below `size`; 0 is unknown or missing.
        row: [M] the impression of each value.
        size: the number of codes.
    """

    code: np.ndarray
    row: np.ndarray
    size: int

    def take(self, rows: np.ndarray) -> "Codes":
        """Return the codes of the impressions selected by a mask [B]."""
        kept = rows[self.row]
        position = np.cumsum(rows) - 1
        return Codes(self.code[kept], position[self.row[kept]], self.size)

    def mean(self, number: np.ndarray, impressions: int) -> np.ndarray:
        """Return the mean [B], over each impression's values, of the `number` [size] of their codes."""
        total = np.bincount(self.row, weights=number[self.code], minlength=impressions)
        return total / np.bincount(self.row, minlength=impressions)


@dataclass(frozen=True)
class EncodedImpressions:
    """B impressions of a split or of one of its days.

    Attributes:
        name: the split, or the split and the day.
        label: [B] whether the impression was clicked.
        user: [B] row in users.parquet.
        item: [B] row in items.parquet.
        timestamp: [B] microseconds since 1970.
        half: [B] whether the user is in the second half of the users.
        codes: the codes of each context, item and user field.
        shares: [B] for each item field with one value per item, the share of the history with the candidate's value.
    """

    name: str
    label: np.ndarray
    user: np.ndarray
    item: np.ndarray
    timestamp: np.ndarray
    half: np.ndarray
    codes: Mapping[str, Codes]
    shares: Mapping[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.label)

    def take(self, rows: np.ndarray, name: str) -> "EncodedImpressions":
        """Return the impressions selected by a mask [B]."""
        columns = ("label", "user", "item", "timestamp", "half")
        return EncodedImpressions(
            name=name,
            codes={field: codes.take(rows) for field, codes in self.codes.items()},
            shares={field: share[rows] for field, share in self.shares.items()},
            **{column: getattr(self, column)[rows] for column in columns},
        )

    def thinned_users(self, rows: int) -> "EncodedImpressions":
        """Return about `rows` of the impressions, or all if there are fewer, keeping each user's together."""
        every = -(-len(self) // rows)
        kept = np.unique(self.user)[::every]
        return self.take(np.isin(self.user, kept), self.name) if every > 1 else self

    def thinned(self, rows: int) -> "EncodedImpressions":
        """Return about `rows` of the impressions, evenly spread."""
        every = max(1, len(self) // max(rows, 1))
        return self.take(np.arange(len(self)) % every == 0, self.name)

    @cached_property
    def enough(self) -> bool:
        """Whether both halves of the users have enough rows to distinguish a relation from chance."""
        return all(
            min(self.label[half].sum(), (~self.label[half]).sum()) >= detector_limits.MIN_CLICKS
            and len(np.unique(self.user[half])) >= detector_limits.MIN_USERS
            for half in (self.half, ~self.half)
        )

    def noise(self, group: Group) -> float:
        """Return the standard error of an uninformative field's AUC, √((P + N + 1) / 12PN), for P clicks, N non-clicks.

        Fields are scored on the first half of the users, histories (`Group.BEHAVIOUR`) on all. Rows of one user, or
        one item, have equal fields of that group, so P and N count each user or item once.
        """
        scored = ~self.half | (group is Group.BEHAVIOUR)
        label = self.label[scored]
        owner = {Group.USER: self.user, Group.ITEM: self.item}.get(group)
        alike = 1.0 if owner is None else len(label) / len(np.unique(owner[scored]))
        clicks = label.sum() / alike
        others = (~label).sum() / alike
        return float(np.sqrt((clicks + others + 1) / (12 * clicks * others)))


class Sample:
    """The sampled impressions of each split, with their context, item and user fields."""

    def __init__(self, features: FeatureDirectory) -> None:
        self.features = features
        self.fields = [field for field in features.fields if field.group is not Group.BEHAVIOUR]
        rows = features.manifest.rows
        self._share = detector_limits.MAX_ROWS / max(
            detector_limits.MAX_ROWS, rows["train"], rows["valid"], rows["test"]
        )
        self._edges: dict[str, np.ndarray] = {}
        self._directions: dict[str, np.ndarray] = {}
        self.train, self.valid, self.test = (self._split(split) for split in SPLITS)

    @cached_property
    def judged(self) -> list[EncodedImpressions]:
        """Validation and test, and under `temporal` also the last days of each, if it has several."""
        parts = [self.valid, self.test]
        if self.features.manifest.protocol != "temporal":
            return parts
        for split in (self.valid, self.test):
            day = split.timestamp // DAY_US
            days = np.unique(day)
            if len(days) > 1:
                parts += [
                    split.take(day == number, f"{split.name} {date_of(number * DAY_US)}")
                    for number in days[-detector_limits.MAX_DAYS :]
                ]
        return parts

    @cached_property
    def early_and_late(self) -> tuple[EncodedImpressions, EncodedImpressions]:
        """Training in two parts: under `temporal` by time, otherwise the two halves of its users.

        The late part spans as much time as the judged days, but at most the second half of the rows.
        """
        late = self.train.half
        if self.features.manifest.protocol == "temporal":
            times = np.concatenate([part.timestamp for part in (self.valid, self.test)])
            first = self.train.timestamp.max(initial=0) - np.ptp(times)
            late = self.train.timestamp > max(first, np.median(self.train.timestamp))
        return self.train.take(~late, "early"), self.train.take(late, "late")

    def _split(self, split: str) -> EncodedImpressions:
        """Read a split's sampled rows, one shard at a time. Training must be read first: it sets the edges of bins."""
        tables: list[pa.Table] = []
        shares: list[dict[str, np.ndarray]] = []
        for shard in range(self.features.manifest.shards):
            table = pq.read_table(self.features.path(shard, split))
            kept = _hashed(integers(table["user"])) < self._share * 2**32
            sampled = table.filter(pa.array(kept))
            past = pq.read_table(self.features.path(shard, "behaviours"), columns=["item"])
            tables.append(self._with_side_fields(sampled))
            shares.append(self._shares(sampled, integers(past["item"])))
        table = pa.concat_tables(tables)
        user = integers(table["user"])
        label = integers(table["label"]) == 1
        half = in_second_half(user)
        return EncodedImpressions(
            name=split,
            label=label,
            user=user,
            item=integers(table["item"]),
            timestamp=integers(table["timestamp"]),
            half=half,
            codes={field.name: self._codes(table[field.name], field, label, half) for field in self.fields},
            shares={name: np.concatenate([shard_shares[name] for shard_shares in shares]) for name in shares[0]},
        )

    def _with_side_fields(self, table: pa.Table) -> pa.Table:
        if WEIGHT in table.column_names:  # of the loss; a field of items or users may have the same name
            table = table.drop_columns([WEIGHT])
        for group, side in ((Group.ITEM, self.features.items), (Group.USER, self.features.users)):
            for field in self.features.of(group):
                table = table.append_column(field.name, side[field.name].take(table[str(group)]))
        return table

    def _shares(self, rows: pa.Table, past: np.ndarray) -> dict[str, np.ndarray]:
        """Return the share of the history with the candidate's value, [B] for each item field with one value.

        An unknown candidate has share 0.

        Args:
            rows: B impressions of a shard.
            past: [T] the items of the shard's behaviours.
        """
        start = integers(rows["history_start"])
        length = integers(rows["history_end"]) - start
        row = np.repeat(np.arange(len(rows)), length)
        at = np.arange(len(row)) + np.repeat(start - (np.cumsum(length) - length), length)
        shares = {}
        for field in self.features.of(Group.ITEM):
            if not isinstance(field.form, OneId):
                continue
            value, _ = self.features.known(self.features.items[field.name], field)
            candidate = value[integers(rows["item"])][row]
            met = (value[past[at]] == candidate) & (candidate != UNKNOWN)
            shares[field.name] = np.bincount(row, weights=met, minlength=len(rows)) / np.maximum(length, 1)
        return shares

    def _codes(self, column: pa.ChunkedArray, field: Field, label: np.ndarray, half: np.ndarray) -> Codes:
        stored, row = self.features.known(column, field)
        if isinstance(field.form, Vector):
            stored = self._projected(field, stored, label, half)
        if field.form.holds_ids:
            return Codes(np.maximum(stored, UNKNOWN), row, self.features.known_rows[field.name])
        edges = self._edges.setdefault(field.name, _hundredths(stored))
        code = np.where(np.isfinite(stored), 1 + np.searchsorted(edges, stored, side="right"), UNKNOWN)
        return Codes(code, row, len(edges) + 2)

    def _projected(self, field: Field, vectors: np.ndarray, label: np.ndarray, half: np.ndarray) -> np.ndarray:
        """Project vectors [B, n] onto the direction that best predicts the label: [B], NaN where missing.

        The direction is fitted on the half of the training users on which rates are fitted too, so the other half can
        be judged.
        """
        complete = np.isfinite(vectors).all(1)
        if field.name not in self._directions:
            fitted = np.flatnonzero(complete & half)[: detector_limits.MAX_FITTED]
            self._directions[field.name] = _direction(vectors[fitted], label[fitted])
        return np.where(complete, vectors @ self._directions[field.name], np.nan)


SECOND_HALF = "user * 2654435761 % 4294967296 // 128 % 2 = 1"
"""`in_second_half` as SQL."""


def in_second_half(user: np.ndarray) -> np.ndarray:
    """Split users into two halves, independently of the sampling: bool [B]."""
    return (_hashed(user) >> np.uint64(7)) % np.uint64(2) == 1


def _hashed(user: np.ndarray) -> np.ndarray:
    """Hash users to 32 bits by Fibonacci hashing, which spreads neighbouring users."""
    return user.astype(np.uint64) * np.uint64(2_654_435_761) % np.uint64(2**32)


def _direction(vectors: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Return the direction [n] in which vectors [K, n] best predict a label [K]: ridge regression."""
    if not len(vectors):
        return np.zeros(vectors.shape[1], np.float32)
    centred = (vectors - vectors.mean(0)).astype(float)
    products = centred.T @ centred
    shrunk = products + (
        detector_limits.SHRINKAGE * np.trace(products) / len(products) + np.finfo(float).tiny
    ) * np.eye(len(products))
    return np.linalg.solve(shrunk, centred.T @ (label - label.mean())).astype(np.float32)


def _hundredths(numbers: np.ndarray) -> np.ndarray:
    """Return the edges between `BINS` quantile bins of the known numbers; equal edges count once."""
    finite = numbers[np.isfinite(numbers)]
    return (
        np.unique(np.quantile(finite, np.linspace(0, 1, detector_limits.BINS + 1)[1:-1]))
        if len(finite)
        else np.empty(0)
    )

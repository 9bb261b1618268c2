"""Read `data/features/` (FORMAT.md) into numpy columns.

A shard is read whole. Its behaviours are held once, and its impressions as (start, end) views of them. Memory grows
with the largest shard and the tables of items and users, not with impressions × history length.
"""

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from din.base import documents
from din.base.artifacts import MANIFEST
from din.base.errors import InputError
from din.contracts.manifests import FeaturesManifest, FieldRecord
from din.kinds import Column
from din.schema import LABEL, SPLITS, TIMESTAMP, WEIGHT, Field, Group, SplitName, parse_field

_AGAIN = "run `dvc repro -f -s featurize`"
_PSEUDO = 20.0  # impressions at the mean CTR that an item's CTR is smoothed by


@dataclass(frozen=True)
class Impressions:
    """The B impressions of one split of one shard."""

    user: np.ndarray  # int32 [B], rows of users.parquet
    item: np.ndarray  # int32 [B], rows of items.parquet
    label: np.ndarray  # int8 [B], 1 = clicked
    history_start: np.ndarray  # int32 [B], positions in the shard's behaviours
    history_end: np.ndarray  # int32 [B]
    timestamp: np.ndarray  # int64 [B], µs since 1970, UTC
    sequence: np.ndarray  # int64 [B]
    sampled: np.ndarray  # int8 [B], 1 = sampled negative
    contexts: dict[str, Column]  # of B owners each
    weight: np.ndarray | None = None  # float64 [B], with featurize.weight

    def __len__(self) -> int:
        return len(self.label)

    @property
    def history_length(self) -> np.ndarray:
        """The number of behaviours of each impression, int32 [B]."""
        return self.history_end - self.history_start

    def take(self, places: np.ndarray) -> "Impressions":
        """Return the impressions at positions `places`, in that order."""
        columns = {name: column[places] for name, column in vars(self).items() if isinstance(column, np.ndarray)}
        contexts = {name: column.take(places) for name, column in self.contexts.items()}
        return replace(self, **columns, contexts=contexts)


@dataclass(frozen=True)
class Behaviours:
    """The T behaviours of a shard."""

    item: np.ndarray  # int32 [T], rows of items.parquet
    time: np.ndarray  # int64 [T], µs since 1970, UTC; may be UNKNOWN_TIME
    fields: dict[str, Column]  # of T owners each

    def take(self, places: np.ndarray) -> "Behaviours":
        """Return the behaviours at positions `places`, in that order."""
        fields = {name: column.take(places) for name, column in self.fields.items()}
        return Behaviours(self.item[places], self.time[places], fields)


@dataclass(frozen=True)
class Shard:
    """One split of one shard, and the shard's behaviours, which its histories are views of."""

    impressions: Impressions
    behaviours: Behaviours


class _Kept(NamedTuple):
    """The files of one shard that have been read."""

    number: int
    behaviours: Behaviours
    splits: dict[str, Impressions]


@dataclass(frozen=True)
class ItemCounts:
    """The training impressions of each row of items.parquet, and the clicks on them.

    Attributes:
        impressions: int64 [items].
        clicks: int64 [items].
        sampled: whether some impressions are sampled negatives.
    """

    impressions: np.ndarray
    clicks: np.ndarray
    sampled: bool

    def shown(self, kept_negatives: float) -> np.ndarray:
        """Return the impressions, float64 [items], with negatives that training did not keep by their expected number.

        Args:
            kept_negatives: the share of them that it kept.
        """
        return self.clicks + (self.impressions - self.clicks) / kept_negatives


def smoothed_ctr(clicks: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """Return (clicks + 20·CTR) / (shown + 20) for each count [N], where CTR is that of all."""
    mean = clicks.sum() / max(shown.sum(), 1)
    return (clicks + _PSEUDO * mean) / (shown + _PSEUDO)


class Features:
    """An opened feature directory, read with the ids that are known on a certain day.

    An id that becomes known later is read as unknown. Ids, rows and positions are checked when they are read, since
    native operations use them as memory offsets.

    Attributes:
        known_until: the last day whose ids are known. None: only the ids of training are.

    Raises:
        InputError: the directory is missing or has another format version, a file is unreadable, or an id, row or
            position is out of range. Methods that read a file raise it too.
    """

    def __init__(self, root: Path, known_until: date | None = None) -> None:
        self.root = root
        self.known_until = known_until
        self.manifest = documents.read(FeaturesManifest, root / MANIFEST, "run `dvc repro featurize`")
        self.fields: tuple[Field, ...] = tuple(parse_field(record) for record in self.manifest.fields)
        self._kept: _Kept | None = None

    def of(self, group: Group) -> tuple[Field, ...]:
        """Return the fields of one group, in the order of the joint table."""
        return tuple(field for field in self.fields if field.group is group)

    def at(self, day: date) -> "Features":
        """Return a reader of the same directory that knows the ids that become known up to and including a day."""
        return Features(self.root, day)

    @property
    def train_until(self) -> datetime:
        """The time of the last row of the training split."""
        return datetime.fromisoformat(self.manifest.train_until)

    @property
    def by_time(self) -> bool:
        """True if rows are held out by time, so that they may be learned once they have been judged."""
        return self.manifest.protocol == "temporal"

    @cached_property
    def rows(self) -> dict[str, int]:
        """The number of rows of each field's embedding table that the reader knows, including row 0."""
        return self._rows((self.known_until or date.min).isoformat())

    @property
    def records(self) -> list[FieldRecord]:
        """The records of the fields in the manifest, with the rows that the reader knows."""
        records = [record.copy() for record in self.manifest.fields]
        for record in records:
            record["rows"] = self.rows[record["name"]]
        return records

    @property
    def weighted(self) -> bool:
        """True if rows have weights."""
        return self.manifest.params.get(WEIGHT) is not None

    @property
    def kept_negatives(self) -> float:
        """The share r of the log's training rows without a click that training kept."""
        return self.manifest.negatives.training if self.manifest.negatives else 1.0

    def offset(self, split: str) -> float:
        """Return how much higher the logit of a click is among the rows of a split than in the traffic: −ln r.

        The rows hold a share r of the traffic's impressions without a click.
        """
        logged = self.manifest.negatives.log if self.manifest.negatives else 1.0
        share = logged * (self.kept_negatives if split == "train" else 1.0)
        return 0.0 if share == 1 else -math.log(share)

    @cached_property
    def _stored_rows(self) -> dict[str, int]:
        """The number of rows of each field's embedding table when all ids are known."""
        return self._rows(date.max.isoformat())

    def _rows(self, until: str) -> dict[str, int]:
        rows = {record["name"]: record["rows"] for record in self.manifest.fields}
        for day in self.manifest.held_out:
            if day.day <= until:
                rows |= day.rows
        return rows

    @cached_property
    def items(self) -> dict[str, Column]:
        """The item fields, for every row of items.parquet."""
        return self._entities("items", Group.ITEM)

    @cached_property
    def users(self) -> dict[str, Column]:
        """The user fields, for every row of users.parquet."""
        return self._entities("users", Group.USER)

    def vocabulary(self, field: str) -> pa.Table:
        """Return the known rows of a vocabulary: value, id, count, impressions (n_j of Eq. 6), and known_since."""
        return _read(self.root / "vocab" / f"{field}.parquet").slice(0, self.rows[field])

    def table(self, group: Group) -> pa.Table:
        """Return items.parquet or users.parquet with ids that become known later replaced by unknown."""
        columns = self.items if group is Group.ITEM else self.users
        table = _read(self.root / f"{group}s.parquet")
        for field in self.of(group):
            if self._hides(field):
                place = table.column_names.index(field.name)
                table = table.set_column(place, field.name, _arrow(columns[field.name]))
        return table

    def raw_items(self) -> pa.ChunkedArray:
        """Return the raw item ids by row of items.parquet. Row 0 is null."""
        return _read(self.root / "items.parquet", ["value"])["value"]

    def raw_users(self) -> pa.ChunkedArray:
        """Return the raw user ids by row of users.parquet. Row 0 is null."""
        return _read(self.root / "users.parquet", ["value"])["value"]

    def shard(self, number: int, split: str) -> Shard:
        """Return one split (`train`, `valid`, `test`) of one shard.

        The shard that was read last is kept, so that training on a single one reads it once.
        """
        assert split in SPLITS, split
        kept = self._kept
        if kept is None or kept.number != number:
            kept = _Kept(number, self._behaviours(number), {})
            self._kept = kept
        if split not in kept.splits:
            kept.splits[split] = self._impressions(number, split, len(kept.behaviours.item))
        return Shard(kept.splits[split], kept.behaviours)

    def _behaviours(self, number: int) -> Behaviours:
        path = self._path(number, "behaviours")
        rows = _read(path)
        item = rows["item"].to_numpy()
        _check(path, "item", item, self.manifest.items)
        return Behaviours(item, rows[TIMESTAMP].to_numpy(), self._columns(path, rows, Group.BEHAVIOUR))

    def _impressions(self, number: int, split: str, behaviours: int) -> Impressions:
        path = self._path(number, split)
        rows = _read(path)
        optional = {"contexts"} if self.weighted else {"contexts", WEIGHT}
        columns = {name: rows[name].to_numpy() for name in Impressions.__dataclass_fields__ if name not in optional}
        _check(path, "user", columns["user"], self.manifest.users)
        _check(path, "item", columns["item"], self.manifest.items)
        _check(path, "history_end", columns["history_end"], behaviours + 1)
        _check(path, "history_start", columns["history_start"], columns["history_end"] + 1)
        return Impressions(**columns, contexts=self._columns(path, rows, Group.CONTEXT))

    def split_rows(self, split: str) -> list[int]:
        """Return the number of impressions of a split in each shard, from the footers of the files."""
        return [_rows(self._path(number, split)) for number in range(self.manifest.shards)]

    def timestamps(self, number: int, split: str) -> np.ndarray:
        """Return the times of the impressions of one split of one shard, int64 in µs since 1970, UTC."""
        return _read(self._path(number, split), [TIMESTAMP])[TIMESTAMP].to_numpy()

    def labels(self, number: int, split: str) -> np.ndarray:
        """Return the labels of the impressions of one split of one shard, int8."""
        return _read(self._path(number, split), [LABEL])[LABEL].to_numpy()

    def user_rows(self, number: int, of: SplitName | Literal["behaviours"]) -> np.ndarray:
        """Return the users of the impressions of one split, or of the behaviours, of one shard.

        They are int32, rows of users.parquet.
        """
        path = self._path(number, of)
        users = _read(path, ["user"])["user"].to_numpy()
        _check(path, "user", users, self.manifest.users)
        return users

    def weights(self, number: int, split: str) -> np.ndarray | None:
        """Return the weights of the impressions of one split of one shard, float64. None if they have none."""
        return _read(self._path(number, split), [WEIGHT])[WEIGHT].to_numpy() if self.weighted else None

    def last_day(self) -> date:
        """Return the day (UTC) of the last impression. `data.until` may be later."""
        times = (self.timestamps(number, split) for number in range(self.manifest.shards) for split in SPLITS)
        last = max(int(shard_times.max(initial=0)) for shard_times in times)
        return datetime.fromtimestamp(last / 1e6, UTC).date()

    def shards(self, split: str, order: Iterable[int] | None = None) -> Iterable[Shard]:
        """Yield all shards of a split, one in memory at a time.

        Args:
            order: their numbers. None: in ascending order.
        """
        return (self.shard(number, split) for number in (range(self.manifest.shards) if order is None else order))

    def training_counts(self, until: int | None = None) -> "ItemCounts":
        """Count the training rows and clicks of each item. Reads four columns of each shard.

        Args:
            until: leave out rows after this time, in µs. None: count all.
        """
        items = self.manifest.items
        impressions, clicks = np.zeros((2, items), np.int64)
        sampled = False
        for number in range(self.manifest.shards):
            path = self._path(number, "train")
            rows = _read(path, ["item", "label", "sampled", TIMESTAMP])
            if until is not None:
                rows = rows.filter(pc.less_equal(rows[TIMESTAMP], until))
            item = rows["item"].to_numpy()
            _check(path, "item", item, items)
            impressions += np.bincount(item, minlength=items)
            clicks += np.bincount(item[rows["label"].to_numpy() != 0], minlength=items)
            sampled |= bool(rows["sampled"].to_numpy().any())
        return ItemCounts(impressions, clicks, sampled)

    def popularity(self) -> np.ndarray:
        """Return a score by row of items.parquet, float64: the smoothed CTR of the item in training.

        If negatives are sampled from the catalogue, a rate has no meaning, and the score is the number of training
        clicks.
        """
        counts = self.training_counts()
        if counts.sampled:
            return counts.clicks.astype(np.float64)
        return smoothed_ctr(counts.clicks, counts.shown(self.kept_negatives))

    def _path(self, number: int, name: str) -> Path:
        return self.root / "shards" / f"{number:05d}" / f"{name}.parquet"

    def _entities(self, name: str, group: Group) -> dict[str, Column]:
        path = self.root / f"{name}.parquet"
        rows = getattr(self.manifest, name)
        table = _read(path)
        if len(table) != rows:
            raise InputError(f"{path}: {len(table)} rows, expected {rows}; {_AGAIN}")
        return self._columns(path, table, group)

    def _columns(self, path: Path, table: pa.Table, group: Group) -> dict[str, Column]:
        """Return the fields of one group from a table that was read from `path`."""
        fields = self.of(group)
        columns = columns_of(table, fields)
        for field in fields:
            if field.form.holds_ids:
                _check(path, field.name, columns[field.name].values, self._stored_rows[field.name])
            if self._hides(field):
                columns[field.name] = field.form.forget(columns[field.name], self.rows[field.name])
        return columns

    def _hides(self, field: Field) -> bool:
        """Return whether the files hold ids of a field that the reader does not know yet."""
        return self.rows[field.name] < self._stored_rows[field.name]


def columns_of(table: pa.Table, fields: tuple[Field, ...]) -> dict[str, Column]:
    """Return the columns of `fields`, by name.

    Raises:
        InputError: a column does not have the form of its field.
    """
    columns = {}
    for field in fields:
        try:
            columns[field.name] = field.form.column(table[field.name])
        except InputError as error:
            raise InputError(f"column {field.name!r}: {error}; {_AGAIN}") from None
    return columns


def _check(path: Path, column: str, values: np.ndarray, end: int | np.ndarray) -> None:
    """Check that int32 values [N] are in [0, end), where `end` is one number or [N].

    Raises:
        InputError: the values are not int32, which nulls can cause, or one is out of range.
    """
    if values.dtype != np.int32:
        raise InputError(f"{path}: {column} is {values.dtype}, expected int32 without nulls; {_AGAIN}")
    wrong = (values < 0) | (values >= end)
    if wrong.any():
        first = wrong.argmax()
        last = np.broadcast_to(end, values.shape)[first] - 1
        raise InputError(f"{path}: {column} {values[first]}, expected 0 to {last}; {_AGAIN}")


def _arrow(column: Column) -> pa.Array:
    values = pa.array(column.values)
    return values if column.offsets is None else pa.ListArray.from_arrays(column.offsets.astype(np.int32), values)


def _rows(path: Path) -> int:
    with _readable(path):
        return pq.read_metadata(path).num_rows


def _read(path: Path, columns: list[str] | None = None) -> pa.Table:
    with _readable(path):
        return pq.read_table(path, columns=columns)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise InputError(f"{path}: not found; run `dvc repro featurize`") from None
    except (pa.ArrowInvalid, OSError) as error:
        problem = " ".join(str(error).split())  # Arrow's message has several lines
        raise InputError(f"{path}: not a readable Parquet file ({problem}); {_AGAIN}") from None

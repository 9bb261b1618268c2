"""Read `data/features/` (FORMAT.md) into numpy columns.

A shard is read whole: its behaviours once, its impressions as (start, end) views into them. Memory is the largest
shard plus the item and user tables, never impressions × history length.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from din import documents
from din.artifacts import MANIFEST
from din.document_types import FeaturesManifest
from din.errors import InputError
from din.field_forms import Column
from din.schema import SPLITS, TIMESTAMP, Field, Group, parse_field

_AGAIN = "run `dvc repro -f -s featurize`"


@dataclass(frozen=True)
class Impressions:
    """One split of one shard, B rows.

    user, item: int32 [B], rows of the user and item tables. label: int8 [B]. history_start, history_end: int32 [B],
    positions in the shard's behaviours. timestamp (µs), sequence: int64 [B]. sampled: int8 [B], 1 = sampled negative.
    """

    user: np.ndarray
    item: np.ndarray
    label: np.ndarray
    history_start: np.ndarray
    history_end: np.ndarray
    timestamp: np.ndarray
    sequence: np.ndarray
    sampled: np.ndarray
    contexts: dict[str, Column]

    def __len__(self) -> int:
        return len(self.label)

    @property
    def history_length(self) -> np.ndarray:
        """int32 [B], behaviours of each impression."""
        return self.history_end - self.history_start


@dataclass(frozen=True)
class Shard:
    """One split of one shard with the behaviours that its histories view: `item` int32 [T], fields of T owners each."""

    impressions: Impressions
    behaviour_item: np.ndarray
    behaviour_fields: dict[str, Column]


class Features:
    """An opened feature directory.

    Raises:
        InputError: the directory is missing, of another format version, or a file of it is unreadable; a column that
            is read as ids, rows or positions holds something else: native operations index memory by them.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.manifest = documents.read(FeaturesManifest, root / MANIFEST, "run `dvc repro featurize`")
        self.fields: tuple[Field, ...] = tuple(parse_field(record) for record in self.manifest["fields"])

    def of(self, group: Group) -> tuple[Field, ...]:
        """The fields of one group, in table order."""
        return tuple(field for field in self.fields if field.group is group)

    @cached_property
    def rows(self) -> dict[str, int]:
        """Field name to rows of its embedding table, row 0 included."""
        return {record["name"]: record["rows"] for record in self.manifest["fields"]}

    @cached_property
    def items(self) -> dict[str, Column]:
        """Item-group fields of every row of items.parquet."""
        return self._entities("items", Group.ITEM)

    @cached_property
    def users(self) -> dict[str, Column]:
        """User-group fields of every row of users.parquet."""
        return self._entities("users", Group.USER)

    def vocabulary(self, field: str) -> pa.Table:
        """The vocabulary of a field: value, id, count, impressions (n_j of Eq. 6), by id."""
        return _read(self.root / "vocab" / f"{field}.parquet")

    def raw_items(self) -> pa.ChunkedArray:
        """Raw item ids by row of items.parquet; null in row 0."""
        return _read(self.root / "items.parquet", ["value"])["value"]

    def shard(self, number: int, split: str) -> Shard:
        """Read one split (`train`, `valid`, `test`) of one shard."""
        assert split in SPLITS, split
        folder = self.root / "shards" / f"{number:05d}"
        path, other = folder / f"{split}.parquet", folder / "behaviours.parquet"
        rows, behaviours = _read(path), _read(other)
        own = {name: _numpy(rows[name]) for name in Impressions.__dataclass_fields__ if name != "contexts"}
        item = _numpy(behaviours["item"])
        _check(path, "user", own["user"], self.manifest["users"])
        _check(path, "item", own["item"], self.manifest["items"])
        _check(path, "history_end", own["history_end"], len(item) + 1)
        _check(path, "history_start", own["history_start"], own["history_end"] + 1)
        _check(other, "item", item, self.manifest["items"])
        impressions = Impressions(**own, contexts=self._columns(path, rows, Group.CONTEXT))
        return Shard(impressions, item, self._columns(other, behaviours, Group.BEHAVIOUR))

    def split_rows(self, split: str) -> list[int]:
        """Impressions of a split by shard, from the files' footers."""
        paths = (
            self.root / "shards" / f"{number:05d}" / f"{split}.parquet" for number in range(self.manifest["shards"])
        )
        return [_rows(path) for path in paths]

    def last_day(self) -> date:
        """Return the day (UTC) of the last impression. `data.until` may name a day that no log has reached."""
        folders = [self.root / "shards" / f"{number:05d}" for number in range(self.manifest["shards"])]
        last = 0
        for path in (folder / f"{split}.parquet" for folder in folders for split in SPLITS):
            last = max(last, int(_numpy(_read(path, [TIMESTAMP])[TIMESTAMP]).max(initial=0)))
        return datetime.fromtimestamp(last / 1e6, UTC).date()

    def shards(self, split: str, order: Iterable[int] | None = None) -> Iterable[Shard]:
        """All shards of a split, in `order` (default: by number), one in memory at a time."""
        return (self.shard(number, split) for number in (range(self.manifest["shards"]) if order is None else order))

    def popularity(self) -> np.ndarray:
        """float64 by row of items.parquet: training clicks + smoothing over training impressions + smoothing.

        Where negatives are sampled a rate means nothing, so the score is the number of training clicks.
        """
        shown, clicked = np.zeros((2, self.manifest["items"]))
        sampled = False
        for shard in self.shards("train"):
            rows = shard.impressions
            shown += np.bincount(rows.item, minlength=len(shown))
            clicked += np.bincount(rows.item, weights=rows.label, minlength=len(shown))
            sampled |= bool(rows.sampled.any())
        if sampled:
            return clicked
        prior = clicked.sum() / max(shown.sum(), 1)
        return (clicked + 20 * prior) / (shown + 20)

    def _entities(self, name: str, group: Group) -> dict[str, Column]:
        path, rows = self.root / f"{name}.parquet", self.manifest[name]
        table = _read(path)
        if len(table) != rows:
            raise InputError(f"{path}: {len(table)} rows, expected {rows}; {_AGAIN}")
        return self._columns(path, table, group)

    def _columns(self, path: Path, table: pa.Table, group: Group) -> dict[str, Column]:
        """The fields of one group, from the table that was read from `path`."""
        fields = self.of(group)
        columns = columns_of(table, fields)
        for field in fields:
            if field.form.holds_ids:
                _check(path, field.name, columns[field.name].values, self.rows[field.name])
        return columns


def columns_of(table: pa.Table, fields: tuple[Field, ...]) -> dict[str, Column]:
    """The columns of some fields, by name."""
    columns = {}
    for field in fields:
        try:
            columns[field.name] = field.form.column(table[field.name])
        except InputError as error:
            raise InputError(f"column {field.name!r}: {error}; {_AGAIN}") from None
    return columns


def _check(path: Path, column: str, values: np.ndarray, end: int | np.ndarray) -> None:
    """Whether int32 values [N] lie in [0, end), `end` one for all or [N].

    Raises:
        InputError: not int32 (as with nulls), or one that does not.
    """
    if values.dtype != np.int32:
        raise InputError(f"{path}: {column} is {values.dtype}, expected int32 without nulls; {_AGAIN}")
    wrong = (values < 0) | (values >= end)
    if wrong.any():
        first = wrong.argmax()
        last = np.broadcast_to(end, values.shape)[first] - 1
        raise InputError(f"{path}: {column} {values[first]}, expected 0 to {last}; {_AGAIN}")


def _numpy(array: pa.ChunkedArray) -> np.ndarray:
    return array.to_numpy()


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
        problem = " ".join(str(error).split())  # Arrow breaks lines
        raise InputError(f"{path}: not a readable Parquet file ({problem}); {_AGAIN}") from None

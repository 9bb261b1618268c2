"""Read `data/features/` for judging. Unlike din.features.reader, this reader relies only on column names and types."""

from dataclasses import replace
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from typing_extensions import override

from din.base import documents
from din.base.artifacts import MANIFEST
from din.base.workspace import Workspace
from din.contracts.manifests import FeaturesManifest
from din.kinds import UNKNOWN, Vector
from din.params.reading import Params
from din.schema import SPLITS, TIMESTAMP, Field, Group, parse_field
from validation import detector_limits
from validation.suite_data import SuiteData, text
from validation.thresholds import Threshold

OF_BEHAVIOURS = ("user", "item", "timestamp", "sequence")
OF_IMPRESSIONS = ("label", "history_start", "history_end", "sampled")
OWN = OF_BEHAVIOURS + OF_IMPRESSIONS
_FILE = '".file"'  # no field's name begins with a dot


class FeatureDirectory(SuiteData):
    """A feature directory. Its columns have the right types once the phase `files` is open.

    The view `rows` has the columns `OWN` of all shards; behaviours have only `OF_BEHAVIOURS`. It also has the `file`,
    the `row` number in the file, the `shard`, and the `split`, or "behaviours". Each query reads only the columns that
    it names.

    Attributes:
        manifest: the manifest that `featurize` wrote.
        field_names: the key of tables with a row for each field.
        known_rows: the number of ids that training knows, including 0, by field.
        stored_rows: the number of ids known after all held-out days, by field.
        held_out: the days of validation and test, in order.

    Raises:
        InputError: the manifest is missing or has another format.
    """

    suite = "features"

    def __init__(self, workspace: Workspace, params: Params) -> None:
        super().__init__(workspace, params)
        self.root = workspace.features
        self.manifest = documents.read(FeaturesManifest, self.root / MANIFEST, "run `dvc repro featurize`")
        self.fields = [parse_field(record) for record in self.manifest.fields]
        self.field_names = pd.Index([field.name for field in self.fields], name="field")
        self.known_rows: dict[str, int] = {record["name"]: record["rows"] for record in self.manifest.fields}
        last = self.manifest.held_out[-1:]
        self.stored_rows = self.known_rows | (last[0].rows if last else {})
        self.held_out = [date.fromisoformat(day.day) for day in self.manifest.held_out]

    @override
    def threshold(self, name: str) -> Threshold:
        threshold = super().threshold(name)
        if self.manifest.protocol != "leave_last_out" or name not in ("label_leak", "pair_leak", "history_leak"):
            return threshold
        return replace(threshold, maximum=max(threshold.maximum or 0.0, detector_limits.MAX_SAMPLED_AUC))

    @override
    def load(self, connection: duckdb.DuckDBPyConnection) -> None:
        connection.execute(f"CREATE VIEW rows AS {self.rows_of()}")

    @override
    def rows(self, query: str) -> list[dict[str, Any]]:
        return [self._as_in_log(row) for row in super().rows(query)]

    def _as_in_log(self, row: dict[str, Any]) -> dict[str, Any]:
        """Return a row with the log's ids and time, where it has rows of users.parquet and items.parquet."""
        shown = dict(row)
        for name, table in (("user", self.users), ("item", self.items)):
            at = row.get(name)
            if isinstance(at, int) and 0 <= at < table.num_rows and "value" in table.column_names:
                shown[f"{name}_id"] = table["value"][shown.pop(name)].as_py()
        if isinstance(row.get(TIMESTAMP), int):
            shown["time"] = str(np.datetime64(shown.pop(TIMESTAMP), "us")).replace("T", " ")
        return shown

    def rows_of(self, shard: int | None = None) -> str:
        """Return SQL that selects the rows of a shard, or of all, with the columns of the view `rows`."""
        place = rf"regexp_extract({_FILE}, 'shards/([0-9]+)/([a-z]+)\.parquet$', ['shard', 'split'])"
        queries = []
        for name in ("behaviours", *SPLITS):
            columns = [f"{column}::BIGINT AS {column}" for column in (OF_BEHAVIOURS if name == "behaviours" else OWN)]
            path = text(self.root / "shards" / ("*" if shard is None else f"{shard:05d}") / f"{name}.parquet")
            queries.append(
                f"SELECT {_FILE} AS file, file_row_number AS row, unnest({place}), {', '.join(columns)} "
                f"FROM read_parquet({path}, filename = {_FILE}, file_row_number = true, hive_partitioning = false)"
            )
        return " UNION ALL BY NAME ".join(queries)

    def of(self, group: Group) -> list[Field]:
        """Return the fields of a group."""
        return [field for field in self.fields if field.group is group]

    @cached_property
    def items(self) -> pa.Table:
        """The table items.parquet."""
        return pq.read_table(self.root / "items.parquet")

    @cached_property
    def users(self) -> pa.Table:
        """The table users.parquet."""
        return pq.read_table(self.root / "users.parquet")

    def vocabulary(self, field: Field) -> pa.Table:
        """Return the vocabulary of a field."""
        return pq.read_table(self.root / "vocab" / f"{field.name}.parquet")

    def day_numbers(self, field: Field) -> np.ndarray:
        """Return when each id becomes known according to the manifest: 0 in training, n on the nth held-out day."""
        after = [day.rows.get(field.name, self.known_rows[field.name]) for day in self.manifest.held_out]
        ids = np.arange(self.stored_rows[field.name])
        return np.searchsorted([self.known_rows[field.name], *after], ids, side="right")

    def known(self, column: pa.ChunkedArray, field: Field) -> tuple[np.ndarray, np.ndarray]:
        """Return a field's values and the row of each, like `values`, with ids unknown to training as `UNKNOWN`.

        A list without its late ids keeps the others; a list of only late ids has one `UNKNOWN`.
        """
        stored, row = values(column, field)
        if not field.form.has_vocabulary:
            return stored, row
        late = stored >= self.known_rows[field.name]
        if not late.any():
            return stored, row
        has_known = np.bincount(row[~late], minlength=len(column)) > 0
        first = np.append(True, row[1:] != row[:-1])
        kept = ~late | (first & ~has_known[row])
        return np.where(late, UNKNOWN, stored)[kept], row[kept]

    def path(self, shard: int, name: str) -> Path:
        """Return the path of a shard's `behaviours` or of one of its splits."""
        return self.root / "shards" / f"{shard:05d}" / f"{name}.parquet"


def date_of(timestamp: int) -> str:
    """Return the UTC date of a timestamp in microseconds since 1970."""
    return str(np.datetime64(int(timestamp), "us").astype("datetime64[D]"))


def integers(column: pa.ChunkedArray) -> np.ndarray:
    """Return an integer column as an array, with -1 for null, which is not a valid id."""
    return pc.fill_null(column, -1).to_numpy()


def values(column: pa.ChunkedArray, field: Field) -> tuple[np.ndarray, np.ndarray]:
    """Return a field's M values and the row of each, [M].

    Returns:
        int32 ids [M], where a missing or empty value is -1; float32 numbers [M], where NaN is missing; or float32
        vectors [M, n], where NaN is missing and inf marks a wrong length.
    """
    rows = np.arange(len(column))
    if isinstance(field.form, Vector):
        return _vectors(column, field.form.length), rows
    if not field.form.holds_ids:
        return pc.fill_null(column, float("nan")).to_numpy(), rows
    if not field.form.ragged:
        return integers(column), rows
    lengths = pc.fill_null(pc.call_function("list_value_length", [column]), 0).to_numpy()
    empty = np.flatnonzero(lengths == 0)
    flat = integers(pc.call_function("list_flatten", [column]))
    return np.concatenate([flat, np.full(len(empty), -1, flat.dtype)]), np.concatenate(
        [np.repeat(rows, lengths), empty]
    )


def _vectors(column: pa.ChunkedArray, length: int) -> np.ndarray:
    fitting = pc.fill_null(pc.call_function("list_value_length", [column]), -1).to_numpy() == length
    numbers = pc.call_function("list_flatten", [column.filter(pa.array(fitting))]).to_numpy()
    vectors = np.full((len(column), length), np.inf, np.float32)
    vectors[fitting] = numbers.reshape(-1, length)
    return vectors

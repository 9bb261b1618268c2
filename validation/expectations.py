"""Build the expectations of a suite: Great Expectations' classes on columns of named tables.

The pandas engine of Great Expectations would have to hold the whole log in memory. The suites on the raw log and on the
shards therefore compute a few small tables over *all* rows, and Great Expectations judges their columns. `days` has one
row per day, `columns` one per column and day, `files` one per file, `vocabularies` one per field, and `log` a single
row of figures (docs/adr/0034). Thresholds come from validation/thresholds.py. An expectation's severity and advice are
stored in the library's own arguments `severity` and `notes`.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from great_expectations import expectations as gxe

from din.base.artifacts import MANIFEST, hash_files
from validation.suite_data import Rows, SuiteData

Sample = Rows | Callable[[], Rows] | None


@dataclass(frozen=True)
class Expected:
    """An expectation on columns of a named table.

    Attributes:
        table: the name of the table. The table joins the columns of all its expectations.
        columns: the columns that this expectation needs, indexed by the table's key.
        expectation: the library's expectation; its `meta` has the `name` in reports and the `column` it concerns.
        sample: offending rows, or a function that selects them. None takes them from `columns`.
    """

    table: str
    columns: pd.DataFrame
    expectation: gxe.Expectation
    sample: Sample = None

    @property
    def name(self) -> str:
        """The name in reports. It is unique in its suite and stable between releases."""
        return self.expectation.meta["name"] if self.expectation.meta else ""


def expect(
    data: SuiteData,
    kind: type[gxe.Expectation],
    name: str,
    table: str,
    columns: pd.DataFrame,
    *,
    about: str | None = None,
    advice: str,
    sample: Sample = None,
    **arguments: Any,
) -> Expected:
    """Return an expectation of the library on a table, with the severity of its threshold.

    Args:
        kind: the library's class, which is called with `arguments`.
        about: the column of the log or the shards that the expectation concerns, for the report.
        advice: what to do if it fails.
        sample: see `Expected`.
        arguments: the class's own arguments, e.g. `column`.
    """
    arguments |= {"severity": data.threshold(name).severity, "notes": advice, "meta": {"name": name, "column": about}}
    return Expected(table, columns, kind(**arguments), sample)


def bounded(
    data: SuiteData,
    kind: type[gxe.Expectation],
    name: str,
    table: str,
    columns: pd.DataFrame,
    column: str | None = None,
    **others: Any,
) -> Expected:
    """Expect the values of a column, or an aggregate, to be within the threshold. The column has the same `name`."""
    threshold = data.threshold(name)
    limits = {"min_value": threshold.minimum, "max_value": threshold.maximum}
    return expect(data, kind, name, table, columns, column=column or name, **limits, **others)


def figure(data: SuiteData, name: str, value: float | None, *, sample: Sample = (), **others: Any) -> Expected:
    """Expect a single figure, a column of `log`, to be within its threshold. None and NaN fail."""
    columns = pd.DataFrame({name: [value]}, dtype="float64")
    # Unlike ExpectColumnValuesToBeBetween, this class refuses null.
    return bounded(data, gxe.ExpectColumnMaxToBeBetween, name, "log", columns, sample=sample, **others)


def none_of(data: SuiteData, name: str, table: str, key: pd.Index, offenders: Rows, **others: Any) -> Expected:
    """Expect no offenders among the rows of a table. Its new column has their number.

    Args:
        key: the key of all rows of the table.
        offenders: the complete list. Each has the key of its row.
    """
    counts = Counter(map(itemgetter(*key.names), offenders))
    columns = pd.DataFrame({name: [counts[value] for value in key]}, index=key)
    return total(data, name, table, columns, sample=offenders, **others)


def total(data: SuiteData, name: str, table: str, columns: pd.DataFrame, **others: Any) -> Expected:
    """Expect the sum of the column `name` to be within its threshold; an empty table counts as one 0."""
    judged = columns if len(columns) else pd.DataFrame({name: [0]})
    return bounded(data, gxe.ExpectColumnSumToBeBetween, name, table, judged, **others)


def highest(data: SuiteData, name: str, table: str, columns: pd.DataFrame, column: str, **others: Any) -> Expected:
    """Expect no value of a column above its threshold; an empty table counts as one 0."""
    judged = columns if len(columns) else pd.DataFrame({column: [0.0]})
    return bounded(data, gxe.ExpectColumnMaxToBeBetween, name, table, judged, column, **others)


def lowest(data: SuiteData, name: str, table: str, columns: pd.DataFrame, column: str, **others: Any) -> Expected:
    """Expect no value of a column below its threshold."""
    return bounded(data, gxe.ExpectColumnMinToBeBetween, name, table, columns, column, **others)


def files_match_manifest(data: SuiteData, root: Path, listed: Mapping[str, str], stage: str) -> Expected:
    """Expect that no file was edited, added or removed after the stage wrote them. Reads all files once."""
    hashes = hash_files(root)
    hashes.pop(MANIFEST)
    paths = sorted({*hashes, *listed})
    problems = {str(root / path): _difference(hashes.get(path), listed.get(path)) for path in paths}
    return none_of(
        data,
        "files_match_manifest",
        "files",
        pd.Index(problems, name="file"),
        [{"file": path, "problem": problem} for path, problem in problems.items() if problem],
        advice=f"the files below {root} are not as their stage wrote them: delete {root} and run `dvc repro {stage}`",
    )


def _difference(actual: str | None, listed: str | None) -> str | None:
    if actual == listed:
        return None
    if actual is None:
        return "missing"
    return "not in the manifest" if listed is None else "changed after it was written"


def columns_of(
    data: SuiteData, expected: Mapping[Path, Mapping[str, Sequence[str]]], advice: str
) -> tuple[dict[Path, dict[str, str]], list[Expected]]:
    """Read the columns of Parquet files from their footers.

    Args:
        expected: the required columns of each file, and the types that each column may have.
        advice: what to do if a column is missing or has another type.

    Returns:
        The type of each column of the readable files, and two expectations: all files are readable, and all have the
        required columns and types.
    """
    columns: dict[Path, dict[str, str]] = {}
    unreadable = []
    for path in expected:
        try:
            schema = pq.read_schema(path)
            columns[path] = dict(zip(schema.names, map(str, schema.types), strict=True))
        except (pa.ArrowException, OSError) as error:
            unreadable.append({"file": str(path), "unreadable": str(error).splitlines()[0]})
    wrong = [
        {"file": str(path), "column": name, "type": types.get(name, "missing"), "expected": " or ".join(kinds)}
        for path, types in columns.items()
        for name, kinds in expected[path].items()
        if types.get(name, "missing").replace("element", "item") not in kinds  # depends on the writer
    ]
    files = pd.Index(map(str, expected), name="file")
    damaged = "the file is truncated, damaged or missing: delete its directory and run the stage that writes it again"
    return columns, [
        none_of(data, "files_readable", "files", files, unreadable, advice=damaged),
        none_of(data, "columns", "files", files, wrong, advice=advice),
    ]

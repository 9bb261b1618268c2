"""Build the expectations of a suite: Great Expectations' classes on columns of named tables.

The pandas engine of Great Expectations would have to hold the whole log in memory. The suites on the raw log and on the
shards therefore compute a few small tables over *all* rows, and Great Expectations judges their columns. `days` has one
row per day, `columns` one per column and day, `files` one per file, and `log` a single row of figures. An expectation's
severity and advice are stored in the library's own arguments `severity` and `notes`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from great_expectations import expectations as gxe

from din.base.artifacts import MANIFEST, hash_files

SAMPLE = 5

Rows = Sequence[Mapping[str, Any]]
Severity = Literal["critical", "warning"]
Sample = Rows | Callable[[], Rows] | None


@dataclass(frozen=True)
class Expected:
    """An expectation on columns of a named table.

    Attributes:
        table: the name of the table. The table joins the columns of all its expectations.
        columns: the columns that this expectation needs, indexed by the table's key.
        expectation: the library's expectation; its `meta` has the `name` in reports and the `column` it concerns.
        sample: offending rows, or a function that finds them. None takes them from `columns`.
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
    kind: type[gxe.Expectation],
    name: str,
    table: str,
    columns: pd.DataFrame,
    *,
    about: str | None = None,
    advice: str,
    severity: Severity = "critical",
    sample: Sample = None,
    **arguments: Any,
) -> Expected:
    """Return an expectation of the library on a table.

    Args:
        kind: the library's class, which is called with `arguments`.
        about: the column of the log or the shards that the expectation concerns, for the report.
        advice: what to do if it fails.
        sample: see `Expected`.
        arguments: the class's own arguments, e.g. `column` and `max_value`.
    """
    arguments |= {"severity": severity, "notes": advice, "meta": {"name": name, "column": about}}
    return Expected(table, columns, kind(**arguments), sample)


def figure(
    name: str,
    value: float | None,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    column: str | None = None,
    advice: str,
    severity: Severity = "critical",
    sample: Sample = (),
) -> Expected:
    """Expect a single figure, a column of `log`, to be within [minimum, maximum]. None and NaN fail."""
    return expect(
        gxe.ExpectColumnMaxToBeBetween,  # the table has one row; unlike ExpectColumnValuesToBeBetween, null fails
        name,
        "log",
        pd.DataFrame({name: [value]}, dtype="float64"),
        about=column,
        advice=advice,
        severity=severity,
        sample=sample,
        column=name,
        min_value=minimum,
        max_value=maximum,
    )


def graded(
    critical: tuple[str, float], warning: tuple[str, float], value: float | None, **others: Any
) -> Iterator[Expected]:
    """Expect a figure to be at most a critical limit, and warn above a lower one. Each is a (name, limit) pair."""
    yield figure(critical[0], value, maximum=critical[1], **others)
    yield figure(warning[0], value, maximum=warning[1], severity="warning", **others)


def none_of(name: str, offenders: Rows, **others: Any) -> Expected:
    """Expect no offenders; `offenders` is the complete list."""
    return figure(name, len(offenders), maximum=0, sample=offenders, **others)


def at_most(name: str, table: str, columns: pd.DataFrame, column: str, limit: float, **others: Any) -> Expected:
    """Expect no value of a column above a limit. A column of nulls fails; an empty table counts as one 0."""
    judged = columns if len(columns) else pd.DataFrame({column: [0.0]})
    return expect(
        gxe.ExpectColumnMaxToBeBetween, name, table, judged, column=column, min_value=None, max_value=limit, **others
    )


def files_match_manifest(root: Path, listed: Mapping[str, str], stage: str) -> Expected:
    """Expect that no file was edited, added or removed after the stage wrote them. Reads all files once."""
    found = hash_files(root)
    found.pop(MANIFEST)
    problems = {str(root / path): _difference(found.get(path), listed.get(path)) for path in sorted({*found, *listed})}
    return _nothing_in(
        "files_match_manifest",
        "problem",
        problems,
        f"the files below {root} are not as their stage wrote them: delete {root} and run `dvc repro {stage}`",
    )


def _difference(found: str | None, listed: str | None) -> str | None:
    if found == listed:
        return None
    if found is None:
        return "missing"
    return "not in the manifest" if listed is None else "changed after it was written"


def _nothing_in(name: str, column: str, problems: Mapping[str, str | None], advice: str) -> Expected:
    """Expect a column of `files` to be all null; `problems` has the problem of each file, or None."""
    files = pd.DataFrame({column: problems.values()}, index=pd.Index(problems, name="file"), dtype="object")
    return expect(gxe.ExpectColumnValuesToBeNull, name, "files", files, advice=advice, column=column)


def columns_of(
    expected: Mapping[Path, Mapping[str, Sequence[str]]], advice: str
) -> tuple[dict[Path, dict[str, str]], list[Expected]]:
    """Read the columns of Parquet files from their footers.

    Args:
        expected: the required columns of each file, and the types that each column may have.
        advice: what to do if a column is missing or has another type.

    Returns:
        The type of each column of the readable files, and two expectations: all files are readable, and all have the
        required columns and types.
    """
    found = {}
    problems: dict[str, str | None] = {}
    for path in expected:
        problems[str(path)] = None
        try:
            schema = pq.read_schema(path)
            found[path] = dict(zip(schema.names, map(str, schema.types), strict=True))
        except (pa.ArrowException, OSError) as error:
            problems[str(path)] = str(error).splitlines()[0]
    wrong = [
        {"file": str(path), "column": name, "type": types.get(name, "missing"), "expected": " or ".join(kinds)}
        for path, types in found.items()
        for name, kinds in expected[path].items()
        if types.get(name, "missing").replace("element", "item") not in kinds  # depends on the writer
    ]
    damaged = "the file is truncated, damaged or missing: delete its directory and run the stage that writes it again"
    readable = _nothing_in("files_readable", "unreadable", problems, damaged)
    return found, [readable, none_of("columns", wrong, advice=advice)]

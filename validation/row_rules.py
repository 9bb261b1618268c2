"""Rules for rows, as SQL predicates. One scan counts the breaches of all rules; reports show some offending rows."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import pandas as pd

from validation.expectations import Expected, total
from validation.suite_data import SAMPLE, SuiteData, quoted


class RowRule(NamedTuple):
    """A rule for rows, about `column` or all columns. A row breaks it if the SQL predicate `broken` is true."""

    name: str
    column: str | None
    broken: str
    advice: str


def judge_rows(
    data: SuiteData,
    rules: Sequence[RowRule],
    tables: Iterable[str],
    named: str,
    key: str | None = None,
    shown: str = "*",
) -> Iterator[Expected]:
    """Expect that no row breaks a rule.

    Args:
        tables: the tables, or SELECTs in parentheses, whose rows are judged. Each is scanned once, and again for the
            samples of broken rules.
        named: the judged table of counts, to which each rule adds a column with its number of offending rows.
        key: the column that the rows of that table count by, e.g. the date; None for a single row.
        shown: the columns of offending rows in reports.
    """
    if not rules:
        return
    counts = ", ".join(f"count(*) FILTER (WHERE {rule.broken})" for rule in rules)
    by_key = f"GROUP BY {key} ORDER BY {key}" if key else ""
    counted: list[tuple[Any, ...]] = []
    samples: dict[str, list[dict[str, Any]]] = {rule.name: [] for rule in rules}
    for table in tables:
        of_table = data.connection.execute(f"SELECT {key or 0}, {counts} FROM {table} {by_key}").fetchall()
        counted += of_table
        for number, rule in enumerate(rules, 1):
            missing = SAMPLE - len(samples[rule.name])
            if missing and any(row[number] for row in of_table):
                samples[rule.name] += data.rows(f"SELECT {shown} FROM {table} WHERE {rule.broken} LIMIT {missing}")
    index = pd.Index([row[0] for row in counted], name=key)
    columns = pd.DataFrame([row[1:] for row in counted], index=index, columns=[rule.name for rule in rules])
    for rule in rules:
        counted_by = columns.filter([rule.name])
        others = {"about": rule.column, "advice": rule.advice, "sample": samples[rule.name]}
        yield total(data, rule.name, named, counted_by, **others)


def finite(data: SuiteData, table: str, prefix: str = "") -> list[RowRule]:
    """Return a rule for each column of floating-point numbers."""
    advice = "a number is finite or null: write a missing one as null, correct an infinite one"
    numbers = [name for name, kind in data.columns(table).items() if kind in ("FLOAT", "DOUBLE")]
    return [RowRule(f"{prefix}{name}_finite", name, f"NOT isfinite({quoted(name)})", advice) for name in numbers]

"""Rules for rows, as SQL predicates. One scan counts the breaches of all rules; reports show some offending rows."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import pandas as pd
from great_expectations import expectations as gxe

from validation.expectations import Expected, expect
from validation.suite_data import SuiteData, quoted


class RowRule(NamedTuple):
    """A rule for rows, about `column` or all columns. A row breaks it if the SQL predicate `broken` is true."""

    name: str
    column: str | None
    broken: str
    advice: str


def keep(
    data: SuiteData, rules: Sequence[RowRule], table: str, named: str, key: str | None = None, shown: str = "*"
) -> Iterator[Expected]:
    """Expect that no row breaks a rule.

    Args:
        table: the table whose rows are judged.
        named: the judged table of counts, to which each rule adds a column with its number of offending rows.
        key: the column of `table` that the rows of that table count by, e.g. the date; None for a single row.
        shown: the columns of offending rows in reports.
    """
    if not rules:
        return
    counts = ", ".join(f"count(*) FILTER (WHERE {rule.broken})" for rule in rules)
    query = f"SELECT {key}, {counts} FROM {table} GROUP BY {key} ORDER BY {key}" if key else None
    counted = data.connection.execute(query or f"SELECT 0, {counts} FROM {table}").fetchall()
    index = pd.Index([row[0] for row in counted], name=key)
    found = pd.DataFrame([row[1:] for row in counted], index=index, columns=[rule.name for rule in rules])
    for rule in rules:
        yield expect(
            gxe.ExpectColumnSumToBeBetween,
            rule.name,
            named,
            found.filter([rule.name]),
            about=rule.column,
            advice=rule.advice,
            sample=data.sample(f"SELECT {shown} FROM {table} WHERE {rule.broken}"),
            column=rule.name,
            min_value=None,
            max_value=0,
        )


def finite(data: SuiteData, table: str, prefix: str = "") -> list[RowRule]:
    """Return a rule for each column of floating-point numbers."""
    advice = "a number is finite or null: write a missing one as null, correct an infinite one"
    numbers = [name for name, kind in data.columns(table).items() if kind in ("FLOAT", "DOUBLE")]
    return [RowRule(f"{prefix}{name}_finite", name, f"NOT isfinite({quoted(name)})", advice) for name in numbers]

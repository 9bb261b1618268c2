"""Check that declared columns hold what a field needs: several values, and lists that were split.

This takes one aggregate over each column of events and side tables that `featurize.fields` declares.
"""

from collections.abc import Iterator

from validation.checks import Check, none_of_warning
from validation.log import Log, quoted

_SEPARATORS = "|;,"
_MOSTLY = 0.5


def declared_values(log: Log) -> Iterator[Check]:
    """Expect each declared column to vary, and each column of lists to hold more than whole, unsplit texts."""
    constant: list[dict[str, object]] = []
    unsplit: list[dict[str, object]] = []
    for table in ("events", *(name for name in log.tables if name != "history")):
        for name, kind in log.columns(table).items():
            declared = log.fields.get(name)
            if declared is None:
                continue
            column = quoted(name)
            (distinct,) = log.one(f"SELECT count(DISTINCT {column}) FROM {table}")
            if distinct == 1:
                examples = log.rows(f"SELECT any_value({column}) AS value FROM {table}")
                constant.append({"table": table, "column": name, **examples[0]})
            if declared.form.ragged and kind == "VARCHAR[]" and _unsplit(log, table, column):
                examples = log.rows(f"SELECT {column}[1] AS value FROM {table} WHERE len({column}) > 0 LIMIT 1")
                unsplit.append({"table": table, "column": name, **examples[0]})
    yield none_of_warning(
        "constant_fields",
        constant,
        advice="a field with one value tells nothing: was the column filled in? If not, remove it from "
        "featurize.fields",
    )
    yield none_of_warning(
        "lists_split",
        unsplit,
        advice="lists of one text with a separator were not split: name the separator in fetch.table.separators",
    )


def _unsplit(log: Log, table: str, column: str) -> bool:
    """Return whether no list has two values, and most lists consist of one value that holds a separator."""
    longest, share = log.one(
        f"SELECT max(len({column})), avg(({column}[1] SIMILAR TO '.*[{_SEPARATORS}].*')::INT) FROM {table} "
        f"WHERE len({column}) > 0"
    )
    return longest == 1 and share > _MOSTLY

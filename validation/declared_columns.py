"""Check that declared columns are usable as fields: several values, lists that were split, vectors of one length.

The table `declared` has a row for each column of events and side tables that `featurize.fields` declares. A column
takes one aggregate, and a vector three more.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import pandas as pd

from din.kinds import Vector
from validation.detector_limits import MOSTLY_UNSPLIT, SEPARATORS
from validation.expectations import Expected, none_of
from validation.log import Log
from validation.suite_data import quoted

_NUMBERS = re.compile(r"(TINYINT|SMALLINT|INTEGER|BIGINT|FLOAT|DOUBLE)\[\]")
_NOT_FINITE = "x -> x IS NULL OR NOT isfinite(x)"


class _Column(NamedTuple):
    table: str
    name: str
    type: str

    def row(self, **values: Any) -> dict[str, Any]:
        """Return an offending row of the table `declared`."""
        return {"table": self.table, "column": self.name, **values}


def declared_values(log: Log) -> Iterator[Expected]:
    """Expect more than one value in each declared column, and lists that were split.

    `constant_fields` and `lists_split` are **warnings**.
    """
    declared = [column for column in _declared(log) if column.table != "history"]
    constant = []
    unsplit = []
    for column in declared:
        values = quoted(column.name)
        equal, value = log.one(f"SELECT min({values}) = max({values}), min({values}) FROM {column.table}")
        if equal:
            constant.append(column.row(value=value))
        if log.fields[column.name].form.ragged and column.type == "VARCHAR[]":
            longest, share, value = log.one(
                f"SELECT max(len({values})), avg(({values}[1] SIMILAR TO '.*[{SEPARATORS}].*')::INT), "
                f"min({values}[1]) FROM {column.table} WHERE len({values}) > 0"
            )
            if longest == 1 and share > MOSTLY_UNSPLIT:
                unsplit.append(column.row(value=value))
    advice = "a field with one value tells nothing: was the column filled in? If not, remove it from featurize.fields"
    yield _none_of(log, declared, "constant_fields", constant, advice)
    advice = "lists of one text with a separator were not split: name the separator in fetch.table.separators"
    yield _none_of(log, declared, "lists_split", unsplit, advice)


def vectors(log: Log) -> Iterator[Expected]:
    """Expect vectors of finite numbers, with one length per column, that don't repeat a single number.

    A missing vector is null or an empty list. A log without declared vectors has no such expectation.

    * `vectors_of_numbers`, `vectors_of_one_length`: a `vector` column holds something other than finite numbers; its
      vectors have two lengths.
    * `flat_vectors`: a **warning**: vectors of zeros, or of one number repeated; a missing vector is null.
    """
    declared = [column for column in _declared(log) if isinstance(log.fields[column.name].form, Vector)]
    if not declared:
        return
    broken = [column.row(type=column.type) for column in declared if not _NUMBERS.fullmatch(column.type)]
    lengths = []
    flat = []
    for column in declared:
        if not _NUMBERS.fullmatch(column.type):
            continue
        vector = f"({quoted(column.name)}::DOUBLE[])"
        rows = f"FROM {column.table} WHERE len({vector}) > 0"
        repeats = f"list_min({vector}) = list_max({vector}) AND (len({vector}) > 1 OR {vector}[1] = 0)"
        sizes = log.rows(f"SELECT len({vector}) AS length, count(*) AS rows {rows} GROUP BY ALL ORDER BY length")
        broken += _examples(log, column, f"{rows} AND list_bool_or(list_transform({vector}, {_NOT_FINITE}))")
        lengths += [column.row(**size) for size in sizes if len(sizes) > 1]
        flat += _examples(log, column, f"{rows} AND {repeats}")
    advice = "a vector is a list of finite numbers: is the column the right one, and split (fetch.table.separators)? "
    yield _none_of(log, declared, "vectors_of_numbers", broken, f"{advice}Write a missing vector as null")
    advice = "all vectors of a column have one length: were two versions of the embedding mixed, or lists cut off?"
    yield _none_of(log, declared, "vectors_of_one_length", lengths, advice)
    advice = "vectors of zeros, or of one number repeated, tell nothing: write a missing vector as null"
    yield _none_of(log, declared, "flat_vectors", flat, advice)


def _declared(log: Log) -> list[_Column]:
    tables = ("events", *log.sides)
    columns = [_Column(table, name, kind) for table in tables for name, kind in log.columns(table).items()]
    return [column for column in columns if column.name in log.fields]


def _none_of(
    log: Log, declared: Sequence[_Column], name: str, offenders: list[dict[str, Any]], advice: str
) -> Expected:
    key = pd.MultiIndex.from_tuples([(column.table, column.name) for column in declared], names=["table", "column"])
    return none_of(log, name, "declared", key, offenders, advice=advice)


def _examples(log: Log, column: _Column, rows: str) -> list[dict[str, Any]]:
    return [column.row(**row) for row in log.sample(f"SELECT {quoted(column.name)} AS vector {rows}")()]

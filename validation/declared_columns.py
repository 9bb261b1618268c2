"""Check that declared columns are usable as fields: several values, lists that were split, vectors of one length.

Each column of events and side tables that `featurize.fields` declares takes one aggregate, and a vector three more.
"""

import re
from collections.abc import Iterator

from din.kinds import Vector
from validation.constants import MOSTLY_UNSPLIT, SEPARATORS
from validation.expectations import Expected, none_of
from validation.log import Log
from validation.suite_data import quoted

_NUMBERS = re.compile(r"(TINYINT|SMALLINT|INTEGER|BIGINT|FLOAT|DOUBLE)\[\]")
_NOT_FINITE = "x -> x IS NULL OR NOT isfinite(x)"


def declared_values(log: Log) -> Iterator[Expected]:
    """Expect more than one value in each declared column, and lists that were split.

    `constant_fields` and `lists_split` are **warnings**.
    """
    constant: list[dict[str, object]] = []
    unsplit: list[dict[str, object]] = []
    for table in ("events", *(name for name in log.sides if name != "history")):
        for name, kind in log.columns(table).items():
            declared = log.fields.get(name)
            if declared is None:
                continue
            column = quoted(name)
            equal, value = log.one(f"SELECT min({column}) = max({column}), min({column}) FROM {table}")
            if equal:
                constant.append({"table": table, "column": name, "value": value})
            if declared.form.ragged and kind == "VARCHAR[]":
                longest, share, value = log.one(
                    f"SELECT max(len({column})), avg(({column}[1] SIMILAR TO '.*[{SEPARATORS}].*')::INT), "
                    f"min({column}[1]) FROM {table} WHERE len({column}) > 0"
                )
                if longest == 1 and share > MOSTLY_UNSPLIT:
                    unsplit.append({"table": table, "column": name, "value": value})
    yield none_of(
        "constant_fields",
        constant,
        severity="warning",
        advice="a field with one value tells nothing: was the column filled in? If not, remove it from "
        "featurize.fields",
    )
    yield none_of(
        "lists_split",
        unsplit,
        severity="warning",
        advice="lists of one text with a separator were not split: name the separator in fetch.table.separators",
    )


def vectors(log: Log) -> Iterator[Expected]:
    """Expect vectors of finite numbers, with one length per column, that don't repeat a single number.

    A missing vector is null or an empty list. A log without declared vectors has no such expectation.

    * `vectors_of_numbers`, `vectors_of_one_length`: a `vector` column holds something other than finite numbers; its
      vectors have two lengths.
    * `flat_vectors`: a **warning**: vectors of zeros, or of one number repeated; a missing vector is null.
    """
    declared = [
        (table, name, kind)
        for table in ("events", *log.sides)
        for name, kind in log.columns(table).items()
        if name in log.fields and isinstance(log.fields[name].form, Vector)
    ]
    if not declared:
        return
    broken: list[dict[str, object]] = []
    lengths: list[dict[str, object]] = []
    flat: list[dict[str, object]] = []
    for table, name, kind in declared:
        found: dict[str, object] = {"table": table, "column": name}
        if not _NUMBERS.fullmatch(kind):
            broken.append({**found, "type": kind})
            continue
        vector = f"({quoted(name)}::DOUBLE[])"
        given = f"FROM {table} WHERE len({quoted(name)}) > 0"
        number = f"{quoted(name)} AS vector {given}"
        broken += _examples(log, found, f"{number} AND list_bool_or(list_transform({vector}, {_NOT_FINITE}))")
        sizes = log.rows(f"SELECT len({quoted(name)}) AS length, count(*) AS rows {given} GROUP BY ALL ORDER BY length")
        lengths += [{**found, **size} for size in sizes if len(sizes) > 1]
        repeated = f"list_min({vector}) = list_max({vector}) AND (len({vector}) > 1 OR {vector}[1] = 0)"
        flat += _examples(log, found, f"{number} AND {repeated}")
    yield none_of(
        "vectors_of_numbers",
        broken,
        advice="a vector is a list of finite numbers: is the column the right one, and split (fetch.table.separators)? "
        "Write a missing vector as null",
    )
    yield none_of(
        "vectors_of_one_length",
        lengths,
        advice="all vectors of a column have one length: were two versions of the embedding mixed, or lists cut off?",
    )
    yield none_of(
        "flat_vectors",
        flat,
        severity="warning",
        advice="vectors of zeros, or of one number repeated, tell nothing: write a missing vector as null",
    )


def _examples(log: Log, found: dict[str, object], query: str) -> list[dict[str, object]]:
    return [{**found, **row} for row in log.sample(f"SELECT {query}")()]

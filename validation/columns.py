"""Compare the content of each column with the days before: missing values, new values, and the distribution.

Every event column is judged. For each side table, the missing values and unmatched ids are judged by day of the events.
Only a column that the model reads can close the gate, and only on the newest days of a temporal split.

A value is new if no earlier day had it, or for the newest days, if no day before the newest had it. A column whose
values change by nature, e.g. a session's id or the number of the week, had days of new values before and raises no
alarm. Numbers are not judged for new values. Their distribution is compared by order of magnitude, in three bins per
decade. All other values, and lists as wholes, are compared in 64 bins of a hash. Each column takes two GROUP BYs of
the events.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from din.schema import EVENT_COLUMNS, ITEM_ID, USER_ID, Field
from validation.checks import Check
from validation.log import SIDE_IDS, Log, quoted
from validation.strange import Judged, by_day
from validation.totals import Totals
from validation.trailing import deviation, profiles

_IDS = (USER_ID, ITEM_ID)
_FLOATS = ("FLOAT", "DOUBLE")
_FEW_USERS = 30
_SCORE = 6.0
_EXTREME_SCORE = 8.0
_MISSING = 0.1  # the share of rows by which missing values exceed the usual share
_EXTREME_MISSING = 0.3
_MISSING_FLOOR = 0.005
_NEW = 0.5  # the share of rows with a new value, if earlier days had at most half of it
_EXTREME_NEW = 0.8
_KNOWN_DAYS = 2.0  # a value counts as new only after this number of usual days
_OTHER = 0.5  # the share of rows with other values
_SCALED = 5  # the number of bins, each a third of a decade, by which the median moved
_DECADES = 12
_BINS_A_DECADE = 3
_HASHES = 64
_MIDDLE = _DECADES * _BINS_A_DECADE * 2 + 1  # the bin of zero


@dataclass(frozen=True)
class Column:
    """A column of the events.

    Attributes:
        name: its name.
        numeric: whether its values have magnitudes.
        read: whether the model reads it.
    """

    name: str
    numeric: bool
    read: bool


def by_columns(log: Log, users: Totals) -> Iterator[Check]:
    """Compare missing values, new values and values of each event column with the days before."""
    columns = _columns(log)
    trusted = log.calendar.usual(users.ids) >= _FEW_USERS
    contents = {column: _content(log, column) for column in [*columns, *(Column(name, False, True) for name in _IDS)]}
    yield from by_day(
        log,
        "missing_values",
        [_missing(log, column.name, c.missing / c.rows, users, trusted, column.read) for column, c in contents.items()],
        advice="these days lack values that the days before had: was a column renamed, or a join lost? The model would "
        "be judged without them; correct the source, or remove the column from featurize.fields",
    )
    yield from by_day(
        log,
        "new_values",
        [_new(log, column, c, trusted) for column, c in contents.items() if not column.numeric],
        advice="these days hold values that no earlier day had, so the model knows none of them: has the id space, the "
        "spelling or the version of the source changed?",
    )
    yield from by_day(
        log,
        "other_values",
        [_other(log, column, users, trusted) for column in columns],
        advice="these days hold other values than the days before, or hold them in other shares: has the unit changed, "
        "or was the column filled in or swapped?",
    )


def by_side_tables(log: Log, users: Totals) -> Iterator[Check]:
    """Compare, by day, the events whose id a side table lacks, and the missing side fields of the others."""
    trusted = log.calendar.usual(users.ids) >= _FEW_USERS
    for table in ("items", "users"):
        if table not in log.tables:
            continue
        (key,) = SIDE_IDS[table]
        fields = [name for name in log.columns(table) if name != key]
        missing = [f"sum(n) FILTER (found AND c{i} IS NULL) AS m{i}" for i in range(len(fields))]
        renamed = [f"{_text(name)} AS c{i}" for i, name in enumerate(fields)]  # a field may be called date, n or found
        found = log.arrays(
            f"SELECT date, sum(n) AS rows, sum(n) FILTER (found) AS known, {', '.join(missing) or '0 AS none'} "
            f"FROM (SELECT date, {key}, count(*) AS n FROM events GROUP BY ALL) "
            f"LEFT JOIN (SELECT {', '.join([key, *renamed])}, true AS found FROM {table}) USING ({key}) "
            "GROUP BY date ORDER BY date"
        )
        rows, known = found["rows"].astype(float), np.nan_to_num(found["known"].astype(float))
        yield from by_day(
            log,
            f"unknown_{table}",
            [_missing(log, key, 1 - known / rows, users, trusted, True)],
            column=key,
            advice=f"on these days far more events have a {key} that is not in the table of {table}: do the ids have "
            "another form or meaning, or is the table old?",
        )
        yield from by_day(
            log,
            f"missing_values_of_{table}",
            [
                _missing(
                    log,
                    name,
                    np.nan_to_num(found[f"m{i}"].astype(float)) / np.maximum(known, 1),
                    users,
                    trusted,
                    name in log.fields,
                )
                for i, name in enumerate(fields)
            ],
            advice=f"the {table} of these days lack fields that the {table} of earlier days have: complete the table",
        )


@dataclass(frozen=True)
class Content:
    """The content of a column by day, [D] each.

    Attributes:
        rows: rows of the day.
        missing: rows without a value.
        new: rows with a new value.
        before: rows of all earlier days.
    """

    rows: np.ndarray
    missing: np.ndarray
    new: np.ndarray
    before: np.ndarray


def _columns(log: Log) -> list[Column]:
    found = log.columns("events")
    return [
        Column(
            name,
            numeric=_is_number(log.fields[name]) if name in log.fields else kind in _FLOATS,
            read=name in log.fields,
        )
        for name, kind in found.items()
        if name not in (*EVENT_COLUMNS, "date")
    ]


def _is_number(field: Field) -> bool:
    return field.form.scalar and not field.form.has_vocabulary


def _text(name: str) -> str:
    """Return SQL for a value as text, with null for a missing value, empty text, and an empty list."""
    return f"nullif(nullif({quoted(name)}::VARCHAR, ''), '[]')"


def _content(log: Log, column: Column) -> Content:
    newest = log.calendar.newest
    first = f"least(date, '{log.calendar.days[newest]}')" if newest < len(log.calendar.days) else "date"
    found = log.arrays(
        f"""
        WITH counted AS (
            SELECT date, {_text(column.name)} AS value, count(*) AS n FROM events GROUP BY ALL
        ), dated AS (
            SELECT *, min(date) OVER (PARTITION BY value) AS since FROM counted
        )
        SELECT date, sum(n) AS rows, sum(n) FILTER (value IS NULL) AS missing,
            sum(n) FILTER (value IS NOT NULL AND since >= {first}) AS new
        FROM dated GROUP BY date ORDER BY date
        """
    )
    rows, missing, new = (np.nan_to_num(found[name].astype(float)) for name in ("rows", "missing", "new"))
    before = np.cumsum(rows) - rows
    return Content(rows, missing, new, np.minimum(before, before[newest] if newest < len(rows) else np.inf))


def _missing(log: Log, name: str, share: np.ndarray, users: Totals, trusted: np.ndarray, read: bool) -> Judged:
    usual = log.calendar.usual(share)
    likely = (usual * users.independent + 0.5) / (users.independent + 1)
    noise = np.sqrt(likely * (1 - likely) / users.independent)
    found = deviation(log.calendar, share, noise, _MISSING_FLOOR)
    more = found.difference > 0
    return Judged(
        judged=trusted,
        strange=more & found.beyond(_MISSING, _SCORE),
        extreme=read & more & found.beyond(_EXTREME_MISSING, _EXTREME_SCORE),
        evidence=lambda row: {
            "column": name,
            "missing": round(float(share[row]), 3),
            "usual": round(float(found.usual[row]), 3),
        },
    )


def _new(log: Log, column: Column, content: Content, trusted: np.ndarray) -> Judged:
    known = content.before >= _KNOWN_DAYS * log.calendar.usual(content.rows)
    share = content.new / np.maximum(content.rows - content.missing, 1)
    highest = log.calendar.highest(log.calendar.of_reference(np.where(known, share, np.nan)), 1.0)
    with np.errstate(invalid="ignore"):
        judged = trusted & known & ~np.isnan(highest)
        strange = (share >= _NEW) & (highest <= _NEW / 2)
        extreme = (share >= _EXTREME_NEW) & (highest <= _EXTREME_NEW / 2)

    def evidence(row: int) -> dict[str, object]:
        day = log.calendar.days[row]
        value = log.one(f"SELECT max({_text(column.name)}) FROM events WHERE date = '{day}'")[0]
        return {"column": column.name, "new": round(float(share[row]), 3), "usual": round(float(highest[row]), 3)} | {
            "such_as": value
        }

    return Judged(judged=judged, strange=strange, extreme=column.read & extreme, evidence=evidence)


def _other(log: Log, column: Column, users: Totals, trusted: np.ndarray) -> Judged:
    counts = _counts(log, column)
    compared = profiles(log.calendar, counts, users.independent)
    strange = compared.beyond(_OTHER)
    bins = _median_bin(counts) - _median_bin(compared.usual)
    return Judged(
        judged=trusted,
        strange=strange,
        extreme=strange & column.read & column.numeric & (np.abs(bins) >= _SCALED),
        evidence=lambda row: (
            {"column": column.name, "rows_with_other_values": round(float(compared.distance[row]), 2)}
            | ({"median_times_about": f"1e{bins[row] / _BINS_A_DECADE:+.1f}"} if column.numeric and bins[row] else {})
        ),
    )


def _counts(log: Log, column: Column) -> np.ndarray:
    """Count the rows of each day by bin: [D, K]."""
    if column.numeric:
        x = f"TRY_CAST({quoted(column.name)} AS DOUBLE)"
        limit = _DECADES * _BINS_A_DECADE
        size = f"greatest(1, least({2 * limit + 1}, {limit + 1} + floor({_BINS_A_DECADE} * log10(abs({x})))))"
        number = f"CASE WHEN {x} = 0 THEN {_MIDDLE} ELSE {_MIDDLE} + sign({x}) * {size} END"
        bins = 2 * _MIDDLE + 1
    else:
        number = f"hash({_text(column.name)}) % {_HASHES}"
        bins = _HASHES
    found = log.arrays(
        f"SELECT date::DATE AS day, ({number})::INTEGER AS bin, count(*) AS n FROM events "
        f"WHERE {_text(column.name)} IS NOT NULL GROUP BY ALL HAVING bin IS NOT NULL"
    )
    counts = np.zeros((len(log.calendar.days), bins))
    rows = np.searchsorted(log.calendar.days, found["day"].astype("datetime64[D]"))
    np.add.at(counts, (rows, found["bin"].astype(int)), found["n"].astype(float))
    return counts


def _median_bin(counts: np.ndarray) -> np.ndarray:
    """Return the bin that holds the median row of each day: [D]."""
    total = counts.sum(axis=1, keepdims=True)
    return (counts.cumsum(axis=1) >= total / 2).argmax(axis=1)

"""Figures that need no clicks: what clients sent and what the model answered, day by day.

A day is the 24 hours before a time of day. So the newest day is whole at any moment, and all days have the same hours.
Of a large log some users are read, drawn by a hash of their ids.

Figures such as `context.tab` are the distribution of what requests hold, missing values included. Figures such as
`unknown context.tab` are the share of values that are missing, or that the answering bundle does not know.
"""

import math
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import ArrayLike, NDArray

from din.base import documents
from din.base.errors import InputError, shown
from din.base.names import FileName, Version
from din.bundle.contents import SIGNATURE
from din.bundle.graph_inputs import Signature
from din.data.rows import quoted
from din.kinds import text
from din.release.registry.registry import Registry
from din.schema import ITEM_ID, TIMESTAMP, USER_ID, parse_field
from din_loop import served_log
from din_loop.served import parsed, reading
from din_loop.watch.spread import Figure, Worse, binned, ratio, usual_days

DAYS = 28
"""The days before the newest one."""
DAY = timedelta(days=1)
_GROUPS = ("user", "context", "history", "candidates")
_MISSING = "missing"
_MOST_ENTRIES = 20
"""The last behaviours and the last candidates of a request whose values are compared."""
_LONGEST_LIST = 24
"""The most values of a list that are compared. A longer one, e.g. an embedding, is only present or missing."""
_LONG = "a long list"
_MOST_NUMBERS = 100
"""Numbers with more distinct values than this are compared in bins."""
_TOO_LARGE = 1e300
"""Larger numbers are compared as text, since their differences may be infinite."""
_BATCH = 1_000
"""Rows that are parsed at once."""
_PERSON = "coalesce(nullif(user_id, ''), request_id)"
"""SQL for the user of a row of the log. A request without a user counts as a user of its own."""

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Day:
    """The requests of 24 hours.

    Attributes:
        day: the date on which they end.
        answered: the number of all requests.
        busiest: the share of the user with the most of them; NaN without requests.
        share: the share of the users that was drawn; it is the same on all days.
        rows: the drawn rows of the log, with `request` parsed and its lists shortened, and with the length of its
            `history`.
        users: the user of each drawn row, counted from 0.
    """

    day: date
    answered: int
    busiest: float
    share: float
    rows: Sequence[Row]
    users: NDArray[np.int64]

    @property
    def user_count(self) -> int:
        """The number of distinct users among the drawn rows."""
        return len(np.unique(self.users))


@dataclass(frozen=True)
class Values:
    """The values in one place of a day's requests, e.g. in `context.tab`.

    Attributes:
        values: as text, None where one is missing [N].
        numbers: whether all of them are numbers.
        rows: the position of each value's request among the day's rows [N].
    """

    values: Sequence[str | None]
    numbers: bool
    rows: NDArray[np.int64]


def read(log: Path, end: datetime, most: int) -> list[Day]:
    """Return the days until a time (UTC), oldest first, with about `most` drawn requests on a usual one.

    Raises:
        InputError: the log holds no answer of these days, or is damaged.
    """
    start = end - (DAYS + 1) * DAY
    files = served_log.files(log, start.date(), end.date())
    with reading(log), duckdb.connect() as con:
        counts = _view(con, files, start) if files else []
        if not counts:
            advice = "expected the folder of `din serve --log`: name it, or an earlier day with --until"
            if served_log.files(log, end.date()):
                advice = "there are newer ones: run it again after the next full hour, or name a later day with --until"
            raise InputError(f"{log}: no answers from {start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC; {advice}")
        share = min(1.0, most / float(np.median([answered for _, answered, _ in counts])))
        result = con.execute(
            f"SELECT DISTINCT ON (day, request_id) * FROM answers WHERE {drawn(share)} ORDER BY day, request_id"
        )
        rows = [_shortened(parsed(row, log)) for batch in result.to_arrow_reader(_BATCH) for row in batch.to_pylist()]
    by_day = {number: list(group) for number, group in groupby(rows, itemgetter("day"))}
    answered = {number: (count, busiest) for number, count, busiest in counts}
    days = []
    for number in range(DAYS + 1):
        rows_of_day = by_day.get(number, [])
        users = np.unique(np.array([row["person"] for row in rows_of_day], str), return_inverse=True)[1]
        day = (start + (number + 1) * DAY - timedelta(microseconds=1)).date()
        days.append(Day(day, *answered.get(number, (0, math.nan)), share, rows_of_day, users))
    return days


def drawn(share: float) -> str:
    """Return the SQL condition of the rows of a log that belong to a share of the users, drawn by a hash."""
    return f"left(md5({_PERSON}), 8) <= '{int(share * (2**32 - 1)):08x}'"


def figures(days: Sequence[Day], alarms: Collection[tuple[date, str]], registry: Registry) -> dict[str, Figure]:
    """Return the figures by name.

    Args:
        alarms: the days and figures that alarmed before.

    Raises:
        InputError: a bundle in the registry is damaged.
        Unavailable: the registry doesn't answer.
    """
    users = [day.user_count for day in days]
    places = _places(days)

    def usual(name: str) -> NDArray[np.bool_]:
        return usual_days([day.day for day in days], name, alarms)

    def level(
        name: str, parts: Callable[[Day], tuple[ArrayLike, ArrayLike, NDArray[np.int64]]], worse: Worse = "either"
    ) -> Figure:
        means = np.array([ratio(*parts(day)) for day in days])
        return Figure.level(means[:, 0], means[:, 1], users[-1], worse, usual=usual(name))

    first = next(number for number, day in enumerate(days) if day.answered)  # of the log, perhaps not a whole day
    answered = [math.log(max(day.answered, 0.5)) if number > first else math.nan for number, day in enumerate(days)]
    one_user = 1 / np.sqrt(np.maximum(users, 1))
    typical = np.full(len(days), np.median(one_user))
    busiest = "share of the busiest user"
    figures_by_name = {
        "requests": Figure.level(answered, typical, max(users), is_log=True, usual=usual("requests")),
        busiest: Figure.level(
            np.log([day.busiest for day in days]),
            one_user,
            users[-1],
            worse="higher",
            is_log=True,
            usual=usual(busiest),
        ),
        "candidates": level("candidates", lambda day: (_lengths(day), np.ones(len(day.rows)), day.users)),
        "history": level(
            "history", lambda day: ([row["history"] for row in day.rows], np.ones(len(day.rows)), day.users)
        ),
        "prediction": level(
            "prediction", lambda day: ([sum(row["probabilities"]) for row in day.rows], _lengths(day), day.users)
        ),
    }
    distributions = {
        "hour": [Counter(str(row["answered_at"].hour) for row in day.rows) for day in days],
        "scores": binned([[score for row in day.rows for score in row["probabilities"]] for day in days]),
        "length of history": binned([[row["history"] for row in day.rows] for day in days]),
        "age of history": binned([[*_ages(day)] for day in days]),
        "clock": binned([[*_clocks(day)] for day in days]),
    } | {place: _counted(place, values) for place, values in places.items()}
    for name, counts in distributions.items():
        figures_by_name[name] = Figure.distribution(counts, users, usual(name))
    for place, unknown in _unknown(days, places, registry).items():
        name = f"unknown {place}"
        figures_by_name[name] = Figure.level(unknown[:, 0], unknown[:, 1], users[-1], "higher", usual=usual(name))
    return figures_by_name


def version_of(days: Sequence[Day]) -> Version | None:
    """Return the bundle that gave the newest answer, or None if the newest day has no answer."""
    newest = max(days[-1].rows, key=itemgetter("answered_at"), default=None)
    return newest["version"] if newest else None


def _view(con: duckdb.DuckDBPyConnection, files: Sequence[Path], start: datetime) -> list[tuple[int, int, float]]:
    """Make the view `answers`, and return the day, the requests, and the share of the busiest user of each day."""
    paths = ", ".join(quoted(str(path)) for path in files)
    con.execute(
        f"""CREATE VIEW answers AS SELECT *,
            CAST(floor(epoch(answered_at - TIMESTAMP '{start:%Y-%m-%d %H:%M:%S}') / 86400) AS INTEGER) AS day,
            {_PERSON} AS person
        FROM read_parquet([{paths}], hive_partitioning = false)
        WHERE len(items) > 0 AND day BETWEEN 0 AND {DAYS}"""
    )
    return con.execute(
        """SELECT day, CAST(sum(requests) AS BIGINT), max(requests) / sum(requests) FROM (
            SELECT day, person, count(DISTINCT request_id) AS requests FROM answers GROUP BY day, person
        ) GROUP BY day ORDER BY day"""
    ).fetchall()


def _shortened(row: dict[str, Any]) -> Row:
    """Keep the last entries of the lists of a row's request, and the lengths of its history and of its items."""
    request = row["request"]
    entries = {group: _entries(request.get(group), group in ("history", "candidates")) for group in _GROUPS}
    lengths = {"history": len(request.get("history") or []), "items": len(row["items"])}
    return row | {"request": request | entries} | lengths


def _entries(value: Any, listed: bool) -> list[Row]:
    """Return the last behaviours or candidates of a request, or its user or context alone, as objects.

    The server checks only what the model reads, so each value is made one that can be compared.
    """
    several = (value or [])[-_MOST_ENTRIES:] if listed else [value or {}]
    entries = [entry if isinstance(entry, dict) else {ITEM_ID: entry} for entry in several]
    return [{name: _compared(value) for name, value in entry.items()} for entry in entries]


def _compared(value: Any) -> Any:
    """Return a plain value, or a list of plain ones if it is not long."""
    if not isinstance(value, list):
        return _plain(value)
    return [*map(_plain, value)] if len(value) <= _LONGEST_LIST else _LONG


def _plain(value: Any) -> str | float | None:
    """Return text, a number or None as it is, and anything else, e.g. True or an integer of 400 digits, as text."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _TOO_LARGE
    return value if value is None or isinstance(value, str) or is_number else shown(value)


def _lengths(day: Day) -> list[int]:
    return [row["items"] for row in day.rows]


def _ages(day: Day) -> Iterator[float]:
    """Yield how long before the answer the last behaviour of each history was, in seconds."""
    for row in day.rows:
        for entry in row["request"]["history"][-1:]:
            if isinstance(time := entry.get(TIMESTAMP), int | float):
                yield row["answered_at"].replace(tzinfo=UTC).timestamp() - time


def _clocks(day: Day) -> Iterator[float]:
    """Yield how far the time of each request is ahead of the server's, in seconds."""
    for row in day.rows:
        if (time := row["request"].get("time")) is not None:
            yield time - row["answered_at"].replace(tzinfo=UTC).timestamp()


def _places(days: Sequence[Day]) -> dict[str, list[Values]]:
    """Return the values of each key in each group of entries, by a name such as `context.tab`."""
    places = {}
    for group in _GROUPS:
        names = {name for day in days for row in day.rows for entry in row["request"][group] for name in entry}
        for name in sorted(names - {TIMESTAMP}):
            places[f"{group}.{name}"] = [_values(day, group, name) for day in days]
    return places


def _values(day: Day, group: str, name: str) -> Values:
    values: list[Any] = []
    rows: list[int] = []
    for at, row in enumerate(day.rows):
        for entry in row["request"][group]:
            value = entry.get(name)
            several = (value or [None]) if isinstance(value, list) else [value]  # an empty list is a missing value
            values += several
            rows += [at] * len(several)
    numbers = all(value is None or isinstance(value, int | float) for value in values)
    return Values([*map(text, values)], numbers, np.array(rows, np.int64))


def _counted(place: str, days: Sequence[Values]) -> list[Counter[str]]:
    """Return how often each value occurs on each day. Numbers with many values are counted in bins."""
    distinct = {value for day in days for value in day.values}
    is_id = _name(place) in (USER_ID, ITEM_ID)
    if is_id or len(distinct) <= _MOST_NUMBERS or not all(day.numbers for day in days):
        return [Counter(value or _MISSING for value in day.values) for day in days]
    numbers = binned([[float(value) for value in day.values if value is not None] for day in days])
    for counts, day in zip(numbers, days, strict=True):
        counts[_MISSING] = sum(value is None for value in day.values)
    return numbers


def _unknown(
    days: Sequence[Day], places: Mapping[str, Sequence[Values]], registry: Registry
) -> dict[str, NDArray[np.float64]]:
    """Return for each place with a vocabulary the share of values that the answering bundle does not know.

    Returns:
        The share and its standard error of each day, [D, 2].
    """
    sent: dict[str, set[str | None]] = {}
    for place, values in places.items():
        sent.setdefault(_name(place), set()).update(value for day in values for value in day.values)
    versions = {row["version"] for day in days for row in day.rows} & {*registry.versions()}
    known_values = {version: _known_values(registry, version, sent) for version in sorted(versions)}
    shares_by_place = {}
    for place, values in places.items():
        shares = np.full((len(days), 2), np.nan)
        for at, (day, values_of_day) in enumerate(zip(days, values, strict=True)):
            vocabularies = [known_values.get(row["version"], {}).get(_name(place)) for row in day.rows]
            verdicts = [
                (row, value not in vocabulary)
                for row, value in zip(values_of_day.rows.tolist(), values_of_day.values, strict=True)
                if (vocabulary := vocabularies[row]) is not None and value != _LONG
            ]
            rows = np.array([row for row, _ in verdicts], np.int64)
            shares[at] = ratio([unknown for _, unknown in verdicts], np.ones(len(verdicts)), day.users[rows])
        if np.isfinite(shares).any():
            shares_by_place[place] = shares
    return shares_by_place


def _name(place: str) -> str:
    """Return the name of the field of a place such as `context.tab`."""
    return place.partition(".")[2]


def _known_values(
    registry: Registry, version: Version, sent: Mapping[str, set[str | None]]
) -> dict[str, set[str | None]]:
    """Return for each field with a vocabulary which of the sent values, as text, a bundle knows."""
    files = registry.files(version)

    def content(file: str) -> bytes:
        return registry.verified(f"bundles/{version}/{file}", files.get(FileName(file)), most=sys.maxsize)

    signature = documents.parse(Signature, content(SIGNATURE), registry.objects.at(f"bundles/{version}/{SIGNATURE}"))
    known_values = {}
    for field in map(parse_field, signature.fields):
        if field.form.has_vocabulary and field.name in sent:
            rows = pq.read_table(pa.BufferReader(content(f"vocab/{field.name}.parquet")), columns=["value"])
            values = map(text, rows["value"].to_pylist())
            known_values[field.name] = sent[field.name].intersection(values) - {None}  # row 0 holds missing ones
    return known_values

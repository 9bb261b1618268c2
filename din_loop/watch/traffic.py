"""Figures that need no clicks: what clients sent and what the model answered, day by day.

A day is the 24 hours before a time of day. So the newest day is whole at any moment, and all days have the same hours.
Of a large log some users are read, drawn by a hash of their ids.

Figures such as `context.tab` are the distribution of what requests hold, missing values included. Figures such as
`unknown context.tab` are the share of values that are missing, or that the answering bundle does not know.
"""

import math
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from itertools import groupby, pairwise
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
from din.schema import ITEM_ID, TIMESTAMP, USER_ID, Group, parse_field
from din_loop import served_log
from din_loop.served_answers import parsed, reading
from din_loop.watch.alarms import EMPTY, REPEATED, UNKNOWN, may_name
from din_loop.watch.significance import Figure, Worse, binned, ratio, usual_days

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

    pairs = [*pairwise([replace(days[0], rows=[]), *days])]
    repeats = {day.day: _repeats(day, before) for before, day in pairs}
    broken = {day.day: _broken(day, before) for before, day in pairs}
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
        REPEATED: level(REPEATED, lambda day: (repeats[day.day], np.ones(len(day.rows)), day.users), "higher"),
        "broken histories": level("broken histories", lambda day: (*broken[day.day], day.users), "higher"),
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
    known = _known(days, places, registry)
    for name, shares in (_unknown(days, places, known) | _empty(days, known)).items():
        figures_by_name[name] = Figure.level(shares[:, 0], shares[:, 1], users[-1], "higher", usual=usual(name))
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


def _repeats(day: Day, before: Day) -> list[bool]:
    """Return for each request whether another one of the day, or of the day before, has the same scores."""
    scores = [tuple(row["probabilities"]) for row in day.rows]
    times = Counter(scores)
    times.update({tuple(row["probabilities"]) for row in before.rows})
    return [times[score] > 1 for score in scores]


def _broken(day: Day, before: Day) -> tuple[list[bool], list[bool]]:
    """Return for each request whether its history lacks the newest behaviour that the user's earlier requests had.

    Return too whether there is an earlier one, of that day or the day before.
    """
    newest: dict[str, tuple[str, str]] = {}
    is_broken = [False] * len(day.rows)
    has_earlier = [False] * len(day.rows)
    moments = [(row["answered_at"], row["request_id"], at) for at, row in enumerate(day.rows)]
    rows = [(row, None) for row in sorted(before.rows, key=itemgetter("answered_at"))]
    for row, at in [*rows, *((day.rows[at], at) for _, _, at in sorted(moments))]:
        behaviours = [(_item(entry), str(entry.get(TIMESTAMP))) for entry in row["request"]["history"]]
        earlier = newest.get(row["person"])
        if at is not None and earlier:
            has_earlier[at] = True
            is_broken[at] = earlier not in behaviours
        if behaviours:
            newest[row["person"]] = behaviours[-1]
    return is_broken, has_earlier


def _item(entry: Row) -> str:
    """Return the item of a behaviour or a candidate as text, whatever a client sent."""
    value = entry.get(ITEM_ID)
    return text(value) or "" if value is None or isinstance(value, str | int | float) else str(value)


def hours_of_several_versions(day: Day) -> int:
    """Return in how many hours of the day more than one bundle answered."""
    answered = {(row["answered_at"].hour, row["version"]) for row in day.rows}
    return sum(count > 1 for count in Counter(hour for hour, _ in answered).values())


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
        for name in sorted(filter(may_name, names - {TIMESTAMP})):
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


@dataclass(frozen=True)
class _Known:
    """The values, as text, that were sent and that a bundle knows.

    Attributes:
        values: of each field with a vocabulary.
        items: that are in its table, so that their fields need not be sent.
        item_fields: the fields of items that the model reads.
    """

    values: Mapping[str, Set[str | None]]
    items: Set[str | None]
    item_fields: Sequence[str]


def _known(days: Sequence[Day], places: Mapping[str, Sequence[Values]], registry: Registry) -> dict[str, _Known]:
    """Return what each bundle that answered knows, by its version."""
    sent: dict[str, set[str | None]] = {}
    for place, values in places.items():
        sent.setdefault(_name(place), set()).update(value for day in values for value in day.values)
    versions = {row["version"] for day in days for row in day.rows} & {*registry.versions()}
    return {version: _known_of(registry, version, sent) for version in sorted(versions)}


def _unknown(
    days: Sequence[Day], places: Mapping[str, Sequence[Values]], known: Mapping[str, _Known]
) -> dict[str, NDArray[np.float64]]:
    """Return for each place with a vocabulary the share of values that the answering bundle does not know.

    Returns:
        The share and its standard error of each day, [D, 2], by the name of the figure.
    """
    vocabularies = {version: bundle.values for version, bundle in known.items()}
    shares_by_name = {}
    for place, values in places.items():
        shares = np.full((len(days), 2), np.nan)
        for at, (day, values_of_day) in enumerate(zip(days, values, strict=True)):
            of_rows = [vocabularies.get(row["version"], {}).get(_name(place)) for row in day.rows]
            verdicts = [
                (row, value not in vocabulary)
                for row, value in zip(values_of_day.rows.tolist(), values_of_day.values, strict=True)
                if (vocabulary := of_rows[row]) is not None and value != _LONG
            ]
            shares[at] = _share(day, verdicts)
        if np.isfinite(shares).any():
            shares_by_name[f"{UNKNOWN}{place}"] = shares
    return shares_by_name


def _empty(days: Sequence[Day], known: Mapping[str, _Known]) -> dict[str, NDArray[np.float64]]:
    """Return for each field of items the share of candidates of which neither client nor bundle knows the value.

    Returns:
        As `_unknown` does.
    """
    shares_by_name = {}
    for name in sorted({name for bundle in known.values() for name in bundle.item_fields}):
        shares = np.full((len(days), 2), np.nan)
        for at, day in enumerate(days):
            verdicts = [
                (number, entry.get(name) is None and _item(entry) not in known[row["version"]].items)
                for number, row in enumerate(day.rows)
                if row["version"] in known
                for entry in row["request"]["candidates"]
            ]
            shares[at] = _share(day, verdicts)
        shares_by_name[f"{EMPTY}candidates.{name}"] = shares
    return shares_by_name


def _share(day: Day, verdicts: Sequence[tuple[int, bool]]) -> tuple[float, float]:
    """Return the share of true verdicts, each about a row of the day, and its standard error."""
    rows = np.array([row for row, _ in verdicts], np.int64)
    return ratio([verdict for _, verdict in verdicts], np.ones(len(verdicts)), day.users[rows])


def _name(place: str) -> str:
    """Return the name of the field of a place such as `context.tab`."""
    return place.partition(".")[2]


def _known_of(registry: Registry, version: Version, sent: Mapping[str, set[str | None]]) -> _Known:
    files = registry.files(version)

    def content(file: str) -> bytes:
        return registry.verified(f"bundles/{version}/{file}", files.get(FileName(file)), most=sys.maxsize)

    def values(file: str, name: str) -> set[str | None]:
        """Return the sent values of a field that a table of the bundle has."""
        rows = pq.read_table(pa.BufferReader(content(file)), columns=["value"])
        return sent.get(name, set()).intersection(map(text, rows["value"].to_pylist())) - {None}  # row 0: missing ones

    signature = documents.parse(Signature, content(SIGNATURE), registry.objects.at(f"bundles/{version}/{SIGNATURE}"))
    fields = [parse_field(record) for record in signature.fields]
    item_fields = [field.name for field in fields if field.group is Group.ITEM and field.name != ITEM_ID]
    return _Known(
        {
            field.name: values(f"vocab/{field.name}.parquet", field.name)
            for field in fields
            if field.form.has_vocabulary and field.name in sent
        },
        values("items.parquet", ITEM_ID) if "items.parquet" in files else set(),
        item_fields,
    )

"""What clients sent and the model answered, day by day: the figures that need no clicks.

A day is the 24 hours before a time of day. So the newest day is whole at any moment, and all days have the same hours.
Of a large log some users are read, drawn by a hash of their ids.

Figures such as `context.tab` are the distribution of what requests hold, missing values included. Figures such as
`unknown context.tab` are the share of values that the answering bundle does not know.
"""

import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import ArrayLike, NDArray

from din import served_log
from din.errors import InputError
from din.kinds import text
from din.names import Version
from din.registry.registry import Registry
from din.schema import ITEM_ID, TIMESTAMP, USER_ID
from din.watch.spread import Figure, binned, ratio

DAYS = 28
"""The days before the newest one."""
_DAY = timedelta(days=1)
_GROUPS = ("user", "context", "history", "candidates")
_MISSING = "missing"
_MOST = 20
"""The last behaviours and the last candidates of a request whose values are compared."""
_BATCH = 1_000
"""Rows that are parsed at once."""
_FEW = 100
"""Numbers with more values than this are compared in bins."""

Row = Mapping[str, Any]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Day:
    """The requests of 24 hours.

    Attributes:
        answered: the number of all requests.
        rows: the drawn rows of the log, with `request` parsed and shortened, and with the length of its `history`.
        users: the user of each drawn row, counted from 0. A request without a user counts as a user of its own.
    """

    answered: int
    rows: Sequence[Row]
    users: Ints

    @property
    def crowd(self) -> int:
        """The number of distinct users."""
        return len(np.unique(self.users))


@dataclass(frozen=True)
class Values:
    """What the requests of a day hold in one place, e.g. as `context.tab`.

    Attributes:
        values: [N]; None where one is missing.
        rows: the position of each value's request among the day's rows [N].
    """

    values: Sequence[Any]
    rows: Ints


def read(log: Path, end: datetime, most: int) -> list[Day]:
    """Return the days until a time (UTC), oldest first, with about `most` drawn requests on a usual one.

    Raises:
        InputError: the log holds no answer of these days, or is damaged.
    """
    start = end - (DAYS + 1) * _DAY
    dates = {f"date={start + number * _DAY:%Y-%m-%d}" for number in range(DAYS + 2)}
    found = [str(path) for path in served_log.files(log) if path.parent.parent.name in dates]
    if not found:
        raise InputError(
            f"{log}: no answers from {start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC; expected the folder of "
            "`din serve --log`: name it, or an earlier time with --until"
        )
    try:
        with duckdb.connect() as con:
            con.execute(
                f"""CREATE VIEW asked AS SELECT *,
                    CAST(floor(epoch(answered_at - TIMESTAMP '{start:%Y-%m-%d %H:%M:%S}') / 86400) AS INTEGER) AS day,
                    coalesce(nullif(user_id, ''), request_id) AS person
                FROM read_parquet({found}, hive_partitioning = false)
                WHERE len(items) > 0 AND day BETWEEN 0 AND {DAYS}"""
            )
            answered = dict(con.execute("SELECT day, count(DISTINCT request_id) FROM asked GROUP BY day").fetchall())
            share = min(1.0, most / float(np.median(list(answered.values()) or [1])))
            table = con.execute(
                f"""SELECT DISTINCT ON (day, request_id) * FROM asked
                WHERE left(md5(person), 8) <= '{int(share * (2**32 - 1)):08x}' ORDER BY day, request_id"""
            ).to_arrow_table()
    except duckdb.Error as error:
        raise InputError(
            f"{log}: {str(error).splitlines()[0]}; expected the files that `din serve --log` writes: remove a damaged "
            "one, or restore it"
        ) from None
    rows = (_row(row) for batch in table.to_batches(_BATCH) for row in batch.to_pylist())
    by_day = {day: list(group) for day, group in groupby(rows, itemgetter("day"))}
    return [_day(answered.get(day, 0), by_day.get(day, [])) for day in range(DAYS + 1)]


def figures(days: Sequence[Day], registry: Registry) -> dict[str, Figure]:
    """Return the figures by name.

    Raises:
        InputError: a bundle in the registry is damaged.
        Unavailable: the registry doesn't answer.
    """
    users = [day.crowd for day in days]
    alone = 1 / np.sqrt(np.maximum(users, 1))
    answered = np.array([math.log(max(day.answered, 0.5)) for day in days])
    answered[: next(at for at, day in enumerate(days) if day.answered)] = np.nan  # the log had not begun
    busiest = np.log([np.bincount(day.users, minlength=1).max() / max(len(day.rows), 1) or np.nan for day in days])
    found = {
        "requests": Figure.level(answered, np.full(len(days), np.median(alone)), max(users), is_log=True),
        "share of the busiest user": Figure.level(busiest, alone, users[-1], "higher", is_log=True),
        "candidates": _mean(days, lambda day: ([len(row["items"]) for row in day.rows], np.ones(len(day.rows)))),
        "history": _mean(days, lambda day: ([row["history"] for row in day.rows], np.ones(len(day.rows)))),
        "prediction": _mean(
            days,
            lambda day: ([sum(row["probabilities"]) for row in day.rows], [len(row["items"]) for row in day.rows]),
        ),
    }
    drawn = {
        "hour": [Counter(str(row["answered_at"].hour) for row in day.rows) for day in days],
        "scores": binned([[score for row in day.rows for score in row["probabilities"]] for day in days]),
        "length of history": binned([[row["history"] for row in day.rows] for day in days]),
        "age of history": binned([[*_ages(day)] for day in days]),
        "clock": binned([[*_clocks(day)] for day in days]),
    }
    places = {
        f"{group}.{name}": [_values(day, group, name) for day in days]
        for group in _GROUPS
        for name in sorted(
            {name for day in days for row in day.rows for entry in _entries(row, group) for name in entry}
        )
        if name != TIMESTAMP
    }
    for place, values in places.items():
        drawn[place] = _counted(place, values)
    found |= {name: Figure.distribution(counts, users) for name, counts in drawn.items()}
    return found | _unknown(days, places, registry)


def _row(row: dict[str, Any]) -> Row:
    """Parse the request of a row, keep the last entries of its lists, and add the length of its history."""
    request = json.loads(row["request"])
    history = request.get("history") or []
    kept = {"history": history[-_MOST:], "candidates": request["candidates"][-_MOST:]}
    return row | {"request": request | kept, "history": len(history)}


def _day(answered: int, rows: Sequence[Row]) -> Day:
    people = np.array([row["person"] for row in rows], str)
    return Day(answered, rows, np.unique(people, return_inverse=True)[1])


def _mean(days: Sequence[Day], parts: Callable[[Day], tuple[ArrayLike, ArrayLike]]) -> Figure:
    """Return Σ numerator / Σ denominator of each day's rows as a figure."""
    means = np.array([ratio(*parts(day), day.users) for day in days])
    return Figure.level(means[:, 0], means[:, 1], days[-1].crowd)


def _ages(day: Day) -> Iterator[float]:
    """Yield how long before the answer the last behaviour of each history was, in seconds."""
    for row in day.rows:
        for entry in _entries(row, "history")[-1:]:
            if (time := entry.get(TIMESTAMP)) is not None:
                yield row["answered_at"].replace(tzinfo=UTC).timestamp() - time


def _clocks(day: Day) -> Iterator[float]:
    """Yield how far the time of each request is ahead of the server's, in seconds."""
    for row in day.rows:
        if (time := row["request"].get("time")) is not None:
            yield time - row["answered_at"].replace(tzinfo=UTC).timestamp()


def _entries(row: Row, group: str) -> list[Row]:
    """Return the user, the context, the behaviours or the candidates of a request."""
    given = row["request"].get(group) or ({} if group in ("user", "context") else [])
    several = given if isinstance(given, list) else [given]
    return [entry if isinstance(entry, dict) else {ITEM_ID: entry} for entry in several]


def _values(day: Day, group: str, name: str) -> Values:
    values: list[Any] = []
    rows: list[int] = []
    for at, row in enumerate(day.rows):
        for entry in _entries(row, group):
            value = entry.get(name)
            several = value if isinstance(value, list) else [value]
            values += several
            rows += [at] * len(several)
    return Values(values, np.array(rows, np.int64))


def _counted(place: str, days: Sequence[Values]) -> list[Counter[str]]:
    """Return how often each value occurs on each day. Numbers of many values are counted in bins."""
    known = {value for day in days for value in day.values if value is not None}
    if place.endswith((USER_ID, ITEM_ID)) or len(known) <= _FEW or not all(isinstance(v, int | float) for v in known):
        return [Counter(text(value) or _MISSING for value in day.values) for day in days]
    numbers = binned([[value for value in day.values if value is not None] for day in days])
    for counts, day in zip(numbers, days, strict=True):
        counts[_MISSING] = sum(value is None for value in day.values)
    return numbers


def _unknown(days: Sequence[Day], places: Mapping[str, Sequence[Values]], registry: Registry) -> dict[str, Figure]:
    """Return for each place with a vocabulary the share of values that the answering bundle does not know."""
    asked: dict[str, set[str | None]] = {}
    for place, values in places.items():
        asked.setdefault(_name(place), set()).update(text(value) for day in values for value in day.values)
    stored = {*registry.versions()}
    versions = {Version(row["version"]) for day in days for row in day.rows} & stored
    known = {version: _known(registry, version, asked) for version in sorted(versions)}
    found = {}
    for place, values in places.items():
        shares = np.full((len(days), 2), np.nan)
        for at, (day, held) in enumerate(zip(days, values, strict=True)):
            by = [known.get(day.rows[row]["version"], {}).get(_name(place)) for row in held.rows]
            told = np.array([row for row, names in zip(held.rows, by, strict=True) if names is not None], np.int64)
            unknown = [
                text(value) not in names for value, names in zip(held.values, by, strict=True) if names is not None
            ]
            shares[at] = ratio(unknown, np.ones(len(told)), day.users[told])
        if np.isfinite(shares).any():
            found[f"unknown {place}"] = Figure.level(shares[:, 0], shares[:, 1], days[-1].crowd, "higher")
    return found


def _name(place: str) -> str:
    """Return the name of the field of a place such as `context.tab`."""
    return place.partition(".")[2]


def _known(registry: Registry, version: Version, asked: Mapping[str, set[str | None]]) -> dict[str, set[str | None]]:
    """Return for each field with a vocabulary which of some values, as text, a bundle knows."""
    found = {}
    for file in registry.files(version):
        folder, _, name = file.removesuffix(".parquet").rpartition("/")
        if folder == "vocab" and name in asked:
            content = b"".join(registry.objects.stream(f"bundles/{version}/{file}"))
            values = pq.read_table(pa.BufferReader(content), columns=["value"])["value"]
            found[name] = asked[name].intersection(map(text, values.to_pylist()))
    return found

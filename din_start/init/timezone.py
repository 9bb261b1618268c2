"""Guess by how many hours the days of a log are ahead of UTC."""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow.compute as pc

from din.data.files import File
from din.data.rows import Rows
from din.schema import TIMESTAMP
from din_start.init import roles
from din_start.init.choice import Choice
from din_start.init.look import Look

_HOURS = range(-12, 15)
_HOUR = np.timedelta64(1, "h")
_NIGHT = range(10)  # hours of the day in which the fewest events are usual
_MOST = 0.98  # share of the events that fall on the days named beside them; a few clocks are late
_REGULAR = 0.15  # length of the events' mean direction on the clock, from which day and night differ


def day_columns(events: Look, time: str) -> dict[str, str]:
    """Return the columns of days, other than the time, each with the form of its days as text."""
    forms = {}
    for name, column in events.columns.items():
        unit = None if name == time or column.missing else roles.unit_of(column)
        if unit is not None and roles.is_day(column, unit.value):
            forms[name] = "%Y-%m-%d" if unit.value == "iso" else unit.value
    return forms


def guess(events: Rows, files: Sequence[File], days: Mapping[str, str]) -> Choice:
    """Return by how many hours days are ahead of UTC, with an empty reason if nothing contradicts UTC.

    Args:
        events: all events, with their times in UTC.
        files: their files, whose paths may name days.
        days: the columns of days, and their forms.
    """
    table = events.table
    times = table[TIMESTAMP].to_numpy()
    starts = {}
    if all(file.day is not None for file in files):
        named = np.array([file.day for file in files], "datetime64[us]")
        starts["their files"] = np.repeat(named, events.rows_of_files)
    for name, form in days.items():
        start = pc.strptime(table[name].cast("string"), form, "us", error_is_null=True)
        if not start.null_count:
            starts[name] = start.to_numpy()
    for name, start in starts.items():
        hours = (times - start) // _HOUR
        shares = {ahead: np.mean((hours + ahead >= 0) & (hours + ahead < 24)) for ahead in _HOURS}
        best = max(shares, key=lambda ahead: (shares[ahead], -abs(ahead)))
        if shares[best] >= _MOST:
            why = f"in UTC, events fall on other days than in {name}; with {best:+d} hours, {shares[best]:.1%} fit"
            return Choice(best, why if best else "")
    return _by_night((times - times.astype("datetime64[D]")) / _HOUR)


def _by_night(hours: np.ndarray) -> Choice:
    """Return 0, and a question if the hours of the events, in UTC, are few where it isn't night."""
    busiest = np.exp(2j * np.pi * hours / 24).mean()  # on a clock of 24 hours
    quietest = round(np.angle(busiest) * 24 / (2 * np.pi) + 12) % 24
    if np.ptp(hours) < 12 or abs(busiest) < _REGULAR or quietest in _NIGHT:
        return Choice(0, "")
    ahead = (4 - quietest + 12) % 24 - 12
    why = f"Traffic is lowest around {quietest}:00 UTC. If that is night for your users, set {ahead}."
    return Choice(0, why)

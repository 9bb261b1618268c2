"""Compare the hours of each day with the hours of the days before.

**A day delivered before it ended**, or without its first hours. A day covers the hours from the first to the last one
that has at least a fifth of its usual share of the day, so a few early or late rows don't hide a gap. A day *lacks* the
usual share of all other hours:

    usual day     ▁▁▁▂▃▄▅▅▆▆▅▅▅▆▆▅▅▅▆█▇▇▆▄
    newest day    ▁▁▂▄▅▇▇▇██▇▇       ·        covers the hours 0 to 11, and lacks 0.7

The number of rows is less informative: a complete holiday may have half of the usual rows, and so may a busy Saturday
that was cut off in the afternoon. Empty hours between the first and the last one are not judged, because they look like
an outage of the service.

**A shifted clock**, or rows in unusual hours for another reason.

Shapes: D days, H = 24 hours.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from din.schema import TIMESTAMP
from validation import detector_limits
from validation.expectations import Expected
from validation.log import HOURS, Log
from validation.strange import DailyFigure, by_day
from validation.trailing import TrailingDays, distance, shares, unlike


def covered_hours(log: Log) -> Iterator[Expected]:
    """Expect that each day covers the hours that the days before it cover: `covered_hours_newest_days`.

    A failure is a **warning**, unless the source delivers whole days (`fetch.table.daily`).
    """
    if log.params.validate_raw.missing_days == "off":
        return
    blocks = log.threshold("covered_hours_newest_days").severity == "critical"
    lacks = lacking(log.calendar, log.hours)
    expected = log.by_user.independent * lacks / np.maximum(1 - lacks, np.finfo(float).eps)
    evident = expected >= detector_limits.LEAST_EXPECTED
    figure = DailyFigure(
        judged=~np.isnan(lacks),
        strange=evident & (lacks >= detector_limits.LACKS),
        extreme=evident & (lacks >= detector_limits.EXTREME_LACKS),
        values={"rows": log.by_user.rows, "lacks": lacks},
    )
    yield from by_day(
        log,
        "covered_hours",
        [figure],
        about=TIMESTAMP,
        advice="these days end earlier or begin later than the days before; `lacks` is the share of a usual day's rows "
        "in the hours without rows. Was a day delivered before it had ended? Deliver it again, or end the log before "
        "it (data.until). Are days cut in another time zone? Set fetch.table.utc_offset_hours. If the day is whole, "
        f"set validate_raw.missing_days to {'warning' if blocks else 'off'}",
    )


def lacking(calendar: TrailingDays, hours: np.ndarray) -> np.ndarray:
    """Return the share of a usual day that each day lacks, [D], given its rows by hour [D, H]; NaN if not judged.

    The days of some logs end at any hour, so that most days of the reference lack some hours too. A day that lacks less
    than `PROFILE_TIMES` as much as these counts as complete.
    """
    _, lacks, between = unlike(calendar, shares(hours), _lacks, detector_limits.LACKING_MOST)
    whole = lacks < detector_limits.PROFILE_TIMES * between
    return np.where(calendar.judged, np.where(whole, 0.0, lacks), np.nan)


def _lacks(profile: np.ndarray, usual: np.ndarray) -> np.ndarray:
    """Return the share of `usual` [..., H] outside the hours that `profile` [..., H] covers; NaN if one is unknown."""
    held = (profile > 0) & (profile >= detector_limits.COVERED * usual)
    begun = np.logical_or.accumulate(held, axis=-1)
    goes_on = np.logical_or.accumulate(held[..., ::-1], axis=-1)[..., ::-1]
    both_known = ~np.isnan(profile).any(axis=-1) & (usual.sum(axis=-1) > 0)
    outside = (shares(usual) * ~(begun & goes_on)).sum(axis=-1)
    return np.where(both_known, outside, np.nan)


def moved_hours(log: Log) -> Iterator[Expected]:
    """Expect the rows of each day to be distributed over the hours like those of the days before."""
    usual, away, least = moved(log.calendar, log.hours, log.by_user.independent)
    usual_rows = log.calendar.usual(log.by_user.rows)
    far = log.trusted & (away >= least)  # False for NaN
    extreme = np.zeros(len(away), bool)
    shifts: dict[int, int] = {}
    for row in np.flatnonzero(far & (away >= detector_limits.SHIFT_MOVED)).tolist():
        share, shift = shifted(log.hours[row], usual[row], usual_rows[row])
        if shift is not None:
            shifts[row] = shift
        extreme[row] = shift is not None or share >= detector_limits.EXTREME_HOURS

    def more(row: int) -> dict[str, Any]:
        held = np.flatnonzero(log.hours[row])
        shift = {"looks_shifted_by_hours": shifts[row]} if row in shifts else {}
        return {"hours": f"{held[0]} to {held[-1]}"} | shift

    strange = far & (away >= detector_limits.HOURS_MOVED)
    values = {"rows_in_other_hours": away}
    yield from by_day(
        log,
        "hours",
        [DailyFigure(judged=log.trusted, strange=strange, extreme=extreme, values=values, more=more)],
        about=TIMESTAMP,
        advice="these days' rows lie in other hours than the rows of the days before: is the time zone the same "
        "(fetch.table.utc_offset_hours), and is each day complete? End the log before one that is not (data.until)",
    )


def moved(
    calendar: TrailingDays, hours: np.ndarray, independent: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compare the hours [D, H] of each day, and its effective number of `independent` rows [D], with the usual ones.

    Returns:
        The usual profile [D, H]; the share [D] of rows in unusual hours, NaN if not judged; and the smallest share [D]
        that is strange, which is well above the shares of most reference days and above chance.
    """
    usual, away, between = unlike(calendar, shares(hours), distance, detector_limits.PROFILE_MOST)
    noise = np.sqrt(2 / np.pi * usual * (1 - usual) / np.maximum(independent, 1)[:, None]).sum(axis=1) / 2
    away = np.where(calendar.judged & (hours.sum(axis=1) > 0), away, np.nan)
    return usual, away, detector_limits.PROFILE_TIMES * np.maximum(between, noise)


def shifted(counts: np.ndarray, usual: np.ndarray, usual_rows: float) -> tuple[float, int | None]:
    """Return the share of rows in unusual hours, and the shift in hours that explains it, or None.

    A day that begins late or ends early, and so has fewer rows, is compared only within its own hours. A shift explains
    the difference if it at least halves the share. Shifts of one or two hours don't count: weekends cause them too.

    Args:
        counts: [H] rows by hour.
        usual: [H] the usual share of each hour.
    """
    hours = np.flatnonzero(counts)
    held = np.zeros(HOURS, bool)
    held[hours[0] : hours[-1] + 1] = True
    covered = usual[held].sum()
    if covered >= detector_limits.PART or counts.sum() > detector_limits.FULLER * covered * usual_rows:
        held[:] = True
    profile = shares(counts[held])

    def left(shift: int) -> float:
        return float(distance(profile, shares(np.roll(usual, shift)[held])))

    best = min(range(1 - HOURS // 2, HOURS // 2 + 1), key=lambda shift: (left(shift), abs(shift)))
    share = left(0)
    explains = (
        abs(best) >= detector_limits.LEAST_SHIFT and share >= detector_limits.SHIFT_MOVED and left(best) <= share / 2
    )
    return share, best if explains else None

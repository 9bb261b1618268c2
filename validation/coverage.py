"""Find days that were delivered before they had ended, or without their first hours.

A day covers the hours from the first to the last one that holds at least a fifth of its usual share of the day, so a
few early or late rows don't hide a gap. A day *lacks* the usual share of all other hours:

    usual day     ▁▁▁▂▃▄▅▅▆▆▅▅▅▆▆▅▅▅▆█▇▇▆▄
    newest day    ▁▁▂▄▅▇▇▇██▇▇       ·        covers the hours 0 to 11, and lacks 0.7

The number of rows would tell less: a holiday may have half of the usual rows, and so has a busy Saturday that was cut
in the afternoon. Hours without rows between the first and the last one are not judged, because they look as if the
service was down.

Shapes: D days, W days of a reference, H = 24 hours.
"""

from collections.abc import Iterator

import numpy as np

from din.schema import TIMESTAMP
from validation.checks import Check, Severity
from validation.log import Log
from validation.strange import Judged, by_day
from validation.totals import Totals
from validation.trailing import PROFILE_TIMES, Calendar, shares

_COVERED = 0.2  # an hour with a smaller part of its usual share is not covered
_LACKS = 0.05
_EXTREME_LACKS = 0.1
_MOST = 0.75  # the share of earlier days that counts as most; the first day of a log may begin at any hour
_LEAST_EXPECTED = 10  # at the day's own pace, the hours that it lacks would hold this many independent rows


def by_coverage(log: Log, users: Totals, hours: np.ndarray, severity: Severity) -> Iterator[Check]:
    """Expect that each day covers the hours that the days before it cover.

    Args:
        log: the log.
        users: the totals by user.
        hours: [D, H] rows.
        severity: of an extreme newest day.
    """
    lacks = lacking(log.calendar, hours)
    expected = users.independent * lacks / np.maximum(1 - lacks, np.finfo(float).eps)
    evident = expected >= _LEAST_EXPECTED
    days = Judged(
        judged=~np.isnan(lacks),
        strange=evident & (lacks >= _LACKS),
        extreme=evident & (lacks >= _EXTREME_LACKS),
        evidence=lambda row: {"rows": int(users.rows[row]), "lacks": round(float(lacks[row]), 2)},
    )
    yield from by_day(
        log,
        "covered_hours",
        [days],
        column=TIMESTAMP,
        severity=severity,
        advice="these days end earlier or begin later than the days before; `lacks` is the share of a usual day's rows "
        "in the hours without rows. Was a day delivered before it had ended? Deliver it again, or end the log before "
        "it (data.until). Are days cut in another time zone? Set fetch.table.utc_offset_hours. If the day is whole, "
        "set validate_raw.partial_days to warning",
    )


def lacking(calendar: Calendar, hours: np.ndarray) -> np.ndarray:
    """Return what each day lacks, [D], or NaN for a day that is not judged.

    A day is compared with its reference, or with the same weekday a week earlier if it lacks less of that. A day that
    lacks less than twice what most days of its reference lack counts as whole, because the log's days end at any hour.

    Args:
        calendar: the days.
        hours: [D, H] rows.
    """
    profile = shares(hours)
    usual = calendar.usual(profile)
    lacks = np.fmin(_lacks(profile, usual), _lacks(profile, calendar.of_week_before(profile)))
    between = calendar.highest(_lacks(calendar.of_reference(profile), usual[:, None]), _MOST)
    whole = lacks < PROFILE_TIMES * between
    return np.where(calendar.judged, np.where(whole, 0.0, lacks), np.nan)


def _lacks(profile: np.ndarray, usual: np.ndarray) -> np.ndarray:
    """Return the share of `usual` [..., H] outside the hours that `profile` [..., H] covers; NaN if either is."""
    held = (profile > 0) & (profile >= _COVERED * usual)
    begun = np.logical_or.accumulate(held, axis=-1)
    goes_on = np.logical_or.accumulate(held[..., ::-1], axis=-1)[..., ::-1]
    known = ~np.isnan(profile).any(axis=-1) & (usual.sum(axis=-1) > 0)
    outside = (shares(usual) * ~(begun & goes_on)).sum(axis=-1)
    return np.where(known, outside, np.nan)

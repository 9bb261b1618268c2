"""Detect users who click everything, or who dominate the log or a day, as robots do, and items that dominate a day.

The natural spread of users' CTRs is modelled by a beta distribution with the mean and variance of the log's users.
Users who clicked everything are left out of the estimate, so that robots do not widen it.
"""

from collections.abc import Iterator
from math import exp, lgamma

import numpy as np

from din.schema import ITEM_ID, LABEL, USER_ID
from validation import detector_limits
from validation.expectations import Expected, figure
from validation.log import BY_DAY, Log
from validation.strange import DailyFigure, by_day

_LARGEST = (
    "one user has this share of the events, and perhaps far more than any user before: is it a robot, e.g. a crawler, "
    "or an id for all unknown users? Leave it out"
)

_LARGEST_ITEM = (
    "one item suddenly has this share of a day's events: is it a default for items that are not known? Correct the "
    "events, or leave them out"
)


def robots(log: Log) -> Iterator[Expected]:
    """Expect no more users who click everything than the spread of CTRs explains: `click_everything_rate`."""
    if not log.labels_vary:
        return
    most = detector_limits.ROBOT_IMPRESSIONS
    by_user = (
        f"SELECT {USER_ID}, sum(n)::BIGINT AS rows, sum(c)::BIGINT AS clicks FROM {BY_DAY[USER_ID]} GROUP BY {USER_ID}"
    )
    columns = log.arrays(f"SELECT rows, clicks FROM ({by_user}) WHERE rows >= {most} ORDER BY rows, clicks")
    rows, clicks = (columns[name].astype(float) for name in ("rows", "clicks"))
    everything = rows == clicks
    if len(rows) < detector_limits.CROWD or everything.all():
        return
    expected = who_click_everything(rows, rows[~everything], clicks[~everything])
    count = int(everything.sum())
    too_many = count >= detector_limits.ROBOTS and count >= detector_limits.ROBOTS_TIMES_EXPECTED * expected
    yield figure(
        log,
        "click_everything_rate",
        count / len(rows) if too_many else 0.0,
        about=LABEL,
        advice=f"users who clicked each of their {most} or more impressions; from the spread of users, {expected:.2g} "
        "are expected: are they robots, or are only their clicks logged? Leave them out",
        sample=log.sample(f"{by_user} HAVING rows = clicks AND rows >= {most} ORDER BY rows DESC, 1"),
    )


def who_click_everything(rows: np.ndarray, of_rows: np.ndarray, of_clicks: np.ndarray) -> float:
    """Return the expected number of users who click all their impressions.

    A user's CTR is drawn from Beta(α, β), so a user with n impressions clicks them all with probability
    B(α + n, β) / B(α, β). Mean and variance of Beta(α, β) are estimated from ordinary users by the method of moments:
    total variance = variance between users + binomial variance within.

    Args:
        rows: [U] the number of impressions of each user.
        of_rows: [V] the number of impressions of each ordinary user, who did not click everything.
        of_clicks: [V] the number of clicks of each ordinary user.
    """
    mean = (of_clicks.sum() + 0.5) / (of_rows.sum() + 1)
    rates = of_clicks / of_rows
    within = mean * (1 - mean) * np.mean(1 / of_rows)
    between = max(float(np.mean((rates - mean) ** 2) - within), 0.0)
    together = min(mean * (1 - mean) / max(between, detector_limits.TINY) - 1, detector_limits.MOST_ALIKE)
    alpha = max(mean * together, 1e-3)
    beta = max((1 - mean) * together, 1e-3)
    constant = lgamma(alpha + beta) - lgamma(alpha)
    sizes, users = np.unique(rows, return_counts=True)
    return sum(
        count * exp(constant + lgamma(alpha + size) - lgamma(alpha + beta + size))
        for size, count in zip(sizes.tolist(), users.tolist(), strict=True)
    )


def largest_user(log: Log) -> Iterator[Expected]:
    """Expect no user to have too large a share of the log: `largest_user_share`."""
    by_user = f"SELECT {USER_ID}, sum(n)::BIGINT AS rows FROM {BY_DAY[USER_ID]} GROUP BY {USER_ID}"
    users, share_of_log = log.one(f"SELECT count(*), max(rows) / sum(rows) FROM ({by_user})")
    yield figure(
        log,
        "largest_user_share",
        share_of_log if users >= detector_limits.CROWD else 0,
        about=USER_ID,
        advice=_LARGEST,
        sample=log.sample(f"{by_user} ORDER BY rows DESC, {USER_ID}"),
    )


def largest_of_days(log: Log) -> Iterator[Expected]:
    """Expect no user to have too large a share of a day, and no item to take over a day."""
    yield from _largest(log, USER_ID, "user", detector_limits.LARGEST_SHARE, detector_limits.LARGE_SHARE, _LARGEST)
    yield from _largest(log, ITEM_ID, "item", 1.0, detector_limits.LARGEST_SHARE, _LARGEST_ITEM)


def _largest(log: Log, column: str, what: str, most: float, sudden: float, advice: str) -> Iterator[Expected]:
    """Expect no id to have more than the share `most` of a day, or `sudden` with far more rows than any id before."""
    by_date = log.arrays(
        f"SELECT date, count(*) AS ids, sum(n)::BIGINT AS rows, max(n) AS most, max_by(id, (n, id)) AS largest "
        f"FROM (SELECT date, n, {column}::VARCHAR AS id FROM {BY_DAY[column]}) GROUP BY date ORDER BY date"
    )
    rows = by_date["most"].astype(float)
    share = rows / by_date["rows"]
    usual = log.calendar.highest(log.calendar.of_reference(rows), 1.0)
    too_much = (share > most) | (share > sudden) & (rows > detector_limits.TIMES_BUSIEST * usual)
    days = DailyFigure(
        judged=log.calendar.usual(by_date["ids"].astype(float)) >= detector_limits.CROWD,
        strange=too_much,
        extreme=too_much,
        values={"rows": rows, "most_on_the_days_before": usual, "share": share},
        more=lambda row: {what: str(by_date["largest"][row])},
    )
    yield from by_day(log, f"largest_{what}_share", [days], about=column, advice=advice)

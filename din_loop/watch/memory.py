"""Whether a figure has moved slowly, or is unlike what it was when the champion was promoted.

From one day to the next, a slow change hides in the noise, and the week before the newest day is soon a part of it.

    over weeks        the mean of the last 4 days − the mean of the same weekdays 2 to 5 weeks before. All days before
                      these 4 show how much a day differs from others of its weekday.
    within a bundle   the slope over the last 5 days, if one bundle answered on all of them. Earlier days show how much
                      a day differs from the others of its bundle.
    since promotion   the last 7 days of the champion, taken together, against the test rows by which it was judged

The second comparison needs no earlier days, and sees a change that is older than the days that are read.
"""

from collections.abc import Sequence

import numpy as np

from din.contracts.facts import Facts
from din.metrics.estimates import MIN_USERS, estimate
from din_loop.watch.alarms import AUC, CALIBRATION, CTR, OVER_WEEKS, SINCE_PROMOTION, WITHIN_BUNDLE
from din_loop.watch.outcomes import Outcome
from din_loop.watch.significance import FEW_DAYS, LEAST, WEEK, Check, Figure, compared, few_users, ratio

RECENT = 4
"""The last days."""
WEEKS = 4
"""The earlier weeks that they are compared with."""
FALSE_ALARMS_OVER_WEEKS = 0.001
"""The rate of false alarms in a run, for the figures that are compared over weeks; see `FALSE_ALARMS`."""
LEAST_CHANGE = {CTR: 0.02, CALIBRATION: 0.02, AUC: 0.05}
"""The figures that are compared over weeks, and the relative changes below which none is an alarm."""
SLOPE = 5
"""The days over which a slope is taken."""
LEAST_SLOPE = 0.01
"""The relative rise a day below which none is an alarm."""
MOST_TIMES = {CTR: 2.0, CALIBRATION: 1.5, AUC: 2.0}
"""The figures that are compared with the test rows, and by what factor: of an AUC, what it has over 0.5.

Candidates and people in service need not be those of the test rows, so only a large difference is an alarm.
"""
ERRORS = 4
"""The standard errors by which a figure may be further away."""


def over_weeks(name: str, figure: Figure) -> Check:
    """Compare the mean of a figure over its last days with the mean over the same weekdays of earlier weeks."""
    earlier = np.where(figure.usual, figure.values, np.nan)[:-RECENT]
    missing = np.full(-len(earlier) % WEEK, np.nan)
    weeks = np.concatenate([missing, earlier]).reshape(-1, WEEK)
    counts = np.isfinite(weeks).sum(axis=0)
    residuals = weeks - np.nansum(weeks, axis=0) / np.maximum(counts, 1)
    freedom = int(np.maximum(counts - 1, 0).sum())
    before = weeks[-1 - WEEKS : -1, :RECENT]  # these weekdays follow the last one of `earlier`
    before = before[np.isfinite(before)]
    observed = float(figure.values[-RECENT:].mean())
    if figure.users < MIN_USERS:
        return Check(name + OVER_WEEKS, figure.shown(observed), problem=few_users(figure.users))
    if not np.isfinite(observed) or len(before) < RECENT or freedom < LEAST:
        return Check(name + OVER_WEEKS, figure.shown(observed), problem=FEW_DAYS)
    base = float(before.mean())
    larger = max(1.0, np.mean(figure.errors[-RECENT:] ** 2) / np.nanmean(figure.errors[:-RECENT] ** 2))
    variance = larger * np.nansum(residuals**2) / freedom
    spread = float(np.sqrt(variance * (1 / RECENT + 1 / len(before))))
    least = LEAST_CHANGE[name] * abs(base)
    return compared(name + OVER_WEEKS, figure, observed, observed - base, spread, freedom, least)


def within_bundle(name: str, figure: Figure, versions: Sequence[str | None]) -> Check:
    """Return how far a figure rose over the last days of the bundle that answered, by its slope.

    Args:
        versions: the bundle that answered on each day.
    """
    day = figure.values[-SLOPE:]
    is_usual = figure.usual & np.isfinite(figure.values)
    is_usual[-SLOPE:] = False
    bundles = np.array([version or "" for version in versions])
    values = [figure.values[is_usual & (bundles == bundle)] for bundle in np.unique(bundles[is_usual])]
    freedom = sum(len(of_bundle) - 1 for of_bundle in values)
    times = np.arange(SLOPE) - (SLOPE - 1) / 2
    slope = float((day * times).sum() / (times**2).sum())
    if figure.users < MIN_USERS:
        return Check(name + WITHIN_BUNDLE, figure.shown(slope), problem=few_users(figure.users))
    if len(set(versions[-SLOPE:])) > 1 or not np.isfinite(slope) or freedom < LEAST:
        return Check(name + WITHIN_BUNDLE, figure.shown(slope), problem=FEW_DAYS)
    variance = sum(float(((of_bundle - of_bundle.mean()) ** 2).sum()) for of_bundle in values) / freedom
    spread = float(np.sqrt(variance / (times**2).sum()))
    least = LEAST_SLOPE * abs(float(day.mean()))
    return compared(name + WITHIN_BUNDLE, figure, slope, slope, spread, freedom, least)


def since_promotion(days: Sequence[Outcome], facts: Facts) -> list[Check]:
    """Compare the last days that a bundle answered, at most a week of them, with the test rows by which it was judged.

    Return nothing if the test rows have drawn negatives.
    """
    if facts.negatives_drawn:
        return []
    week = [day for day in days if day.version == days[-1].version][-WEEK:]
    labels = np.concatenate([day.labels for day in week])
    scores = np.concatenate([day.scores for day in week])
    users = np.concatenate([day.users + len(labels) * at for at, day in enumerate(week)])  # other users on other days
    test = facts.evaluation.test
    calibration = estimate("calibration_ratio", labels, scores, users)
    auc = estimate("auc", labels, scores, users)
    figures = [
        (CTR, *ratio(labels, np.ones(len(labels)), users), test.ctr, 0.0),
        (CALIBRATION, calibration.value, calibration.standard_error, test.calibration_ratio, 0.0),
        (AUC, auc.value, auc.standard_error, test.auc, 0.5),
    ]
    checks = []
    for name, observed, error, judged, zero in figures:
        if judged is not None and np.isfinite(error):
            further = ERRORS * error * float(np.sqrt(1 + len(labels) / test.rows))
            low = zero + (judged - zero) / MOST_TIMES[name] - further
            high = None if name == AUC else judged * MOST_TIMES[name] + further
            checks.append(Check(name + SINCE_PROMOTION, observed, low, high))
    return checks

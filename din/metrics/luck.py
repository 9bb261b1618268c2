"""Spread of a metric over trainings, beside its standard error over test users.

    x_i = truth + q_i + e_i     the metric of training i, all trainings on the same test rows
    q_i                         what its seed made better or worse for every user
    e_i                         what the drawn test users happen to favour in it
    s² ≈ var(q) + var(e)        s: the standard deviation over trainings
    var(e) ≈ d² / 2             d: the standard error over users of x_i − x_j; see `din.metrics.estimates`

So seeds spread even where all models are equally good. The bounds are exact for a normal distribution of x_i.

Shapes: N trainings.
"""

from collections.abc import Sequence

import numpy as np
from scipy.special import chdtri, stdtrit

from din.metrics.estimates import Interval


def standard_deviation(values: Sequence[float], confidence: float) -> Interval:
    """Return the standard deviation s of N ≥ 2 trainings, with bounds from the chi-square distribution.

    Args:
        values: the metric of each training [N].
        confidence: the probability that a bound is on the right side of the true deviation, for each bound.
    """
    freedom = len(values) - 1
    deviation = float(np.std(values, ddof=1))
    squares = freedom * deviation**2
    lower = float(np.sqrt(squares / chdtri(freedom, 1 - confidence)))
    upper = float(np.sqrt(squares / chdtri(freedom, confidence)))
    return Interval(deviation, lower, upper)


def between_two(deviation: float, trainings: int, confidence: float) -> float:
    """Return the distance that two further trainings keep within in a share 2·confidence − 1 of cases.

    Args:
        deviation: the standard deviation of N trainings.
        trainings: N.
        confidence: the probability that the first of the two is not further above the second than this.
    """
    return float(stdtrit(trainings - 1, confidence) * np.sqrt(2) * deviation)


def lasting(deviation: Interval, errors_of_difference: Sequence[float]) -> Interval:
    """Return the standard deviation of q, the spread that unlimited test users would leave; 0 if users can explain all.

    Its bounds take d as known, since it comes from all test users, and s from a few trainings.

    Args:
        deviation: the standard deviation over trainings.
        errors_of_difference: standard errors over users of differences of two trainings.
    """
    by_users = float(np.mean(np.square(errors_of_difference))) / 2

    def beyond_users(spread: float) -> float:
        return float(np.sqrt(np.maximum(spread**2 - by_users, 0)))

    return Interval(beyond_users(deviation.point), beyond_users(deviation.lower), beyond_users(deviation.upper))

"""Many tests at once: which of them to believe."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def holm(p_values: ArrayLike, level: float) -> NDArray[np.bool_]:
    """Return which hypotheses to reject, so that the chance of any wrong rejection is at most `level`.

    The smallest p-value is held against level / n, the next one against level / (n − 1), and so on up to the first that
    is larger (Holm, Scandinavian Journal of Statistics 6, 1979). It holds whatever the tests have in common.

    Args:
        p_values: one for each hypothesis, [n].
        level: the permitted chance, e.g. 0.05.
    """
    p = np.asarray(p_values, np.float64)
    order = np.argsort(p, kind="stable")
    small = p[order] <= level / np.arange(len(p), 0, -1)
    rejected = np.zeros(len(p), bool)
    rejected[order] = np.logical_and.accumulate(small)
    return rejected

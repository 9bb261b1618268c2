"""How far a distribution of predictions moved from another: the population stability index.

Binned, so one pass and one sort; it does not see what happens inside a bin. Customary reading: below 0.1 alike, above
0.25 another distribution. Two trainings of one log may lie above 0.25 at any size, since they differ in sharpness; the
index alone tells nothing about which of the two is right.
"""

import numpy as np
from numpy.typing import ArrayLike


def population_stability_index(reference: ArrayLike, observed: ArrayLike, bins: int = 10) -> float:
    """PSI = Σ_b (o_b − r_b) · ln(o_b / r_b), the symmetric Kullback–Leibler divergence, over quantile bins.

    Bins are cut at the quantiles of `reference`; equal values share one, so heavy ties leave fewer bins. Shares have
    half a row added to each bin (Jeffreys): an empty one is large, not infinite.

    Args:
        reference: such as the champion's probabilities, shape [B].
        observed: such as the candidate's, any shape [C].
        bins: at most so many.

    Returns:
        At least 0; NaN where either is empty or holds NaN.
    """
    r, o = np.asarray(reference, np.float64), np.asarray(observed, np.float64)
    if not len(r) or not len(o) or np.isnan(r).any() or np.isnan(o).any():
        return float("nan")
    edges = np.unique(np.quantile(r, np.arange(1, bins) / bins))
    counts = (np.bincount(np.searchsorted(edges, x, "right"), minlength=len(edges) + 1) + 0.5 for x in (r, o))
    r_share, o_share = (count / count.sum() for count in counts)
    return float(((o_share - r_share) * np.log(o_share / r_share)).sum())

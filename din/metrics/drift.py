"""The population stability index: how far one distribution of predictions is from another.

It compares shares of bins, so it takes one pass and one sort, and does not see changes inside a bin. By convention, a
value below 0.1 means equal distributions, and one above 0.25 different ones. Two trainings on the same log may differ
by more than 0.25, however large the log, since one may be sharper than the other. The index does not say which one is
right.
"""

import numpy as np
from numpy.typing import ArrayLike


def population_stability_index(reference: ArrayLike, observed: ArrayLike, bins: int = 10) -> float:
    """Return Σ_b (o_b − r_b) · ln(o_b / r_b), the symmetric Kullback–Leibler divergence, over quantile bins.

    Bins are cut at the quantiles of `reference`. Equal values share a bin, so there are fewer bins if many values tie.
    Half a row is added to each bin (Jeffreys), so that an empty bin gives a large index, not an infinite one.

    Args:
        reference: e.g. the champion's probabilities, shape [B].
        observed: e.g. the candidate's probabilities, shape [C].
        bins: the largest number of bins.

    Returns:
        The index, at least 0, or NaN if either argument is empty or holds NaN.
    """
    r = np.asarray(reference, np.float64)
    o = np.asarray(observed, np.float64)
    if not len(r) or not len(o) or np.isnan(r).any() or np.isnan(o).any():
        return float("nan")
    edges = np.unique(np.quantile(r, np.arange(1, bins) / bins))
    counts = (np.bincount(np.searchsorted(edges, x, "right"), minlength=len(edges) + 1) + 0.5 for x in (r, o))
    r_share, o_share = (count / count.sum() for count in counts)
    return float(((o_share - r_share) * np.log(o_share / r_share)).sum())

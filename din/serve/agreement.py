"""How closely the ways to compute a probability must agree: the tolerances of the stage `check_parity`.

They are no parameters, because a bundle that needs wider ones computes something else than the model that was judged.
"""

ATOL_LOGIT = 1e-4
"""The largest difference of two logits, relative beyond 1, as float32 has 24 bits."""
ATOL_PROBABILITY = 1e-5
"""The largest difference of two probabilities."""
AUC_DELTA = 1e-5
"""The difference of two AUCs that they must stay below, beside the pairs that are tied within `ATOL_LOGIT`."""
MIN_STD = 1e-4
"""The smallest standard deviation of the outputs; closer ones prove nothing."""

"""Numbers of equations that a form in torch and one in numpy share. Importing them imports neither."""

EPSILON = 1e-8
"""The number that Dice adds to a variance."""

SHRINK = 5.0
"""How strongly a blend draws a history's mean to 0: as much as this number of behaviours without feedback would."""

AGE_STARTS = (0.0, *(60.0 * 2**step for step in range(24)))
"""The ages at which the steps of `din.model.ages` begin, in seconds. The last is 2²³ minutes, sixteen years."""

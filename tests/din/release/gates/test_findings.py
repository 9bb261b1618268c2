"""The place of an interval beside its limits, and the verdict that each rule makes of it."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from din.metrics.estimates import Estimate, Interval
from din.release.gates.findings import Claim, Rule, from_estimate, not_outside, within


@st.composite
def differences(draw: st.DrawFn, limit: float) -> Estimate:
    """Draw an estimate that is undefined, or has a bound near a limit, within rounding of it, or exactly on it."""
    users = draw(st.sampled_from([10, 40, 300]))
    influence = np.resize([1.0, -1.0], users) * draw(st.sampled_from([0.0, 1e-12, 1e-4, 1e-3, 0.02]))
    estimate = Estimate(0.0, np.arange(users), influence, np.ones((2, users), bool))
    aimed = draw(st.sampled_from([0.0, -1e-9, 1e-6, 2e-5, -0.003, 0.01, math.nan])) + limit
    side = draw(st.sampled_from([-1, 0, 1]))
    width = 0.0 if users < 20 else estimate.width(draw(st.sampled_from([0.95, 0.975])))
    return Estimate(aimed + side * width, *(estimate.users, estimate.influence, estimate.tells))


@given(st.floats(-1, 1), st.floats(0, 1), st.floats(-1, 1), st.floats(0, 1))
def test_an_interval_lies_in_exactly_one_place(lower: float, width: float, low: float, span: float) -> None:
    """The place agrees with the share of a fine grid over the interval that lies within the limits."""
    interval = Interval(lower, lower, lower + width)
    claim = Claim(interval, low, low + span)
    ends = (lower, interval.upper, *(limit for limit in (low, claim.high) if lower <= limit <= interval.upper))
    permitted = [low < one < claim.high for one in ends]
    expected = "within" if all(permitted) else "beyond" if interval.upper < low or claim.high < lower else "across"
    assert claim.shows == expected


@pytest.mark.parametrize("bounds", [(math.nan, 0.2), (0.1, math.nan), (math.nan, math.nan)])
@pytest.mark.parametrize("low", [0.0, 0.9])
def test_a_bound_that_is_missing_shows_nothing(bounds: tuple[float, float], low: float) -> None:
    """Half an interval proves neither a gain nor a loss, and closes."""
    claim = Claim(Interval(0.15, *bounds), low)
    assert claim.shows == "undefined"
    assert str(claim).startswith("undefined: ")
    assert within(claim) == not_outside(claim) == "closed"


@given(
    st.data(), st.sampled_from([within, not_outside]), st.sampled_from([-0.02, -0.005, 0.0, 0.5, 0.9]), st.booleans()
)
def test_a_figure_with_limits(data: st.DataObject, rule: Rule, low: float, two: bool) -> None:
    """The verdict follows from what the interval shows, a doubt has a reason, and only more users than now help."""
    high = low + 0.004 if two else math.inf
    estimate = data.draw(differences(data.draw(st.sampled_from([low, high if two else low]))))
    found = from_estimate(rule, estimate, 0.95, low, high, rows=400)
    assert found.interval
    shows = Claim(found.interval, low, high).shows
    assert (found.reason is None) == (shows == "within")
    undecided = "borderline" if rule is within else "open"
    assert found.verdict == {"within": "open", "across": undecided}.get(shows, "closed")
    assert found.power
    needed = found.power.users_needed
    assert needed is None or needed > found.power.users

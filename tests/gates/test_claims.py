"""Sentences about intervals: whatever is judged, by whatever rule, no sentence says more than the numbers beside it."""

import math
import re
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from din.gates.claims import Claim
from din.gates.comparisons import tell
from din.gates.explain import explain
from din.gates.verdict import Finding, Gate, Rule, from_estimate, not_outside, overall, within
from din.metrics.estimates import Estimate, Interval
from din.metrics.noninferiority import judge
from din.names import Version
from din.verdicts import ChampionName, GateEntry, GateReport, Power, Verdict

NUMBER = r"([+-]?\d[\d.]*(?:e[+-]?\d+)?)"
SHOWS: dict[str, Callable[[float, float, Sequence[float]], bool]] = {
    rf"so a loss of {NUMBER} is ruled out": lambda lower, upper, loss: lower > -loss[0],
    rf"so a loss of {NUMBER} is possible": lambda lower, upper, loss: lower <= -loss[0] <= upper,
    rf"so a loss of more than {NUMBER} is certain": lambda lower, upper, loss: upper < -loss[0],
    rf"all of it above {NUMBER}": lambda lower, upper, at: lower > at[0],
    rf"not all of it above {NUMBER}": lambda lower, upper, at: lower <= at[0] <= upper,
    rf"none of it above {NUMBER}": lambda lower, upper, at: upper < at[0],
    rf"all of it within {NUMBER} to {NUMBER}": lambda lower, upper, at: at[0] < lower and upper < at[1],
    rf"not all of it within {NUMBER} to {NUMBER}": lambda lower, upper, at: (
        not at[0] < lower <= upper < at[1] and upper >= at[0] and lower <= at[1]
    ),
    rf"none of it within {NUMBER} to {NUMBER}": lambda lower, upper, at: upper < at[0] or lower > at[1],
}
"""Every claim that a sentence may make about the interval before it, and when it is true."""
WORDS = re.compile(r"ruled out|possible|certain|of it|worse|as good|outside the")
"""A claim has exactly one of these words, and no other text has any."""
EXPLAINED = "this gate closes only if the whole interval lies outside"


def claims(text: str) -> list[bool]:
    """Return for each claim of a text whether the numbers beside it show it."""
    found = []
    for pattern, shows in SHOWS.items():
        for match in re.finditer(rf"{NUMBER} \[{NUMBER}, {NUMBER}\], {pattern}", text):
            _, lower, upper, *limits = map(float, match.groups())
            found.append(shows(lower, upper, limits))
    assert len(found) == len(WORDS.findall(text)), text
    return found


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


margins = st.floats(1e-4, 0.05)


@st.composite
def comparisons(draw: st.DrawFn) -> Finding:
    """Draw a comparison with the champion: one day or several, a first look or a retry."""
    margin = draw(margins)
    good = Estimate(0.5, np.arange(300), np.zeros(300), np.ones((2, 300), bool))
    near = differences(-margin).filter(lambda one: math.isfinite(one.value))
    earlier = draw(st.one_of(st.just([good]), st.lists(near, max_size=2)))
    today = draw(differences(draw(st.sampled_from([-1, -2])) * margin))
    look = judge([*earlier, today], margin, draw(st.integers(1, 4)), 0.05, draw(st.integers(0, 2)))
    reason = tell(look, margin, draw(st.sampled_from([margin, 1.0])))
    power = Power(look=look.number, users=look.users, excludes=None, users_needed=look.users_needed)
    return Finding(look.verdict, look.interval.point, -margin, look.interval, 400, reason, power)


@given(st.floats(-1, 1), st.floats(0, 1), st.floats(-1, 1), st.floats(0, 1))
def test_an_interval_lies_in_exactly_one_place(lower: float, width: float, low: float, span: float) -> None:
    """The place agrees with the share of a fine grid over the interval that lies within the limits."""
    interval = Interval(lower, lower, lower + width)
    claim = Claim(interval, low, low + span)
    ends = (lower, interval.upper, *(limit for limit in (low, claim.high) if lower <= limit <= interval.upper))
    permitted = [low < one < claim.high for one in ends]
    expected = "within" if all(permitted) else "beyond" if interval.upper < low or claim.high < lower else "across"
    assert claim.shows == expected
    assert all(claims(str(Claim(interval, low))) + claims(str(claim)))


@given(
    st.data(), st.sampled_from([within, not_outside]), st.sampled_from([-0.02, -0.005, 0.0, 0.5, 0.9]), st.booleans()
)
def test_a_figure_with_limits(data: st.DataObject, rule: Rule, low: float, two: bool) -> None:
    """For each rule, a finding with a doubt has a reason, and the reason is what the interval shows."""
    high = low + 0.004 if two else math.inf
    estimate = data.draw(differences(data.draw(st.sampled_from([low, high if two else low]))))
    found = from_estimate(rule, estimate, 0.95, low, high, rows=400)
    assert found.interval
    told = (found.reason or "").removesuffix(EXPLAINED)
    assert all(claims(told))
    shows = Claim(found.interval, low, high).shows
    assert (told == "") == (shows == "within")
    assert (found.reason or "").endswith(EXPLAINED) == (found.verdict == "open" and shows == "across")
    assert told.startswith("undecided") == (found.verdict == "borderline")
    assert told.startswith("undefined") == (shows == "undefined")
    undecided = "borderline" if rule is within else "open"
    assert found.verdict == {"within": "open", "across": undecided}.get(shows, "closed")
    assert found.power
    needed = found.power.users_needed
    assert needed is None or needed > found.power.users


@settings(max_examples=300)
@given(comparisons())
def test_a_comparison_with_the_champion(found: Finding) -> None:
    """An open gate rules a loss out, a closed one shows it or is undefined, and an undecided one calls it possible."""
    assert found.reason and found.interval and found.power
    assert all(claims(found.reason))
    undefined = "undefined" in found.reason
    assert undefined == (not claims(found.reason))
    says: dict[Verdict, bool] = {
        "open": "possible" not in found.reason and "certain" not in found.reason,
        "closed": "certain" in found.reason or undefined,
        "borderline": "possible" in found.reason and found.reason.startswith("undecided"),
    }
    assert says[found.verdict]
    needed = found.power.users_needed
    assert needed is None or (found.verdict == "borderline" and needed > found.power.users)


@given(st.lists(comparisons(), min_size=1, max_size=2), st.booleans())
def test_an_explanation_adds_no_claim(comparisons: list[Finding], closed: bool) -> None:
    """For one or two metrics, and beside another gate, the explanation repeats the claims of the gates and no other."""
    names = [f"champion_delta_{metric}" for metric in ("auc", "gauc")]
    gates: list[GateEntry] = [
        Gate(name, "", lambda found=found: found).entry() for name, found in zip(names, comparisons, strict=False)
    ]
    gates.append(Gate("min_auc", "", lambda: Finding("closed" if closed else "open", 0.6, 0.7)).entry())
    champion = ChampionName(version=Version("a" * 64), number=1)
    text = explain(GateReport.model_construct(champion=champion, bundle=Version("b" * 64), gates=gates))
    assert claims(text) == [True] * sum(len(claims(found.reason or "")) for found in comparisons)
    assert text.startswith("The candidate may replace") == (overall(gates) == "open")


@pytest.mark.parametrize(
    "sentence",
    [
        "-0.0040 [-0.0129, +0.0050], so a loss of 0.0050 is ruled out",
        "-0.0040 [-0.0050, +0.0050], so a loss of 0.0050 is ruled out",
        "+0.0040 [-0.0049, +0.0050], so a loss of 0.0050 is possible",
        "-0.0090 [-0.0129, -0.0050], so a loss of more than 0.0050 is certain",
        "0.7000 [0.6900, 0.7100], all of it above 0.6900",
        "0.7000 [0.6900, 0.7100], all of it within 0.6800 to 0.7000",
        "0.7000 [0.6900, 0.7100], none of it above 0.7000",
        "0.7000 [0.6900, 0.7100], not all of it within 0.6800 to 0.7200",
    ],
)
def test_a_false_sentence_is_found(sentence: str) -> None:
    """The tests above would fail for a sentence whose numbers don't show its claim."""
    assert claims(sentence) == [False]

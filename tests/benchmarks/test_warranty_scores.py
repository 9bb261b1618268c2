"""Error rates by resampling: the shares that docs/warranty.md states, of the product's rule and of wrong ones."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from benchmarks.warranty import pairs
from benchmarks.warranty.pairs import Population, resample
from din.metrics.estimates import Estimate
from din.metrics.noninferiority import Look, judge
from din.params import Params

PAIRS = 1000

Rule = Callable[[Sequence[Estimate], float, int, float], Look]


def careless(days: Sequence[Estimate], margin: float, number: int, level: float) -> Look:
    """Judge at four times the level."""
    return judge(days, margin, number, 4 * level)


def flipped(days: Sequence[Estimate], margin: float, number: int, level: float) -> Look:
    """Judge with the margin's sign flipped."""
    return judge(days, -margin, number, level)


def generous(days: Sequence[Estimate], margin: float, number: int, level: float) -> Look:
    """Judge with a margin of twice the stated one."""
    return judge(days, 2 * margin, number, level)


@pytest.fixture(scope="module")
def population() -> Population:
    """Return many users with two equally good models."""
    rng = np.random.default_rng(3)
    users = 5000
    user = np.repeat(np.arange(users), 6)
    logit = rng.normal(size=len(user))
    label = rng.random(len(user)) < 1 / (1 + np.exp(-logit - rng.normal(size=users)[user]))
    champion, candidate = (1 / (1 + np.exp(-logit - 0.2 * rng.normal(size=len(user)))) for _ in range(2))
    return Population(label, champion, candidate, np.arange(0, len(user) + 1, 6))


@pytest.mark.parametrize("rule", [judge, flipped, generous, careless], ids=lambda rule: rule.__name__)
def test_pairs_that_lose_a_margin_rarely_open(
    rule: Rule, population: Population, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lower bound holds in the stated share of pairs, and a loss of the margin opens rarely; wrong rules differ."""
    monkeypatch.setattr(pairs, "judge", rule)
    found = resample(population, 250, 1.0, params.gate, PAIRS, np.random.default_rng(7))
    level = (1 - params.gate.confidence) / 2
    noise = 3.5 * math.sqrt(level * (1 - level) / PAIRS)
    held = abs(1 - found.lower_holds - level) <= noise and found.share("open") <= level + noise
    assert (held and found.share("closed") < 0.5) == (rule is judge)

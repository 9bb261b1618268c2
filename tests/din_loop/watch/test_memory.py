"""A slow loss of clicks is named by its tenth, and days like those before are not."""

import numpy as np
import pytest

from din_loop.watch.alarms import CTR
from din_loop.watch.memory import over_weeks, within_bundle
from din_loop.watch.outcomes import DAYS
from din_loop.watch.significance import FALSE_ALARMS, LEAST, Figure, judge

LOST_A_DAY = 0.02
CLICKS_PER_IMPRESSION = 0.4
DAILY_DEVIATION = 0.015


def figure(seed: int, lost_days: int, first: int = 0) -> Figure:
    """Return the CTR of days that differ by weekday and by chance, the last of which lose more clicks each day."""
    rng = np.random.default_rng(seed)
    week = 1 + 0.1 * np.sin(2 * np.pi * np.arange(DAYS + 1) / 7)
    lost = LOST_A_DAY * np.maximum(np.arange(DAYS + 1) - (DAYS - lost_days), 0)
    values = CLICKS_PER_IMPRESSION * week * (1 + DAILY_DEVIATION * rng.normal(size=DAYS + 1)) * (1 - lost)
    values[:first] = np.nan
    return Figure.level(values, np.full(DAYS + 1, DAILY_DEVIATION * CLICKS_PER_IMPRESSION), 200)


def test_a_slow_loss_is_named_by_its_tenth() -> None:
    """By the fifth day 10 % of the clicks are lost: over weeks that is certain, and from day to day it is not."""
    slow, daily = ([check(CTR, figure(seed, 5)).p or 0 for seed in range(40)] for check in (over_weeks, judge))
    assert np.mean(np.array(slow) < FALSE_ALARMS / 4) > 0.95
    assert np.mean(np.array(daily) < FALSE_ALARMS / 30) < 0.2


@pytest.mark.parametrize("first", [0, 12])
def test_clean_days_are_no_slow_change(first: int) -> None:
    """Small p-values are as rare as they claim, in a young log too."""
    p_values = np.array([over_weeks(CTR, figure(seed, 0, first)).p or 0 for seed in range(1000)])
    assert (p_values < 0.05).mean() < 0.07
    assert (p_values < FALSE_ALARMS).mean() <= 0.005


def test_too_few_weeks() -> None:
    """Without two earlier weeks nothing is compared."""
    assert "too few" in (over_weeks(CTR, figure(0, 0, DAYS - LEAST)).problem or "")


def test_a_certain_change_may_be_too_small() -> None:
    """A change of 1 % is no alarm, however large the log."""
    values = np.full(DAYS + 1, CLICKS_PER_IMPRESSION) + 1e-9 * np.random.default_rng(0).normal(size=DAYS + 1)
    values[-4:] *= 0.99
    assert over_weeks(CTR, Figure.level(values, np.full(DAYS + 1, 1e-9), 200)).p == 1


def test_predictions_that_inflate_within_a_bundle() -> None:
    """A rise of 2 % a day is certain on the fifth day, though each bundle has another level."""
    rng = np.random.default_rng(0)
    versions = [f"{day // 7}" for day in range(28)]
    levels = np.repeat(rng.normal(0.5, 0.03, 4), 7)
    p_values = []
    for rise in (0.0, 0.02):
        values = levels * (1 + 0.005 * rng.normal(size=28))
        values[-5:] *= 1 + rise * np.arange(1, 6)
        check = within_bundle("prediction", Figure.level(values, np.full(28, 0.005), 200), versions)
        p_values.append(check.p)
    assert p_values[0] == 1 and p_values[1] is not None and p_values[1] < 1e-4
    mixed = within_bundle("prediction", Figure.level(levels, np.full(28, 0.005), 200), [*versions[:-1], "new"])
    assert mixed.p is None

"""The spread of trainings against simulated ones. Alone: `pytest tests/metrics/test_luck.py`."""

import numpy as np
import pytest

from din.metrics.estimates import difference, estimate
from din.metrics.luck import between_two, lasting, standard_deviation

SEEDS = 5
CONFIDENCE = 0.95


def test_the_deviation_is_the_sample_standard_deviation() -> None:
    """Squares are divided by one less than the number of trainings."""
    values = [0.1, 0.4, 0.7]
    assert standard_deviation(values, CONFIDENCE).point == pytest.approx(np.sqrt((0.3**2 + 0.3**2) / 2))


@pytest.mark.parametrize("confidence", [CONFIDENCE, 0.9, 0.975])
def test_each_bound_is_wrong_as_often_as_it_says(rng: np.random.Generator, confidence: float) -> None:
    """Over many draws of five trainings, each bound is wrong in 5 %, and bounds of another confidence are not."""
    truth = 0.002
    found = [standard_deviation(values, confidence) for values in rng.normal(0.7, truth, (20_000, SEEDS))]
    too_high = np.mean([interval.lower > truth for interval in found])
    too_low = np.mean([interval.upper < truth for interval in found])
    off = max(abs(too_high - 0.05), abs(too_low - 0.05))
    assert (off <= 0.006) == (confidence == CONFIDENCE)


@pytest.mark.parametrize("trainings", [SEEDS, 1000])
def test_two_further_trainings_keep_within_their_distance(rng: np.random.Generator, trainings: int) -> None:
    """Two more trainings are closer than the distance in 90 % of draws; as if five were many, it is too short."""
    draws = rng.normal(0.7, 0.002, (20_000, SEEDS + 2))
    distance = [between_two(float(np.std(values[:SEEDS], ddof=1)), trainings, CONFIDENCE) for values in draws]
    apart = np.abs(draws[:, -1] - draws[:, -2])
    assert (abs(np.mean(apart < distance) - 0.9) <= 0.008) == (trainings == SEEDS)


@pytest.mark.parametrize("spread", [0.0, 0.3])
def test_spread_beyond_the_test_users_is_found(rng: np.random.Generator, spread: float) -> None:
    """Equally good models differ on a log only as its users explain; models of different quality differ more."""
    users = np.repeat(np.arange(300), 10)
    truth = rng.normal(size=len(users))
    labels = rng.random(len(users)) < 1 / (1 + np.exp(-truth))
    noise = 0.5 + spread * rng.random(200)  # a noisier model ranks worse
    scores = [truth + one * rng.normal(size=len(users)) for one in noise]
    values = [estimate("auc", labels, score, users).value for score in scores]
    errors = [difference("auc", labels, score, scores[0], users).standard_error for score in scores[1:]]
    deviation = standard_deviation(values, CONFIDENCE)
    share = lasting(deviation, errors).point / deviation.point
    assert share < 0.5 if spread == 0 else share > 0.8


def test_undefined_metrics_spread_undefined() -> None:
    """A metric without a value gives no figures, and no error."""
    interval = standard_deviation([float("nan"), 0.5], CONFIDENCE)
    assert np.isnan([interval.point, interval.lower, interval.upper]).all()
    assert np.isnan(lasting(interval, [0.1]).point)

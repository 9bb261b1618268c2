"""The benchmark's rows are as described, and our contestant runs on them, without peers."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import ours
from benchmarks.checks import check_factors, check_share, check_training
from benchmarks.directory import VALID, write_directory
from benchmarks.measure import EPOCHS, Contestant, measure
from benchmarks.ours import settings
from benchmarks.roofline import Roofline
from benchmarks.workload import WORKLOADS, Workload, impressions
from din.base.errors import InputError
from din.train.learner import Learner
from din.train.loader import TrainingLoader

SMALL = [replace(workload, rows=600, items=500, dim=4, batch=128) for workload in WORKLOADS]
HALF_FILLED, SHORT = SMALL


def test_the_directory_holds_the_same_rows(tmp_path: Path) -> None:
    """It holds item, history, category, user and label of every impression, and n_j of Eq. 6 equals a loop."""
    rows = impressions(HALF_FILLED)
    features = write_directory(tmp_path, HALF_FILLED, rows)
    shard = features.shard(0, "train")
    found = shard.impressions
    assert np.array_equal(found.item, rows.item) and np.array_equal(found.user, rows.user)
    assert np.array_equal(found.label, rows.label) and np.array_equal(found.history_length, rows.length)
    assert np.array_equal(shard.behaviours.item, rows.history)
    assert np.array_equal(features.items["category"].values[found.item], rows.category)
    assert features.rows["item_id"] == HALF_FILLED.items + 1
    assert features.split_rows("test") == [600] and features.split_rows("valid") == [VALID]
    expected = np.zeros(HALF_FILLED.items + 1, np.int64)
    for item, history in zip(rows.item, np.split(rows.history, np.cumsum(rows.length)[:-1]), strict=True):
        expected[list({item, *history})] += 1
    assert np.array_equal(features.vocabulary("item_id")["impressions"].to_numpy(), expected)


@pytest.fixture
def ours_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Contestant:
    """Our contestant on few rows, without its further figures."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return ours.build(HALF_FILLED, candidates=60)._replace(extra=dict)


def test_our_training_accounts_for_its_time_and_rows(ours_small: Contestant) -> None:
    """Every epoch is timed, every part adds up to the whole call, and every row is trained in every epoch."""
    found = measure(ours_small)
    check_training("ours", found, HALF_FILLED.rows)
    assert found["training"]["rows"] == EPOCHS * HALF_FILLED.rows
    assert found["epoch_seconds"] > 0 and found["train_per_second"] > found["counted_per_second"]


def test_a_training_that_skips_rows_is_refused(ours_small: Contestant, monkeypatch: pytest.MonkeyPatch) -> None:
    """A training that leaves out a batch of each epoch is refused, and the rows are named."""
    epoch = TrainingLoader.epoch
    monkeypatch.setattr(TrainingLoader, "epoch", lambda self, number, first=0: epoch(self, number, first or 1))
    with pytest.raises(InputError, match="ours: it trained on 1,416 rows in 3 epochs; expected 1,800"):
        check_training("ours", measure(ours_small), HALF_FILLED.rows)


@pytest.mark.parametrize("whole", [2.6, 3.5])
def test_parts_that_miss_a_tenth_of_the_time_are_refused(whole: float) -> None:
    """The parts add up to 3 s, so a training that took a sixth more or an eighth less is timed wrongly."""
    parts = {"epochs": 2.0, "settling": 0.5, "validation": 0.3, "rest": 0.2, "rows": 10 * EPOCHS}
    for sound in (2.8, 3.3):
        check_training("ours", {"training": {**parts, "whole": sound}}, 10)
    with pytest.raises(InputError, match=rf"ours: its training took {whole}00 s, and its parts .* a gap of"):
        check_training("ours", {"training": {**parts, "whole": whole}}, 10)


def test_impossible_shares_and_factors_are_refused() -> None:
    """Products that take longer than their epoch are refused, and factors of more than twice the page's."""
    check_share("ours", {"roofline_seconds": 0.5, "epoch_seconds": 0.5})
    with pytest.raises(InputError, match="306% of an epoch"):
        check_share("ours", {"roofline_seconds": 0.52, "epoch_seconds": 0.17})
    page = "**half-filled, 1 core**\n| ours to the fastest peer | **5.0×** | **3.6×** | | |\n"
    check_factors(page.replace("5.0", "10.0"), page)
    check_factors(page.replace("**5.0×**", "**–**"), page)
    check_factors(page.replace("1 core", "2 cores").replace("5.0", "25.9"), page)
    with pytest.raises(InputError, match=r"half-filled, 1 core: 25\.9 times the fastest peer, and the page says 5\.0"):
        check_factors(page.replace("5.0", "25.9"), page)


@pytest.mark.parametrize("workload", SMALL, ids=lambda workload: workload.name)
def test_the_roofline_multiplies_as_often_as_a_step(workload: Workload, tmp_path: Path) -> None:
    """The roofline's products have as many floating-point operations as a real training step on the same batch."""
    features, params = write_directory(tmp_path, workload, impressions(workload)), settings(workload, EPOCHS)
    learning = params.learning
    learner = Learner(features, params)
    batch = next(learner.loader().epoch(0))
    learner.model.train()
    with FlopCounterMode(display=False) as step:
        learner.step(learner.inputs(batch), learning.learning_rate)
    roofline = Roofline(features, params, [(len(batch.packed.segment), len(batch.packed))])
    with FlopCounterMode(display=False) as products:
        roofline.run()
    assert products.get_total_flops() == step.get_total_flops() > 0

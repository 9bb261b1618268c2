"""A model that learns what its teachers say. Alone: `pytest tests/train/test_teachers.py`."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
from killed import run_until_killed
from settings import changed
from states import same, weights

from din.artifacts import MANIFEST, read_json, write_json
from din.features.day_rows import days_of
from din.features.packing import Packer
from din.features.reader import Features
from din.params import Train
from din.train.advance import advance
from din.train.compute import CPU_ALONE
from din.train.fit import fit
from din.train.learned import Learned, learn
from din.train.loader import TrainingLoader
from din.train.predict import predict
from din.train.teachers import taught
from tests.factories.features import labelled, rewrite, temporal, write_features

KEPT = 0.2


@pytest.fixture(scope="module")
def days(tmp_path_factory: pytest.TempPathFactory) -> Features:
    """Return features that are split by time, whose training rows lack negatives."""
    path = temporal(tmp_path_factory.mktemp("days") / "features", users=24).root / MANIFEST
    write_json(path, read_json(path) | {"negatives": {"log": 1.0, "training": KEPT}})
    return Features(path.parent)


@pytest.fixture(scope="module")
def two(small: Train) -> Train:
    return changed(small, teachers=2, batch_size=64, dropout=0.2)


@pytest.fixture(scope="module")
def learned(days: Features, two: Train) -> Learned:
    """Return a training with two teachers that nothing interrupted."""
    return learn(days, two)


def test_targets_are_the_mean_of_other_trainings(days: Features, two: Train, capsys) -> None:
    """Each row's target equals the twin's: models of the printed seeds, shifted as the loss shifts its logits."""
    targets, _ = taught(days, two, None, CPU_ALONE)
    seeds = [int(seed) for seed in re.findall(r"teacher \d of 2, with seed (\d+)", capsys.readouterr().out)]
    assert len({*seeds, two.learning.seed}) == 3
    models = [fit(days, changed(two, teachers=0, seed=seed))[0] for seed in seeds]
    logits = [predict(model.trained, days, "train").logits for model in models]
    twin = [1 / (1 + math.exp(math.log(KEPT) - (one + other) / 2)) for one, other in zip(*logits, strict=True)]
    assert np.concatenate(targets) == pytest.approx(twin, rel=1e-5)
    assert [len(own) for own in targets] == days.split_rows("train")


def test_days_that_are_learned_later_keep_their_labels(learned: Learned, days: Features, two: Train) -> None:
    """Learning is fitting the targets, and then the same pass over the validation days as without teachers."""
    targets, _ = taught(days, two, None, CPU_ALONE)
    learner, _ = fit(days, two, targets=targets)
    assert learned.before is not None
    assert same(weights(learned.before.trained), weights(learner.trained))
    assert same(weights(learned.judged.trained), weights(advance(learner, "valid").learner.trained))
    assert not same(weights(fit(days, two)[0].trained), weights(learned.before.trained))


def test_targets_replace_the_labels_of_their_rows(tmp_path: Path) -> None:
    """Each training row has its own target, in batches that are otherwise the same, and a held-out row its label."""
    features = write_features(tmp_path, impressions=5)
    first, _ = features.split_rows("train")
    starts = iter((0, first))
    numbered = rewrite(features, "train", lambda rows: labelled(rows, next(starts) + np.arange(len(rows))))
    targets = [shard.impressions.label.astype(np.float32) / 128 for shard in numbered.shards("train")]
    plain = TrainingLoader(numbered, Packer(numbered, 0.3), 16, seed=5)
    taught_ones = TrainingLoader(numbered, Packer(numbered, 0.3), 16, seed=5, targets=targets)
    for number, label in zip(taught_ones.epoch(0), plain.epoch(0), strict=True):
        assert np.array_equal(number.packed.labels, label.packed.labels / 128)
        assert np.array_equal(number.rows, label.rows)
    (day,) = days_of(numbered, "test")
    found = np.concatenate([batch.packed.labels for batch in taught_ones.day(day)])
    assert set(found) == {0, 1}


@pytest.mark.parametrize(
    ("die_after", "trained_again"),
    [(5, {"2"}), (7, {"2"}), (12, set())],
    ids=["between two teachers", "in teacher 2", "in the model"],
)
def test_a_resumed_run_trains_no_finished_teacher_again(
    die_after: int,
    trained_again: set[str],
    learned: Learned,
    days: Features,
    two: Train,
    tmp_path: Path,
    monkeypatch,
    capsys,
) -> None:
    """A run that is killed at any point goes on with the teacher of that moment, and ends with the same weights."""
    path = tmp_path / "state.safetensors"
    run_until_killed(die_after, monkeypatch, lambda: learn(days, two, path))
    capsys.readouterr()
    resumed = learn(days, two, path)
    assert set(re.findall(r"teacher (\d) of 2", capsys.readouterr().out)) == trained_again
    assert same(weights(learned.judged.trained), weights(resumed.judged.trained))
    assert same(learned.judged.optimizers, resumed.judged.optimizers)

"""Cross-fitted lessons, against models that learn other features. Alone: `pytest tests/din/train/test_crossfit.py`."""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from din.features.day_rows import days_of
from din.features.reader import Features
from din.params.train import Train
from din.train.advance import advance
from din.train.crossfit import CrossFitted, cross_fit
from din.train.fit import fit
from din.train.learner import Learner
from din.train.predict import predict
from tests.factories.features import TEST_DAYS, day_of, labelled, rewrite, temporal
from tests.helpers.states import State, copied


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Features:
    return temporal(tmp_path_factory.mktemp("crossfit") / "features")


@pytest.fixture(scope="module")
def judged(features: Features, small: Train) -> State:
    """The state of a model that has learned everything before the test days."""
    learner, _ = fit(features, small)
    return copied(learner.state())


def resumed(features: Features, small: Train, state: State) -> Learner:
    learner = Learner(features, small)
    learner.load_state(state)
    return learner


def fitted(features: Features, small: Train, state: State) -> CrossFitted:
    start = partial(resumed, features, small, state)
    return cross_fit(start, days_of(features, "test"), folds=2)["test"]


def rewritten(features: Features, change: Callable[[pa.Table], pa.Table], target: Path) -> Features:
    shutil.copytree(features.root, target)
    return rewrite(Features(target), "test", change)


def without(rows: pa.Table, users: np.ndarray) -> pa.Table:
    return rows.filter(pa.array(~np.isin(rows["user"].to_numpy(), users)))


def flipped(rows: pa.Table, users: np.ndarray) -> pa.Table:
    """Return rows with the other label for some users."""
    label = rows["label"].to_numpy()
    return labelled(rows, np.where(np.isin(rows["user"].to_numpy(), users), 1 - label, label))


def folds_of(found: CrossFitted, features: Features, small: Train, state: State, tmp_path: Path) -> list[np.ndarray]:
    """Return the users of each fold, told from the outside: those that a flipped user's labels do not touch."""
    users = np.unique(found.unseen.rows["user"])
    changed_labels = rewritten(features, lambda rows: flipped(rows, users[:1]), tmp_path / "flipped")
    again = fitted(changed_labels, small, state)
    same = again.unseen.logits == found.unseen.logits
    kept = {user: same[found.unseen.rows["user"] == user].all() for user in users}
    return [np.array([user for user in users if kept[user] == own]) for own in (True, False)]


def test_each_row_is_scored_by_a_model_that_never_saw_its_user(
    features: Features, small: Train, judged: State, tmp_path: Path
) -> None:
    """A model that learns a log without a fold's rows gives the same predictions of that fold, and of the other."""
    found = fitted(features, small, judged)
    assert np.array_equal(found.unseen.logits, fitted(features, small, judged).unseen.logits)
    folds = folds_of(found, features, small, judged, tmp_path)
    assert min(map(len, folds)) >= 5
    for number, users in enumerate(folds):
        others = rewritten(features, lambda rows, users=users: without(rows, users), tmp_path / f"without-{number}")
        learner = advance(resumed(others, small, judged), "test").learner
        expected = predict(learner.trained, features.at(day_of(TEST_DAYS[-1])), "test", 64)
        own = np.isin(found.unseen.rows["user"], users)
        np.testing.assert_allclose(found.unseen.logits[own], expected.logits[own], atol=1e-5)
        np.testing.assert_allclose(found.taught.logits[~own], expected.logits[~own], atol=1e-5)


def test_a_lesson_of_one_user_teaches_nobody_else(
    features: Features, small: Train, judged: State, tmp_path: Path
) -> None:
    """Without others, the user is scored by the model as it was."""
    everyone = fitted(features, small, judged).unseen.rows["user"]
    alone = rewritten(features, lambda rows: without(rows, np.unique(everyone)[1:]), tmp_path / "alone")
    found = fitted(alone, small, judged)
    expected = predict(resumed(alone, small, judged).trained, alone, "test", 64)
    assert np.array_equal(found.unseen.logits, expected.logits)
    assert (found.taught.logits != expected.logits).all()

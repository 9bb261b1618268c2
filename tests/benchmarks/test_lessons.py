"""Planted faults of learning: each changes what is learned, and a harmful one is not promoted."""

from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.defects import lessons
from benchmarks.defects.learning import PLANTS, planted
from din.base.artifacts import hash_tree
from din.base.workspace import Workspace
from din.model import artifact
from din.params.reading import Params
from din.train.evaluate import evaluate
from din.train.refit import refit
from din.train.run import train
from tests.factories.features import temporal
from tests.helpers.settings import changed

MOSTLY = 10


@dataclass(frozen=True)
class Learned:
    """A workspace in which a small model has learned a sound lesson.

    Attributes:
        crossfit: the cross-fitted predictions of the sound lesson.
        shipped: the hash of its model.
    """

    here: Workspace
    params: Params
    crossfit: pa.Table
    shipped: str


def predictions(here: Workspace) -> pa.Table:
    return pq.read_table(here.crossfit / "predictions.parquet")


@pytest.fixture(scope="module")
def learned(params: Params, tmp_path_factory: pytest.TempPathFactory) -> Learned:
    """A sound lesson."""
    small = {"embedding_dim": 4, "attention_hidden": (6,), "hidden": (8,), "batch_size": 16, "threads": 1, "epochs": 1}
    settings = replace(params, train=changed(params.train, **small))
    here = Workspace(tmp_path_factory.mktemp("learned"))
    temporal(here.features)
    for stage in (train, evaluate, refit):
        stage(here, settings)
    return Learned(here, settings, predictions(here), hash_tree(here.shipped))


SLOW = {
    "rate_2", "rate_5", "rate_20", "rate_50", "one_user", "ascent", "optimizer_scaled", "shuffled", "shifted",
    "reversed", "half", "zeroed", "vocabulary", "sign",
}  # fmt: skip
"""Plants that take long, or change at the same place what one of the others changes."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in PLANTS]
)
def test_a_plant_changes_the_lesson(name: str, learned: Learned) -> None:
    """The shipped model differs, and so do the cross-fitted predictions unless the fault is in its file alone."""
    plant = PLANTS[name]
    right = getattr(plant.owner, plant.name)
    with planted(plant):
        refit(learned.here, learned.params)
    assert getattr(plant.owner, plant.name) is right
    wrong = predictions(learned.here)
    assert hash_tree(learned.here.shipped) != learned.shipped
    assert wrong["label"].equals(learned.crossfit["label"])
    assert wrong["prediction"].equals(learned.crossfit["prediction"]) == (right is artifact.save)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_no_harmful_lesson_is_promoted(tmp_path: Path) -> None:
    """No lesson that loses two margins on the next day passes the gates; sound ones do, challengers among them."""
    found = lessons.drive_lessons(tmp_path)
    assert lessons.wrong(found) == []
    assert sum(lesson.verdict == "caught" for lesson in found) >= MOSTLY
    promoted = [lesson.run for lesson in found if lesson.what == lessons.SOUND and not lesson.closed]
    assert {*promoted} == {"continues", "from scratch", "first run"}

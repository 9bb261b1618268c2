"""Training with the validation days, up to the shipped model. Alone: `pytest tests/din/train/test_learn.py`."""

import shutil
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from din.base.artifacts import read_json, write_json
from din.base.errors import InputError
from din.base.workspace import Workspace
from din.features.day_rows import microseconds
from din.features.reader import Features
from din.model import artifact
from din.params.reading import Params
from din.params.train import Train
from din.train.advance import advance
from din.train.crossfit import FOLDS
from din.train.evaluate import evaluate
from din.train.fit import fit
from din.train.learn import learn
from din.train.predict import predict
from din.train.refit import refit
from din.train.run import train
from tests.factories.features import DAY_US, TEST_DAYS, flip_labels, moment, temporal
from tests.helpers.settings import changed
from tests.helpers.states import same, weights


@pytest.fixture(scope="module")
def quick(params: Params, small: Train) -> Params:
    return replace(params, train=changed(small, dropout=0.2))


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory, quick: Params) -> Workspace:
    """Return a workspace with features that are split by time, after the stages train, evaluate and refit."""
    workspace = Workspace(tmp_path_factory.mktemp("ended"))
    temporal(workspace.features)
    run(workspace, quick)
    return workspace


@pytest.fixture
def here(ended: Workspace, tmp_path: Path) -> Workspace:
    shutil.copytree(ended.root, tmp_path, dirs_exist_ok=True)
    return Workspace(tmp_path)


def run(here: Workspace, params: Params) -> None:
    train(here, params)
    evaluate(here, params)
    refit(here, params)


def test_the_judged_model_has_learned_the_validation_days(ended: Workspace, quick: Params) -> None:
    """Learning is fitting, and then a pass over the validation days, with the optimizers of the best epoch."""
    features = Features(ended.features)
    learned = learn(features, quick.train)
    learner, _ = fit(features, quick.train)
    assert learned.before is not None
    assert same(weights(learned.before.trained), weights(learner.trained))
    expected = advance(learner, "valid")
    assert same(weights(learned.judged.trained), weights(expected.learner.trained))
    assert same(learned.judged.optimizers, expected.learner.optimizers())
    assert (learned.before.seen_until, learned.judged.seen_until) == (features.train_until, expected.until)


@pytest.mark.parametrize("reason", ["by_user", "advance: false"])
def test_held_out_rows_are_not_learned(reason: str, here: Workspace, quick: Params) -> None:
    """Users that are held out stay unseen, and so do the days if the parameters say so."""
    settings = changed(quick.train, epochs=1)
    if reason == "by_user":
        write_json(
            here.features / "manifest.json", read_json(here.features / "manifest.json") | {"protocol": "by_user"}
        )
    else:
        settings = changed(settings, advance=False)
    features = Features(here.features)
    learned = learn(features, settings)
    assert (learned.before, learned.days, learned.judged.optimizers) == (None, [], {})
    assert same(weights(learned.judged.trained), weights(fit(features, settings)[0].trained))


def test_no_model_is_judged_on_what_it_has_learned(ended: Workspace) -> None:
    """Validation rows are scored by the model before the pass, test rows by the model after it."""
    here = ended
    features = Features(here.features)
    before = artifact.load(features, here.model / artifact.BEFORE)
    known = artifact.known(features, here.model)
    after = artifact.load(known, here.model)
    report = read_json(here.evaluation)
    for split, trained, reader in (("valid", before, features), ("test", after, known)):
        rows = pq.read_table(here.predictions / f"{split}.parquet")
        assert rows["prediction"].to_numpy() == pytest.approx(predict(trained, reader, split, 512).probabilities)
        assert rows["timestamp"].to_numpy().min() > microseconds(datetime.fromisoformat(report["learned_until"][split]))
    gain = report["advance"]["auc"]
    assert gain["difference"]["value"] == pytest.approx(gain["after"] - gain["before"])
    assert gain["after"] == report["test"]["auc"]


def test_the_shipped_model_has_learned_the_test_days(ended: Workspace) -> None:
    """The model and its stand-ins predict exactly the rows that it has learned."""
    here = ended
    features = Features(here.features)
    rows = pq.read_table(here.crossfit / "predictions.parquet")
    judged = pq.read_table(here.predictions / "test.parquet")
    assert rows["sequence"].equals(judged["sequence"])
    assert not rows["prediction"].equals(judged["prediction"])
    shipped = artifact.load(artifact.known(features, here.shipped), here.shipped)
    assert rows["shipped"].to_numpy() == pytest.approx(predict(shipped, features, "test", 1024).probabilities)
    report = read_json(here.refit)
    assert [day["day"] for day in report["days"]] == [str(moment(day * DAY_US).date()) for day in TEST_DAYS]
    assert report["judged_until"] == read_json(here.evaluation)["learned_until"]["test"]
    assert report["crossfit"] == {"folds": FOLDS, "after": report["judged_until"], "rows": len(rows)}
    assert report["seen_until"] == moment(int(rows["timestamp"].to_numpy().max())).isoformat()


def test_a_lesson_changes_no_judgement(here: Workspace, quick: Params) -> None:
    """Other labels on the last test day change the shipped model, but not the judged one, nor its predictions."""
    judged = weights(artifact.load(Features(here.features), here.model))
    shipped = weights(artifact.load(Features(here.features), here.shipped))
    predicted = pq.read_table(here.predictions / "test.parquet")["prediction"]
    flip_labels(Features(here.features), "test", TEST_DAYS[-1])
    run(here, quick)
    assert same(weights(artifact.load(Features(here.features), here.model)), judged)
    assert pq.read_table(here.predictions / "test.parquet")["prediction"].equals(predicted)
    assert not torch.equal(artifact.load(Features(here.features), here.shipped).table, shipped["table"])


def test_refit_needs_an_evaluation_of_this_model(here: Workspace, quick: Params) -> None:
    """A model that was trained again is not shipped before it is judged."""
    (here.model / "weights.safetensors").write_bytes(b"another training")
    with pytest.raises(InputError, match="about another model or other features; run `dvc repro evaluate`"):
        refit(here, quick)

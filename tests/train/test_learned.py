"""Training with the validation days, up to the shipped model. Alone: `pytest tests/train/test_learned.py`."""

from dataclasses import replace
from datetime import datetime
from pathlib import Path

import documents_of
import pyarrow.parquet as pq
import pytest
import torch
from dated_features import DAY_US, TEST_DAYS, flip_labels, moment, temporal
from settings import changed

from din.artifacts import read_json, write_json
from din.errors import InputError
from din.facts import Metrics
from din.features.reader import Features
from din.model import artifact
from din.params import Params
from din.train.advance import advance
from din.train.crossfit import FOLDS
from din.train.evaluate import evaluate
from din.train.fit import fit, fit_learner
from din.train.learned import learn
from din.train.predict import predict
from din.train.refit import refit
from din.train.run import train
from din.workspace import Workspace


@pytest.fixture(scope="module")
def quick(params: Params) -> Params:
    """Parameters of a small DIN that learns fast."""
    widths = {"embedding_dim": 4, "attention_hidden": (6,), "hidden": (8,)}
    settings = {"batch_size": 16, "learning_rate": 0.01, "threads": 1, "epochs": 4, "metric": "auc"}
    settings |= {"dropout": 0.2, "checkpoint_minutes": 1e-9}
    return replace(params, train=changed(params.train, **widths, **settings))


@pytest.fixture
def here(tmp_path: Path) -> Workspace:
    """A workspace with features that are split by time."""
    workspace = Workspace(tmp_path)
    temporal(workspace.features)
    return workspace


def weights(trained: artifact.Trained) -> dict[str, torch.Tensor]:
    return {**trained.model.state_dict(), "table": trained.table}


def assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def run(here: Workspace, params: Params) -> None:
    """Run the stages train, evaluate and refit."""
    train(here, params)
    evaluate(here, params)
    refit(here, params)


def test_the_judged_model_has_learned_the_validation_days(here: Workspace, quick: Params) -> None:
    """Learning is fitting, and then a pass over the validation days, with the optimizers of the best epoch."""
    features = Features(here.features)
    learned = learn(features, quick.train)
    fitted, _ = fit(features, quick.train)
    learner, _ = fit_learner(features, quick.train, with_optimizers=True)
    expected = advance(learner, quick.train, "valid")
    assert learned.before is not None
    assert_same(weights(learned.before.trained), weights(fitted))
    assert_same(weights(learned.judged.trained), weights(expected.learner.trained))
    assert_same(learned.judged.optimizers, expected.learner.optimizers())
    assert (learned.before.seen_until, learned.judged.seen_until) == (features.train_until, expected.until)


@pytest.mark.parametrize("reason", ["by_user", "advance: false"])
def test_held_out_rows_are_not_learned(reason: str, here: Workspace, quick: Params) -> None:
    """Users that are held out stay unseen, and so do the days if the parameters say so."""
    settings = quick.train
    if reason == "by_user":
        write_json(
            here.features / "manifest.json", read_json(here.features / "manifest.json") | {"protocol": "by_user"}
        )
    else:
        settings = changed(settings, advance=False)
    features = Features(here.features)
    learned = learn(features, settings)
    assert (learned.before, learned.days, learned.judged.optimizers) == (None, [], {})
    assert_same(weights(learned.judged.trained), weights(fit(features, settings)[0]))


def test_a_killed_run_ends_with_the_same_bits(
    here: Workspace, quick: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that is killed after an epoch that was not the best one goes on with the optimizers of the best."""
    features = Features(here.features)
    settings = changed(quick.train, epochs=3, patience=3)
    metrics = iter(2 * [0.5, 0.9, 0.6])
    monkeypatch.setattr(
        "din.train.fit.summary",
        lambda labels, probabilities, users: Metrics(**documents_of.METRICS | {"auc": next(metrics)}),
    )
    whole = learn(features, settings, tmp_path / "whole")
    path = tmp_path / "state"
    fit_learner(features, changed(settings, epochs=2), path, with_optimizers=True)
    resumed = learn(features, settings, path)
    assert (whole.progress.best_epoch, resumed.progress.best_epoch) == (1, 1)
    assert_same(weights(whole.judged.trained), weights(resumed.judged.trained))
    assert_same(whole.judged.optimizers, resumed.judged.optimizers)


def test_no_model_is_judged_on_what_it_has_learned(here: Workspace, quick: Params) -> None:
    """Validation rows are scored by the model before the pass, test rows by the model after it."""
    train(here, quick)
    evaluate(here, quick)
    features = Features(here.features)
    before = artifact.load(features, here.model / artifact.BEFORE)
    known = artifact.known(features, here.model)
    after = artifact.load(known, here.model)
    report = read_json(here.evaluation)
    for split, trained, reader in (("valid", before, features), ("test", after, known)):
        rows = pq.read_table(here.predictions / f"{split}.parquet")
        assert rows["prediction"].to_numpy() == pytest.approx(predict(trained, reader, split, 512).probabilities)
        assert rows["timestamp"].to_numpy().min() > _microseconds(report["learned_until"][split])
    gain = report["advance"]["auc"]
    assert gain["difference"]["value"] == pytest.approx(gain["after"] - gain["before"])
    assert gain["after"] == report["test"]["auc"]


def test_the_shipped_model_has_learned_the_test_days(here: Workspace, quick: Params) -> None:
    """The model and its stand-ins predict exactly the rows that it has learned."""
    run(here, quick)
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
    run(here, quick)
    judged = weights(artifact.load(Features(here.features), here.model))
    shipped = weights(artifact.load(Features(here.features), here.shipped))
    predicted = pq.read_table(here.predictions / "test.parquet")["prediction"]
    flip_labels(Features(here.features), "test", TEST_DAYS[-1])
    run(here, quick)
    assert_same(weights(artifact.load(Features(here.features), here.model)), judged)
    assert pq.read_table(here.predictions / "test.parquet")["prediction"].equals(predicted)
    assert not torch.equal(artifact.load(Features(here.features), here.shipped).table, shipped["table"])


def test_a_model_that_may_not_learn_is_shipped_as_it_is(here: Workspace, quick: Params) -> None:
    """Without a pass, the judged model's files and predictions stand for the shipped one's."""
    run(here, replace(quick, train=changed(quick.train, advance=False)))
    for name in ("config.json", "weights.safetensors"):
        assert (here.shipped / name).read_bytes() == (here.model / name).read_bytes()
    rows = pq.read_table(here.crossfit / "predictions.parquet")
    judged = pq.read_table(here.predictions / "test.parquet")
    assert all(rows[name].equals(judged["prediction"]) for name in ("prediction", "taught", "shipped"))
    report = read_json(here.refit)
    assert (report["days"], report["crossfit"], report["seen_until"]) == ([], None, report["judged_until"])
    assert read_json(here.evaluation)["advance"] is None


def test_refit_needs_an_evaluation_of_this_model(here: Workspace, quick: Params) -> None:
    """A model that was trained again is not shipped before it is judged."""
    train(here, quick)
    evaluate(here, quick)
    train(here, replace(quick, train=changed(quick.train, seed=5)))
    with pytest.raises(InputError, match="about another model or other features; run `dvc repro evaluate`"):
        refit(here, quick)


def _microseconds(time: str) -> int:
    return int(datetime.fromisoformat(time).timestamp() * 1e6)

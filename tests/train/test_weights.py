"""Rows that count differently, and the offset for negatives left out. Alone: `pytest tests/train/test_weights.py`."""

import math
import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from settings import changed
from torch.nn.functional import binary_cross_entropy_with_logits

from din.artifacts import MANIFEST, read_json, write_json
from din.features.days import days_of
from din.features.packing import Packer
from din.features.reader import Features
from din.featurize.build import featurize
from din.metrics.summary import summary
from din.params import Params, Train
from din.sources.fetch import fetch
from din.train.advance import advance
from din.train.compute import Compute
from din.train.fit import fit
from din.train.learner import Learner
from din.train.loader import TrainingLoader
from din.train.predict import predict
from din.train.weights import RowWeights
from din.workspace import Workspace
from tests.factories.features import write_features

DAY_US = 86_400_000_000
LAST = datetime(2024, 10, 3, 12, tzinfo=UTC)
KEPT = 0.2
RIGHT, WRONG = (0.85, 1.18), 1.5
"""The band of calibration, and the ratio that a model without the offset exceeds."""


def weighted(features: Features, factor: float = 1.0, **manifest: Any) -> Features:
    """Give rows random weights, some of them 0, and training rows times within ten days."""
    random = np.random.default_rng(3)
    for path in sorted(features.root.glob("shards/*/[tv]*.parquet")):
        rows = pq.read_table(path)
        times = int(LAST.timestamp() * 1e6) - random.integers(0, 10 * DAY_US, len(rows))
        place = rows.schema.get_field_index("timestamp")
        rows = rows.set_column(place, "timestamp", pa.array(times, pa.int64()))
        weights = factor * random.choice([0.0, 0.5, 1.0, 7.0], len(rows))
        pq.write_table(rows.append_column("weight", pa.array(weights)), path)
    written = read_json(features.root / MANIFEST)
    declared = {"params": {"weight": "importance"}, "train_until": LAST.isoformat()}
    write_json(features.root / MANIFEST, written | declared | manifest)
    return Features(features.root)


def expected(features: Features, half_life_days: float | None) -> list[list[float]]:
    """Return the weights of training rows by shard, row by row."""
    found = []
    for shard in features.shards("train"):
        rows = shard.impressions
        assert rows.weight is not None
        ages = [LAST - (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=int(t))) for t in rows.timestamp]
        halves = [age / timedelta(days=half_life_days) if half_life_days else 0.0 for age in ages]
        found.append([float(w) * 0.5**half for w, half in zip(rows.weight, halves, strict=True)])
    mean = sum(map(sum, found)) / sum(map(len, found))
    return [[weight / mean for weight in shard] for shard in found]


@pytest.mark.parametrize("half_life_days", [None, 2.0])
def test_weights_halve_with_age_and_are_1_on_average(half_life_days: float | None, features: Features) -> None:
    """Each row's weight equals the twin's, whatever the unit of the column."""
    for factor in (1.0, 1000.0):
        own = weighted(write_features(features.root.with_name(f"times {factor}")), factor)
        weights = RowWeights(own, half_life_days)
        found = [weights.of(shard.impressions, np.arange(len(shard.impressions))) for shard in own.shards("train")]
        for shard, twin in zip(found, expected(own, half_life_days), strict=True):
            np.testing.assert_allclose(shard, twin, rtol=1e-5)
        assert np.concatenate(found).mean() == pytest.approx(1, rel=1e-5)


def test_the_loss_weighs_rows_and_shifts_logits(features: Features, params: Params) -> None:
    """A step's loss is Σ w·l(z − ln r) / B, and its SGD update follows from it under plain autograd."""
    features = weighted(features, negatives={"log": 1.0, "training": KEPT})
    train = changed(params.train, optimizer="sgd", regularizer="none", unknown_rate=0.0, threads=1, activation="relu")
    packer = Packer(features)
    learner = Learner(features, train)
    loader = TrainingLoader(features, packer, 32, seed=1, half_life_days=2.0)
    batch = next(loader.epoch(0))
    assert batch.weights is not None
    before = {name: tensor.clone() for name, tensor in learner.weights().items()}
    logits = learner.model(learner.table.index_select(0, torch.from_numpy(batch.rows)), learner.inputs(batch).batch)
    losses = binary_cross_entropy_with_logits(
        logits - math.log(KEPT), torch.from_numpy(batch.packed.labels), reduction="none"
    )
    loss = (losses * torch.from_numpy(batch.weights)).sum() / len(batch.packed)
    names, weights = zip(*learner.model.named_parameters(), strict=True)
    gradients = torch.autograd.grad(loss, weights)
    learner.model.train()
    torch.testing.assert_close(learner.step(learner.inputs(batch), 0.3), loss.detach())
    for name, gradient in zip(names, gradients, strict=True):
        torch.testing.assert_close(learner.weights()[f"now.{name}"], before[f"now.{name}"] - 0.3 * gradient)


def test_held_out_days_have_weights_but_no_age_and_no_offset(features: Features) -> None:
    """A day's batches carry the column divided by training's mean; rows of training also carry −ln r."""
    features = weighted(features, negatives={"log": 1.0, "training": KEPT})
    mean = np.concatenate([features.weights(shard, "train") for shard in range(2)]).mean()
    (day, *_) = days_of(features, "test")
    loader = TrainingLoader(features, Packer(features), 1000, seed=1)
    for batch, shard, rows in zip(loader.day(day), features.shards("test"), day.positions, strict=True):
        assert shard.impressions.weight is not None
        np.testing.assert_allclose(batch.weights, shard.impressions.weight[rows] / mean, rtol=1e-6)
        assert batch.offset == 0
    first_of_training = days_of(features, "train")[0]
    for batches in (loader.epoch(0), loader.day(first_of_training)):
        assert {batch.offset for batch in batches} == {-math.log(KEPT)}


@pytest.fixture(scope="module")
def sampled(params: Params, tmp_path_factory: pytest.TempPathFactory) -> Features:
    """Return the features of a log with a CTR of about 8 %, of which training keeps a fifth of the negatives."""
    workspace = Workspace(tmp_path_factory.mktemp("sampled"))
    random = np.random.default_rng(4)
    rows = 24_000
    user, item = random.integers(0, 300, rows), random.integers(0, 60, rows)
    liked = random.normal(size=(300, 6))[user, item % 6]
    log = {"user_id": user, "item_id": item, "timestamp": 1_700_006_400 + np.sort(random.integers(0, 8 * 86_400, rows))}
    log["label"] = (random.random(rows) < 1 / (1 + np.exp(3.0 - liked))).astype(int)
    pq.write_table(pa.table(log), workspace.root / "clicks.parquet")
    table = replace(params.fetch.table, events="clicks.parquet")
    own = replace(params, fetch=replace(params.fetch, source="table", table=table))
    fetch(workspace, own)
    block = replace(params.featurize, protocol="temporal", keep_negatives=KEPT, fields={"user": {"user_id": "id"}})
    featurize(workspace, replace(own, featurize=block))
    return Features(workspace.features)


def calibration(features: Features, train: Train, advanced: bool = False) -> float:
    """Train, and return the mean prediction of the test rows over their CTR."""
    compute = Compute()
    trained, _ = fit(features, train, compute=compute)
    if advanced:
        learner = Learner(features, train, compute)
        learner.model.load_state_dict(trained.model.state_dict())
        learner.table.copy_(trained.table)
        trained = advance(learner, "valid").learner.trained
    found = predict(trained, features, "test", 1024, compute)
    ratio = summary(found.rows["label"], found.probabilities, found.rows["user"]).calibration_ratio
    assert ratio is not None
    return ratio


@pytest.fixture(scope="module")
def quick(params: Params) -> Train:
    """Return the settings of a small and quick training."""
    small = {"hidden": (16,), "attention_hidden": (8,), "embedding_dim": 8, "batch_size": 64}
    return changed(params.train, learning_rate=0.01, epochs=3, threads=1, metric="auc", **small)


@pytest.mark.parametrize("advanced", [False, True], ids=["trained", "advanced over a whole day"])
def test_a_model_of_kept_negatives_is_calibrated_on_the_whole_log(
    advanced: bool, sampled: Features, quick: Train
) -> None:
    """The mean prediction agrees with the CTR of test rows, which hold all negatives."""
    ratio = calibration(sampled, quick, advanced)
    assert RIGHT[0] < ratio < RIGHT[1], ratio


def test_a_model_without_the_offset_predicts_too_much(sampled: Features, quick: Train, tmp_path: Path) -> None:
    """The planted bug, features that do not say that negatives are missing, leaves the band."""
    root = shutil.copytree(sampled.root, tmp_path / "features")
    written = read_json(root / MANIFEST)
    del written["negatives"]
    write_json(root / MANIFEST, written)
    assert calibration(Features(root), quick) > WRONG

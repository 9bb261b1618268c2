"""Rows that count differently, and the offset for negatives left out. Alone: `pytest tests/train/test_weights.py`."""

import math
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
from din.metrics.summary import summary
from din.params import Params
from din.train.fit import fit
from din.train.learner import Learner
from din.train.loader import TrainingLoader
from din.train.predict import predict
from din.train.weights import RowWeights
from tests.factories.features import write_features

DAY_US = 86_400_000_000
LAST = datetime(2024, 10, 3, 12, tzinfo=UTC)
KEPT = 0.2


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


@pytest.mark.parametrize("told", [True, False])
def test_a_model_of_kept_negatives_is_calibrated_on_the_whole_log(told: bool, tmp_path: Path, params: Params) -> None:
    """Its mean prediction is the CTR of test rows, which hold all negatives; without the offset it is far higher."""
    features = write_features(tmp_path, users=200, impressions=30)
    random = np.random.default_rng(4)
    for path in features.root.glob("shards/*/train.parquet"):
        rows = pq.read_table(path)
        kept = (rows["label"].to_numpy() == 1) | (random.random(len(rows)) < KEPT)
        pq.write_table(rows.filter(pa.array(kept)), path)
    if told:
        written = read_json(features.root / MANIFEST)
        write_json(features.root / MANIFEST, written | {"negatives": {"log": 1.0, "training": KEPT}})
    train = changed(params.train, name="lr", learning_rate=0.02, epochs=4, batch_size=64, threads=1, metric="auc")
    trained, _ = fit(Features(features.root), train)
    found = predict(trained, features, "test", 1024)
    ratio = summary(found.rows["label"], found.probabilities, found.rows["user"]).calibration_ratio
    assert ratio is not None
    assert (0.85 < ratio < 1.18) == told, ratio

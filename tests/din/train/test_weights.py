"""A training step as an equation, with rows that count differently, and the offset for negatives left out."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from din.base.artifacts import MANIFEST, read_json, write_json
from din.base.errors import InputError
from din.features.day_rows import days_of
from din.features.packing import Packer
from din.features.reader import Features
from din.model.embedding import to_tensors
from din.ops import backend
from din.ops.backend import Backend
from din.params.reading import Params
from din.release.gates.earlier_champion import among_rows
from din.train.fit import fit
from din.train.learner import Learner
from din.train.loader import TrainingLoader
from din.train.optimizers import row_decay
from din.train.predict import predict
from din.train.weights import RowWeights
from tests.factories.features import rewrite, write_features
from tests.helpers.backends import both_backends
from tests.helpers.settings import changed

KEPT = 0.2


def weighted(features: Features, factor: float = 1.0, **manifest: Any) -> Features:
    """Give rows random weights, some of them 0."""
    random = np.random.default_rng(3)
    for path in sorted(features.root.glob("shards/*/[tv]*.parquet")):
        rows = pq.read_table(path)
        weights = factor * random.choice([0.0, 0.5, 1.0, 7.0], len(rows))
        pq.write_table(rows.append_column("weight", pa.array(weights)), path)
    written = read_json(features.root / MANIFEST)
    write_json(features.root / MANIFEST, written | {"params": {"weight": "importance"}} | manifest)
    return Features(features.root)


def test_weights_are_1_on_average(features: Features) -> None:
    """They keep their ratios, whatever the unit of the column."""
    for factor in (1.0, 1000.0):
        own = weighted(write_features(features.root.with_name(f"times {factor}")), factor)
        rows = [shard.impressions for shard in own.shards("train")]
        weights = RowWeights(own)
        scaled = np.concatenate([weights.of(shard, np.arange(len(shard))) for shard in rows])
        column = np.concatenate([shard.weight for shard in rows if shard.weight is not None])
        np.testing.assert_allclose(scaled, column / column.mean(), rtol=1e-5)


def test_weights_that_are_all_0_are_refused(features: Features) -> None:
    """The message names the column."""
    with pytest.raises(InputError, match="'importance' is 0 in every training row"):
        RowWeights(weighted(features, factor=0.0))


@both_backends
@pytest.mark.parametrize(("activation", "counted"), [("relu", False), ("dice", False), ("dice", True)])
def test_a_step_is_equation_7(
    backend_name: Backend, activation: str, counted: bool, features: Features, params: Params
) -> None:
    """SGD makes w − η(∂L/∂w + λ/n_j·w) of embeddings and w − η·∂L/∂w of others, where L is Σ w·l(z − ln r) / B."""
    if counted:
        features = weighted(features, negatives={"log": 1.0, "training": KEPT})
    changes = {"optimizer": "sgd", "activation": activation, "regularization": 3.0, "unknown_rate": 0.0, "threads": 1}
    train, eta = changed(params.train, **changes), 0.3
    plain = Learner(features, train)
    loader = TrainingLoader(features, Packer(features), 32, seed=1)
    batch = next(loader.epoch(0))
    rows = torch.from_numpy(batch.rows)
    before = {name: tensor.clone() for name, tensor in plain.weights().items()}
    leaf = before["now.table"].clone().requires_grad_()
    logits = plain.model(leaf.index_select(0, rows), to_tensors(batch.packed, rows))
    labels = torch.from_numpy(batch.packed.labels)
    if counted:
        assert batch.weights is not None
        losses = binary_cross_entropy_with_logits(logits - math.log(KEPT), labels, reduction="none")
        loss = (losses * torch.from_numpy(batch.weights)).sum() / len(labels)
    else:
        loss = binary_cross_entropy_with_logits(logits, labels)
    names, weights = zip(*plain.model.named_parameters(), strict=True)
    table, *dense = torch.autograd.grad(loss, [leaf, *weights])
    inside = torch.zeros(len(leaf), 1).index_fill_(0, rows, 1)
    decay = row_decay(features, train.learning).unsqueeze(1) * inside
    penalised = before["now.table"].clone()
    penalised[:, : plain.model.linear] = 0
    with backend.using(backend_name):
        learner = Learner(features, train)
        learner.model.train()
        found = learner.step(learner.inputs(batch), eta)
    torch.testing.assert_close(found, loss.detach())
    torch.testing.assert_close(learner.table, before["now.table"] - eta * (table + decay * penalised))
    for name, gradient in zip(names, dense, strict=True):
        torch.testing.assert_close(learner.weights()[f"now.{name}"], before[f"now.{name}"] - eta * gradient)


def test_held_out_days_have_weights_but_no_offset(features: Features) -> None:
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


def test_a_model_of_a_sampled_log_gives_rates_of_the_traffic(tmp_path: Path, params: Params) -> None:
    """The log lacks most negatives everywhere. Predictions are those of its rows, and the model's are the traffic's."""
    features = write_features(tmp_path, users=200, impressions=30)
    train = changed(params.train, name="lr", learning_rate=0.02, epochs=4, batch_size=64, threads=1, metric="auc")
    whole, _ = fit(features, train)
    traffic = predict(whole.trained, features, "test").metrics
    random = np.random.default_rng(4)

    def kept(rows: pa.Table) -> pa.Table:
        return rows.filter(pa.array((rows["label"].to_numpy() == 1) | (random.random(len(rows)) < KEPT)))

    for split in ("train", "valid", "test"):
        rewrite(features, split, kept)
    written = read_json(features.root / MANIFEST)
    write_json(features.root / MANIFEST, written | {"negatives": {"log": KEPT, "training": 1.0}})
    sampled = Features(features.root)
    learner, _ = fit(sampled, train)
    found = predict(learner.trained, sampled, "test")
    ratio, ctr = found.metrics.calibration_ratio, found.metrics.ctr
    assert ratio is not None and ctr is not None and traffic.ctr is not None
    assert 0.85 < ratio < 1.18 and ctr > 1.3 * traffic.ctr
    served = 1 / (1 + np.exp(-(found.logits - sampled.offset("test"))))
    negatives = np.where(found.rows["label"] == 1, 1.0, 1 / KEPT)  # each stands for so many rows of the traffic
    assert 0.85 < (served * negatives).sum() / found.rows["label"].sum() < 1.18
    np.testing.assert_allclose(among_rows(served, sampled.offset("test")), found.probabilities, rtol=1e-9)


@pytest.mark.parametrize("told", [True, False])
def test_a_model_of_kept_negatives_is_calibrated_on_the_whole_log(told: bool, tmp_path: Path, params: Params) -> None:
    """The mean prediction is near the CTR of the test rows, which have all negatives, but not without the offset."""
    features = write_features(tmp_path, users=200, impressions=30)
    random = np.random.default_rng(4)

    def kept(rows: pa.Table) -> pa.Table:
        return rows.filter(pa.array((rows["label"].to_numpy() == 1) | (random.random(len(rows)) < KEPT)))

    rewrite(features, "train", kept)
    if told:
        written = read_json(features.root / MANIFEST)
        write_json(features.root / MANIFEST, written | {"negatives": {"log": 1.0, "training": KEPT}})
    train = changed(params.train, name="lr", learning_rate=0.02, epochs=4, batch_size=64, threads=1, metric="auc")
    learner, _ = fit(Features(features.root), train)
    found = predict(learner.trained, features, "test", 1024)
    ratio = found.metrics.calibration_ratio
    assert ratio is not None
    assert (0.85 < ratio < 1.18) == told

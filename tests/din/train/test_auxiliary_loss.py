"""Losses of plugins' models: DIEN's, which predicts the next behaviour against a drawn item, and one over requests."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from din.bundle.parity import check_parity
from din.features.packing import Packer
from din.features.reader import Features
from din.model import MODELS
from din.model.embedding_mlp import EmbeddingMLP
from din.ops.inputs import encode
from din.params.reading import Params
from din.schema import Group
from din.train.compute import computing
from din.train.learner import Learner
from din.train.loader import TrainingBatch, TrainingLoader
from tests.factories.bundles import build
from tests.factories.features import rewrite, with_times
from tests.helpers.settings import changed


class NextBehaviour(EmbeddingMLP):
    """The mean of the behaviours, whose projection must tell the next item from a drawn one."""

    reads_negatives = True

    def __init__(self, fields, params) -> None:
        super().__init__(fields, params)
        self.project = nn.Linear(self.key_width, self.query_width)

    def pool(self, query_BD, keys, histories):
        return histories.mean(keys.rows())

    def margins(self, table_RW: Tensor, batch) -> Tensor:
        """Return how much more the projections favour the next items than the drawn ones."""
        embedded, _ = self.embed(table_RW, batch, len(batch.candidate))
        _, keys = encode(embedded, batch.places)
        now = (batch.segment[1:] == batch.segment[:-1]).nonzero().squeeze(1)
        following_D = embedded.items_UD[batch.behaviour[now + 1]]
        drawn_D = embedded.items_UD[batch.negative[now + 1]]
        return (self.project(keys.rows()[now]) * (following_D - drawn_D)).sum(1)

    def loss(self, table_RW, batch, logits_B, labels_B, weights_B):
        clicks = super().loss(table_RW, batch, logits_B, labels_B, weights_B)
        return clicks + softplus(-self.margins(table_RW, batch)).sum()


@pytest.fixture(scope="module", autouse=True)
def registered() -> None:
    MODELS.register("next_behaviour")(NextBehaviour)


def test_the_auxiliary_loss_is_learned(features: Features, params: Params) -> None:
    """The next behaviours come to be preferred, and the rows of drawn items are learned too."""
    train = changed(params.train, name="next_behaviour", hidden=(8,), batch_size=32, embedding_std=0.1, threads=1)
    with computing(train.compute) as compute:
        learner = Learner(features, train, compute)
        learner.model.train()
        steps = [learner.inputs(batch) for batch in learner.loader().epoch(0)]
        before = learner.table.clone()

        def preferred() -> float:
            model = learner.model
            assert isinstance(model, NextBehaviour)
            with torch.no_grad():
                every = [model.margins(learner.table[step.rows], step.batch) for step in steps]
            return float(softplus(-torch.cat(every)).mean())

        first = preferred()
        for step in steps * 5:
            learner.step(step, 0.01)
    assert preferred() < first - 0.05
    assert steps[0].batch.negative is not None
    drawn = steps[0].batch.negative.unique()
    alone = drawn[~torch.isin(drawn, torch.cat([steps[0].batch.behaviour, steps[0].batch.candidate]))]
    assert len(alone)
    ids = steps[0].rows[steps[0].batch.lookups[Group.ITEM][0].ids[alone]]
    assert (learner.table[ids] != before[ids]).any(1).all()


def negatives(batch: TrainingBatch) -> np.ndarray:
    assert batch.packed.negative is not None
    return batch.packed.negative


def test_negatives_follow_from_the_seed(features: Features) -> None:
    """A later start draws the same items. Batches of evaluation, and of models that read none, hold none."""
    loader = TrainingLoader(features, Packer(features, negatives=True), 20, seed=5)
    whole, resumed = list(loader.epoch(1)), list(loader.epoch(1, start=2))
    for one, other in zip(whole[2:], resumed, strict=True):
        assert np.array_equal(one.rows, other.rows)
        assert negatives(one).tolist() == negatives(other).tolist()
    assert negatives(whole[0]).tolist() != negatives(whole[1]).tolist()
    shard = features.shard(0, "train")
    assert Packer(features, negatives=True).pack(shard, np.arange(9)).negative is None
    assert Packer(features).pack(shard, np.arange(9), np.random.default_rng(1)).negative is None


@pytest.mark.parametrize("size", [5, 1000])
def test_requests_are_learned_side_by_side(features: Features, size: int) -> None:
    """An epoch visits all rows, in an order that is not the file's, and cuts a request at the end of a batch only."""
    rewrite(features, "train", lambda rows: with_times(rows, rows["timestamp"].to_numpy() // 8))
    real = set()
    for number in range(features.manifest.shards):
        rows = features.shard(number, "train").impressions
        real |= set(zip(rows.user.tolist(), rows.timestamp.tolist(), strict=True))
    loader = TrainingLoader(features, Packer(features, requests=True), size, seed=5)
    first, second = list(loader.epoch(0)), list(loader.epoch(1))
    requests = 0
    for batch in first:
        assert batch.packed.user is not None and batch.packed.request is not None
        users = set(zip(batch.packed.request.tolist(), batch.packed.user.tolist(), strict=True))
        assert len(users) == len(np.unique(batch.packed.request))
        requests += len(users)
    rows = sum(features.split_rows("train"))
    assert sum(len(batch.packed) for batch in first) == rows
    assert len(real) <= requests < min(len(real) + len(first), rows)
    assert [batch.packed.user.tolist() for batch in first] != [batch.packed.user.tolist() for batch in second]


@pytest.mark.slow
def test_it_is_exported(tmp_path: Path, params: Params) -> None:
    """The auxiliary loss leaves no trace in the graphs, and parity holds."""
    train = changed(params.train, name="next_behaviour")
    finished = build(tmp_path, replace(params, train=train))
    check_parity(finished.here, finished.params)
    assert finished.parity()["verdict"] == "open"

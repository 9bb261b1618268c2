"""The loop over epochs: which is kept, the mean of its last weights, and embeddings that start anew in each."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from din.contracts.facts import Metrics
from din.features.reader import Features
from din.params.reading import Params
from din.train import fit as loop
from din.train import predict
from din.train.compute import CPU_ALONE
from din.train.fit import SNAPSHOTS, moments
from din.train.learner import Learner, StepInputs
from tests.factories import documents_of
from tests.helpers.settings import changed
from tests.helpers.states import copied


@given(steps=st.integers(1, 3000), share=st.floats(0, 1))
def test_moments_are_spread_evenly_over_the_last_steps(steps: int, share: float) -> None:
    """They ascend to the last step, lie in the share, are at most SNAPSHOTS, and no gap exceeds another by two."""
    found = moments(steps, share)
    span = max(1, round(steps * share))
    gaps = [later - earlier for earlier, later in pairwise([steps - span, *found])]
    assert found[-1] == steps
    assert len(found) == min(span, SNAPSHOTS)
    assert 1 <= min(gaps) <= max(gaps) <= min(gaps) + 1


class Recorder:
    """Keeps a copy of a learner's state before each epoch's first step, and after each step."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.starts: list[dict[str, Tensor]] = []
        self.steps: list[dict[str, Tensor]] = []
        step = Learner.step

        def recorded(learner: Learner, inputs: StepInputs, rate: float) -> Tensor:
            if inputs.number == 0:
                self.starts.append(copied(learner.state()))
            loss = step(learner, inputs, rate)
            self.steps.append(copied(learner.state()))
            return loss

        monkeypatch.setattr(Learner, "step", recorded)


def test_an_epoch_ends_with_the_mean_of_its_last_weights(features: Features, params: Params, monkeypatch) -> None:
    """Half of an epoch's steps are averaged. The next epoch starts with the mean, which is validated too."""
    train = changed(params.train, epochs=2, batch_size=32, hidden=(8,), threads=1, average=0.5, activation="relu")
    recorder = Recorder(monkeypatch)
    trainer = loop._Trainer(features, train, None, CPU_ALONE)
    trainer.run_epoch()
    first_epoch = list(recorder.steps)
    validated = {name: own for name, own in trainer.best_state.items() if name.startswith("now.")}
    trainer.run_epoch()
    taken = [first_epoch[number - 1] for number in moments(len(first_epoch), 0.5)]
    assert 1 < len(taken) < len(first_epoch)
    for name, tensor in validated.items():
        torch.testing.assert_close(tensor, torch.stack([weights[name] for weights in taken]).mean(0))
        assert torch.equal(recorder.starts[1][name], tensor)


def test_renewed_embeddings_start_at_random_each_epoch(features: Features, params: Params, monkeypatch) -> None:
    """Each later epoch starts with a table and an optimizer that are new; the rest of the model goes on."""
    train = changed(params.train, renew_embeddings=True, epochs=3, batch_size=64, hidden=(8,), threads=1, patience=9)
    recorder = Recorder(monkeypatch)
    ends: list[dict[str, Tensor]] = []
    unused = Learner(features, train).state()
    trainer = loop._Trainer(features, train, None, CPU_ALONE)
    for _ in range(3):
        trainer.run_epoch()
        ends.append(copied(trainer.learner.state()))
    for start, end in zip(recorder.starts[1:], ends[:-1], strict=True):
        for name, tensor in start.items():
            is_new = name == "now.table" or name.startswith("sparse.")
            assert torch.equal(tensor, end[name]) != is_new, name
            assert not name.startswith("sparse.") or torch.equal(tensor, unused[name])
    tables = [start["now.table"] for start in recorder.starts]
    assert not torch.equal(tables[1], tables[2])
    for table in tables:
        torch.testing.assert_close(table.std(), unused["now.table"].std(), rtol=0.05, atol=0)


def test_the_best_epoch_of_the_chosen_metric_is_kept(features: Features, params: Params, monkeypatch) -> None:
    """GAUC peaks in epoch 2: training stops `patience` epochs later with its weights. The rate decays by steps."""
    gauc, seen, rates = iter([0.5, 0.7, 0.6, 0.6, 0.9]), [], []
    step = Learner.step

    def scripted(labels, probabilities, users):
        seen.append({name: tensor.clone() for name, tensor in trainer.learner.weights().items()})
        return Metrics(**documents_of.METRICS | {"gauc": next(gauc), "auc": len(seen) / 10})

    def noted(self, inputs, rate):
        rates.append(rate)
        return step(self, inputs, rate)

    monkeypatch.setattr(predict, "summary", scripted)
    monkeypatch.setattr(Learner, "step", noted)
    train = changed(params.train, epochs=9, patience=2, metric="gauc", threads=1, decay=0.5, hidden=(8,))
    trainer = loop._Trainer(features, train, None, CPU_ALONE)
    while trainer.wants_epoch():
        trainer.run_epoch()
    assert (trainer.progress.epoch, trainer.progress.best_epoch) == (4, 1)
    assert all(torch.equal(trainer.best_state[name], tensor) for name, tensor in seen[1].items())
    steps = len(rates) // 4
    assert rates == pytest.approx([0.001 * 0.5 ** (number // steps) for number in range(len(rates))])

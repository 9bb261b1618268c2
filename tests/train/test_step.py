"""One step and the loop around it, compared with equations. Alone: `pytest tests/train/test_step.py`."""

import pytest
import torch
from backends import both_backends
from settings import changed
from torch.nn.functional import binary_cross_entropy_with_logits

from din.facts import Metrics
from din.features.packing import Packer
from din.features.reader import Features
from din.model.embedding import to_tensors
from din.ops import backend
from din.ops.backend import Backend
from din.params import Params
from din.train import fit as loop
from din.train.compute import CPU_ALONE
from din.train.learner import Learner
from din.train.loader import TrainingLoader
from din.train.optimizers import row_decay
from tests.factories import documents_of


@both_backends
@pytest.mark.parametrize("activation", ["relu", "dice"])
def test_a_step_is_equation_7(backend_name: Backend, activation: str, features: Features, params: Params) -> None:
    """SGD makes w − η(∂L/∂w + λ/n_j·w) of embeddings, and w − η·∂L/∂w of others, with L the mean loss by autograd."""
    changes = {"optimizer": "sgd", "activation": activation, "regularization": 3.0, "unknown_rate": 0.0, "threads": 1}
    train = changed(params.train, **changes)
    packer = Packer(features)
    plain = Learner(features, train)
    batch = next(TrainingLoader(features, packer, 32, seed=1).epoch(0))
    rows, eta = torch.from_numpy(batch.rows), 0.3
    before = {name: tensor.clone() for name, tensor in plain.weights().items()}
    leaf = before["now.table"].clone().requires_grad_()
    logits = plain.model(leaf.index_select(0, rows), to_tensors(batch.packed, rows))
    loss = binary_cross_entropy_with_logits(logits, torch.from_numpy(batch.packed.labels))
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

    monkeypatch.setattr(loop, "summary", scripted)
    monkeypatch.setattr(Learner, "step", noted)
    train = changed(params.train, epochs=9, patience=2, metric="gauc", threads=1, decay=0.5, decay_steps=7, hidden=(8,))
    trainer = loop._Trainer(features, train, None, CPU_ALONE)
    while trainer.wants_epoch():
        trainer.run_epoch()
    assert (trainer.progress.epoch, trainer.progress.best_epoch) == (4, 1)
    assert all(torch.equal(trainer.best_state[name], tensor) for name, tensor in seen[1].items())
    assert len(rates) > 7
    assert rates == pytest.approx([0.001 * 0.5 ** (number // 7) for number in range(len(rates))])

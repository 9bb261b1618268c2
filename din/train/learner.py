"""A model, its embedding table and their optimizers: what one training step changes.

A step touches the table's rows of its batch only. The whole state is a flat dictionary of tensors: a run that loads it
goes on with the same bits.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from din.eventlog.packing import Packer
from din.eventlog.reader import Features
from din.model.artifact import Trained
from din.model.din import build
from din.model.embedding import to_tensors
from din.model.sequences import resolve
from din.params import Train
from din.train.compilation import compiled
from din.train.loader import TrainingBatch
from din.train.optimizers import dense_optimizer, table_optimizer
from din.train.regularization import row_decay


class Learner:
    """A fresh model of `params.model`; `step` trains it.

    Args:
        first: the run's first batch, to compile the step for; None = it runs eagerly.
    """

    def __init__(self, features: Features, packer: Packer, params: Train, first: TrainingBatch | None = None) -> None:
        self._params = params
        sequences = resolve(params.sequences, features)
        self.model, self.table = build(features.fields, packer.layout, params, sequences)
        self._dense = dense_optimizer(params.optimizer, list(self.model.parameters()), params.learning_rate)
        self._sparse = table_optimizer(params, self.table, row_decay(features, params))
        self._forward: Callable[..., Tensor] = self.model
        if first is not None:
            self.model.train()
            self._forward = compiled(self.model, lambda graph: self._gradient(graph, first, 0))

    @property
    def trained(self) -> Trained:
        """The model as it is now, not a copy."""
        return Trained(self.model, self.table)

    def step(self, batch: TrainingBatch, epoch: int, rate: float) -> float:
        """One update at learning rate η; the batch's mean loss before it. The model must be in training mode."""
        for group in self._dense.param_groups:
            group["lr"] = rate
        self._dense.zero_grad()
        loss, rows, leaf = self._gradient(self._forward, batch, epoch)
        assert leaf.grad is not None
        if self._params.clip_norm:
            torch.nn.utils.clip_grad_norm_([*self.model.parameters(), leaf], self._params.clip_norm)
        self._dense.step()
        self._sparse.step(rows, leaf.grad, rate)
        return loss.item()

    def _gradient(
        self, forward: Callable[..., Tensor], batch: TrainingBatch, epoch: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Mean loss, rows [R] of the table and their values [R, W], which hold their gradient; so do the parameters."""
        if self._params.dropout:  # drawn from (seed, epoch, batch), so a resumed run drops the same
            seed = np.random.SeedSequence([self._params.seed, epoch, batch.number]).generate_state(1)[0]
            torch.manual_seed(int(seed))
        rows = torch.from_numpy(batch.rows)
        leaf = self.table.index_select(0, rows).requires_grad_()
        logits = forward(leaf, to_tensors(batch.packed, rows))
        loss = binary_cross_entropy_with_logits(logits, torch.from_numpy(batch.packed.labels))
        loss.backward()
        return loss, rows, leaf

    def weights(self) -> dict[str, Tensor]:
        """Everything the model computes with, by name; not copies."""
        return {**self.model.state_dict(), "table": self.table}

    def state(self) -> dict[str, Tensor]:
        """Weights and the optimizers' state, to checkpoint."""
        tensors = {f"now.{name}": tensor for name, tensor in self.weights().items()}
        tensors |= {f"sparse.{name}": tensor for name, tensor in self._sparse.state().items()}
        for parameter, state in self._dense.state_dict()["state"].items():
            tensors |= {f"dense.{parameter}.{key}": value for key, value in state.items()}
        return tensors

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """Go on from a `state()`; other names are ignored."""
        self.model.load_state_dict({name: tensors[f"now.{name}"] for name in self.model.state_dict()})
        self.table.copy_(tensors["now.table"])
        for name, tensor in self._sparse.state().items():
            tensor.copy_(tensors[f"sparse.{name}"])
        state = self._dense.state_dict()
        for name, tensor in tensors.items():
            if name.startswith("dense."):
                _, parameter, key = name.split(".")
                state["state"].setdefault(int(parameter), {})[key] = tensor
        self._dense.load_state_dict(state)

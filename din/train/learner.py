"""A model, its embedding table and their optimizers: everything that a training step changes.

Except under the regularizer `l2_full`, a step touches only the table rows of its batch. The whole state is a flat
dictionary of tensors. A run that loads it continues with the same bits.
"""

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from din.base.errors import InputError
from din.features.packing import Packer, TableLayout
from din.features.reader import Features
from din.model.artifact import Trained
from din.model.blend import Blend
from din.model.embedding import Batch, to_tensors
from din.model.model import build
from din.ops.dense_update import dense_optimizer
from din.ops.dice import Dice, batches_weigh
from din.ops.whole_step import Fields, Labels, fields_fit
from din.params.train import LearningParams, Train
from din.schema import Group
from din.train.compute import CPU_ALONE, Compute, in_large_pages, moved
from din.train.item_bias import start_at_ctr
from din.train.loader import Key, TrainingBatch, TrainingLoader
from din.train.optimizers import TableOptimizer, row_decay
from din.train.shared_rows import SharedRows

_FORMER = 256
"""The largest number of impressions that the old averages count for when the statistics of Dice are measured again."""


class StepInputs(NamedTuple):
    """The inputs of a training step, on the device that computes it."""

    number: int  # of the batch in its epoch or day
    key: Key  # seeds the dropped units
    offset: float  # added to the logits in the loss
    weights: Tensor | None  # float32 [B], of the impressions in the loss
    labels: Tensor  # float32 [B]
    rows: Tensor  # int64 [U], the distinct rows of the joint table that the batch touches
    batch: Batch  # its ids are positions in `rows`

    @property
    def impressions(self) -> int:
        """B, the number of impressions."""
        return len(self.labels)


class Learner:
    """A new model, which `step` trains.

    Attributes:
        features: the features whose ids have rows in the table.
        layout: the rows of the table.
        params: its settings.
        compute: `params.compute`, resolved.
    """

    def __init__(self, features: Features, params: Train, compute: Compute = CPU_ALONE) -> None:
        self.features = features
        self.layout = TableLayout.of(features.fields, features.rows)
        self.params = params
        self.compute = compute
        self._learning = params.learning
        model, table = build(features.fields, self.layout, params)
        if params.learning.initial_item_bias == "ctr":
            start_at_ctr(features, self.layout, table)
        with torch.no_grad():
            model.constant.sub_(features.offset("train"))  # so that training starts as it would without an offset
        self.model, self.table = model.to(compute.device), in_large_pages(table.to(compute.device))
        self._parameters = list(self.model.parameters())
        self._dense = dense_optimizer(params.learning.optimizer, self._parameters)
        self._network = self.model.network()
        decay = row_decay(features, params.learning).to(compute.device)
        self._sparse = TableOptimizer(params.learning, self.table, decay, self.model.linear)

    @property
    def trained(self) -> Trained:
        """The model in its current state, not a copy."""
        return Trained(self.model, self.table)

    def finish(self) -> Trained:
        """Move the model to the CPU, set it to evaluation mode, and return it."""
        return Trained(self.model.cpu().eval(), self.table.cpu())

    def attach(self, blend: Blend | None) -> None:
        """Give the model a blend, made for the ids that this learner knows. Training steps leave it out."""
        self.model.blend = blend and blend.placed(self.features.fields, self.layout).to(self.compute.device)

    def loader(self) -> TrainingLoader:
        """Return the batches that train this model. They hold ages, negatives and requests if it reads them."""
        packer = Packer(
            self.features,
            self._learning.unknown_rate,
            ages=self.model.reads_ages,
            negatives=self.model.reads_negatives,
            requests=self.model.reads_requests,
        )
        return TrainingLoader(self.features, packer, self._learning.batch_size, self._learning.seed)

    def inputs(self, batch: TrainingBatch) -> StepInputs:
        """Return a batch as tensors on the device. The loader's thread calls this."""
        weights = None if batch.weights is None else torch.from_numpy(batch.weights)
        labels = torch.from_numpy(batch.packed.labels)
        rows = torch.from_numpy(batch.rows)
        tensors = moved((weights, labels, rows, to_tensors(batch.packed, rows)), self.compute.device)
        return StepInputs(batch.number, batch.key, batch.offset, *tensors)

    def step(self, inputs: StepInputs, rate: float) -> Tensor:
        """Update the model from one batch at a learning rate, and return the mean loss before the update, a scalar.

        The model must be in training mode. The loss stays on the device.
        """
        loss, gradient = self._gradient(inputs)
        self._dense.step(rate)
        self._sparse.step(inputs.rows, gradient, rate)
        return loss

    def _gradient(self, inputs: StepInputs) -> tuple[Tensor, Tensor]:
        """Return the mean loss, a scalar, and the gradient of the table's rows [U, W]. The parameters get theirs."""
        leaf = self.table.index_select(0, inputs.rows)
        batch = inputs.batch
        fields = Fields(batch.lookups[Group.ITEM], batch.lookups[Group.BEHAVIOUR], batch.profile)
        if self._network and fields_fit(fields):
            labels = Labels(inputs.labels, inputs.weights, inputs.offset)
            return self._network.gradient(leaf, fields, batch.places, labels)
        leaf.requires_grad_()
        for parameter in self._parameters:
            parameter.grad = None
        logits = self._logits(leaf, inputs)
        shifted = logits + inputs.offset if inputs.offset else logits
        loss = self.model.loss(leaf, inputs.batch, shifted, inputs.labels, inputs.weights) / inputs.impressions
        loss.backward()
        assert leaf.grad is not None
        return loss.detach(), leaf.grad

    @torch.no_grad()
    def logits(self, inputs: StepInputs) -> Tensor:
        """Return the logits [B] of a batch in evaluation mode. The model must be in training mode, and stays in it."""
        self.model.eval()
        logits = self._logits(self.table.index_select(0, inputs.rows), inputs)
        self.model.train()
        return logits

    def settle(self, batches: Iterable[StepInputs]) -> None:
        """Measure the statistics of Dice again, on `batches`, and change no weight.

        A step changes the weights after it has measured the hidden values, so the moving averages describe the model of
        some twenty steps ago, and evaluation applies them to the current weights. This replaces them by the mean over
        all batches, weighted by impressions. The old averages count for one batch, at most `_FORMER` impressions, so
        that a few rows change little.

        The model must be in training mode.
        """
        if not any(isinstance(module, Dice) for module in self.model.modules()):
            return
        seen = min(self._learning.batch_size, _FORMER)
        for inputs in batches:
            seen += inputs.impressions
            with torch.no_grad(), batches_weigh(inputs.impressions / seen):
                self._logits(self.table.index_select(0, inputs.rows), inputs)

    def _logits(self, rows_UW: Tensor, inputs: StepInputs) -> Tensor:
        """Return the logits [B] of a batch, given the table's rows."""
        if self._learning.dropout:  # so that a resumed run drops the same units
            torch.manual_seed(int(np.random.SeedSequence(inputs.key).generate_state(1)[0]))
        return self.model(rows_UW, inputs.batch)

    def weights(self) -> dict[str, Tensor]:
        """Return all tensors that the model computes with, by name. They are not copies."""
        return {f"now.{name}": tensor for name, tensor in self.model.state_dict().items()} | {"now.table": self.table}

    def optimizers(self) -> dict[str, Tensor]:
        """Return the state of the optimizers, by name. The tensors are not copies."""
        sparse = {f"sparse.{name}": tensor for name, tensor in self._sparse.state.items()}
        return sparse | {f"dense.{name}": tensor for name, tensor in self._dense.state().items()}

    def state(self) -> dict[str, Tensor]:
        """Return the weights and the state of the optimizers, to save in a checkpoint."""
        return self.weights() | self.optimizers()

    def load_weights(self, tensors: dict[str, Tensor]) -> None:
        """Copy the weights from an earlier `weights()` of the same layout. Tensors with other names are ignored."""
        self.model.load_state_dict({name: tensors[f"now.{name}"] for name in self.model.state_dict()})
        self.table.copy_(tensors["now.table"])

    def take_table(self, other: "Learner") -> None:
        """Copy the table of a learner of the same layout, and the state of its optimizer."""
        self.table.copy_(other.table)
        state = other._sparse.state
        for name, tensor in self._sparse.state.items():
            tensor.copy_(state[name])

    def load_state(self, tensors: dict[str, Tensor], shared: SharedRows | None = None) -> None:
        """Continue from an earlier `state()`. Tensors with other names are ignored.

        Args:
            shared: the rows that the earlier table has in common with this one. Other rows keep their initial values
                and the initial state of their optimizer. None: both tables have the same layout.
        """
        self.model.load_state_dict({name: tensors[f"now.{name}"] for name in self.model.state_dict()})
        by_row = {"now.table": self.table} | {f"sparse.{name}": tensor for name, tensor in self._sparse.state.items()}
        for name, tensor in by_row.items():
            if shared is None or tensor.dim() == 0:
                tensor.copy_(tensors[name])
            else:
                shared.copy(tensors[name], tensor)
        dense = {name: tensor for name, tensor in tensors.items() if name.startswith("dense.")}
        self._dense.load_state({name.removeprefix("dense."): tensor for name, tensor in dense.items()})


class Diverged(InputError):
    """Training diverged: its loss is not finite."""


def check_loss(loss: float, place: str, learning: LearningParams) -> None:
    """Check that a loss is finite.

    Args:
        loss: a mean or a sum.
        place: where it was computed, e.g. "in epoch 3, batch 5".
        learning: the settings that the message names.

    Raises:
        Diverged: it is not finite.
    """
    if not math.isfinite(loss):
        raise Diverged(
            f"the loss is {loss} {place}; "
            f"lower train.learning.learning_rate (now {learning.learning_rate}), under sgd also "
            f"train.learning.regularization (now {learning.regularization}), or check numeric fields for extremes"
        )

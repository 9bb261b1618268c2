"""The training loop: from packed batches to the weights of the epoch with the best validation metric.

An epoch ends with the mean of the weights over its last steps (`din.train.averaging`). The mean is validated, and the
next epoch goes on from it. With `renew_embeddings`, each epoch starts with a new table and keeps the rest of the model
(MEDA, arXiv 2305.19531). Embeddings of rare ids learn single rows by heart in one epoch. Where the first epoch is the
best one for that reason, the rest of the model had little time to learn.

State is saved every few minutes and after every epoch. A run that is killed at any point and started again ends with
the same weights, bit for bit, on a CPU with the same number of threads.
"""

import time
from collections import deque
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from din.errors import InputError, listed
from din.features.packing import Packer
from din.features.reader import Features
from din.metrics.summary import summary
from din.model.artifact import Trained
from din.params import Train
from din.progress import track
from din.train import checkpoint
from din.train.averaging import moments, take_in
from din.train.checkpoint import Progress
from din.train.compute import CPU_ALONE, Compute
from din.train.learner import Inputs, Learner, check_loss
from din.train.loader import TrainingLoader, prefetch
from din.train.memory import keep_freed_memory
from din.train.optimizers import learning_rate
from din.train.predict import EVALUATION_BATCH, predict
from din.train.warm_start import Start

_SETTLING = 2_048
"""The impressions, the last ones of an epoch, on which the statistics of Dice are measured again."""


def fit(
    features: Features,
    params: Train,
    checkpoint_path: Path | None = None,
    start: Start | None = None,
    compute: Compute = CPU_ALONE,
) -> tuple[Trained, Progress]:
    """Train a model, and stop when the validation metric no longer improves.

    Args:
        checkpoint_path: the file in which state is saved, and from which the run resumes. None: neither.
        start: an earlier model to start from. None: start from random weights.
        compute: `params.compute`, resolved.

    Returns:
        The model of the best epoch, and the progress of training.

    Raises:
        InputError: there are no validation rows, the loss is not finite, the validation metric is undefined, or `start`
            has another architecture.
    """
    learner, progress = fit_learner(features, params, checkpoint_path, start, compute)
    trained = learner.trained
    return Trained(trained.model.cpu().eval(), trained.table.cpu()), progress


def fit_learner(
    features: Features,
    params: Train,
    checkpoint_path: Path | None = None,
    start: Start | None = None,
    compute: Compute = CPU_ALONE,
    *,
    with_optimizers: bool = False,
) -> tuple[Learner, Progress]:
    """Train like `fit`, and return the learner of the best epoch.

    Args:
        with_optimizers: the optimizers are in their state after the best epoch, too, so that the learner can go on.
            Without, they stay as they were in the last step, which saves a copy of their state.
    """
    _require_validation_rows(features)
    began = time.monotonic()
    trainer = _Trainer(features, params, checkpoint_path, start, compute, with_optimizers)
    trainer.resume()
    trainer.progress.start_seconds += time.monotonic() - began
    while trainer.wants_epoch():
        trainer.run_epoch()
    return trainer.best(), trainer.progress


def _require_validation_rows(features: Features) -> None:
    """Refuse an empty validation split before the first epoch, which it could not judge.

    Raises:
        InputError: it is empty. Under `temporal`, the message names its days.
    """
    if sum(features.split_rows("valid")):
        return
    days = [day.day for day in features.manifest.held_out if day.split == "valid"]
    advice = "raise featurize.valid_fraction"
    if days:
        advice = f"there is no event on {listed(days)}: deliver these days, or raise featurize.valid_days"
    raise InputError(f"{features.root}: no validation rows, so no epoch can be judged; {advice}")


class _Trainer:
    def __init__(
        self,
        features: Features,
        params: Train,
        path: Path | None,
        start: Start | None,
        compute: Compute,
        with_optimizers: bool,
    ) -> None:
        keep_freed_memory()
        learning = params.learning
        packer = Packer(features, learning.unknown_rate)
        self.features = features
        self.packer = packer
        self.params = params
        self.learning = learning
        self.settling = -(-_SETTLING // learning.batch_size)  # batches
        self.checkpoint_minutes = params.compute.checkpoint_minutes
        self.path = path
        self.compute = compute
        self.loader = TrainingLoader(features, packer, learning.batch_size, learning.seed, learning.half_life_days)
        self.learner = Learner(features, packer, params, compute)
        if start:
            start.apply(self.learner.model, self.learner.table, features, params)
        self.progress = Progress()
        self.with_optimizers = with_optimizers
        self.best_state: dict[str, Tensor] = {}  # copies; empty before the first validation
        self.mean: dict[str, Tensor] = {}  # of the weights at the moments of this epoch that have passed

    def wants_epoch(self) -> bool:
        progress = self.progress
        waited = progress.epoch - 1 - progress.best_epoch
        return progress.epoch < self.learning.epochs and (progress.epoch == 0 or waited < self.learning.patience)

    def run_epoch(self) -> None:
        progress = self.progress
        learner = self.learner
        epoch = progress.epoch
        if self.learning.renew_embeddings and epoch > 0 and progress.batch == 0:
            self._renew_table()
        if progress.batch == 0:
            progress.epoch_seconds.append(0.0)
        learner.model.train()
        total = self.loader.batches
        taken = moments(total, self.learning.average)
        first = max(0, progress.batch - self.settling)
        batches: Iterable[Inputs] = prefetch(map(learner.inputs, self.loader.epoch(epoch, first)))
        batches = track(batches, total, f"epoch {epoch + 1}", done=first)
        loss = torch.tensor(progress.loss, dtype=torch.float64, device=self.compute.device)
        checked_every = 1 if self.compute.device.type == "cpu" else 100  # reading the loss makes a GPU wait
        recent: deque[Inputs] = deque(maxlen=self.settling)
        mark = saved = time.monotonic()
        for inputs in batches:
            recent.append(inputs)
            if inputs.number < progress.batch:  # it was learned before a resume
                continue
            rate = learning_rate(self.learning, epoch, epoch * total + inputs.number)
            loss += learner.step(inputs, rate).double() * inputs.impressions
            progress.batch = inputs.number + 1
            if progress.batch in taken:
                take_in(self.mean, learner.weights(), taken.index(progress.batch))
            if progress.batch % checked_every == 0:
                self._check(loss)
                if time.monotonic() - saved > 60 * self.checkpoint_minutes:
                    progress.epoch_seconds[-1] += time.monotonic() - mark
                    self._save()
                    mark = saved = time.monotonic()
        self._check(loss)
        progress.epoch_seconds[-1] += time.monotonic() - mark
        self._save()  # before validation, which may take long
        self._finish_epoch(recent)

    def _check(self, loss: Tensor) -> None:
        """Record the epoch's summed loss. Called before each save, so that no state with an infinite loss is saved.

        Raises:
            InputError: the loss is not finite.
        """
        progress = self.progress
        progress.loss = loss.item()
        check_loss(progress.loss, f"in epoch {progress.epoch + 1}, batch {progress.batch - 1}", self.learning)

    def _finish_epoch(self, recent: Iterable[Inputs]) -> None:
        progress = self.progress
        metric = self.learning.metric
        started = time.monotonic()
        self.learner.load_weights(self.mean)
        self.mean = {}
        self.learner.settle(recent)
        settled = time.monotonic()
        progress.settling_seconds += settled - started
        found = predict(self.learner.trained, self.features, "valid", EVALUATION_BATCH, self.compute)
        metrics = summary(found.rows["label"], found.probabilities, found.rows["user"])
        quality = getattr(metrics, metric)
        if quality is None:
            raise InputError(
                f"{metric} of the {metrics.rows} validation rows is undefined (no user, or no row, of both "
                "classes); use train.learning.metric: auc or a larger validation split (featurize.valid_*)"
            )
        record = {
            "epoch": progress.epoch,
            "train_loss": progress.loss / sum(self.features.split_rows("train")),
            **{f"valid_{name}": getattr(metrics, name) for name in ("auc", "gauc", "log_loss")},
        }
        progress.history.append(record)
        figures = (f"{k} undefined" if v is None else f"{k} {v:.4f}" for k, v in record.items() if k != "epoch")
        print(", ".join((f"epoch {progress.epoch + 1}", *figures)), flush=True)
        if quality > progress.best_metric:
            progress.best_metric = quality
            progress.best_epoch = progress.epoch
            state = self.learner.state() if self.with_optimizers else self.learner.weights()
            self.best_state = {name: tensor.clone() for name, tensor in state.items()}
        progress.epoch += 1
        progress.batch = 0
        progress.loss = 0.0
        progress.validation_seconds += time.monotonic() - settled
        self._save()

    def _renew_table(self) -> None:
        """Start the table and its optimizer anew, with a seed of this epoch's own."""
        seed = int(np.random.SeedSequence((self.learning.seed, self.progress.epoch, 0, 3)).generate_state(1)[0])
        params = replace(self.params, learning=replace(self.learning, seed=seed))
        self.learner.take_table(Learner(self.features, self.packer, params, self.compute))

    def best(self) -> Learner:
        if self.with_optimizers:
            self.learner.load_state(self.best_state)
        else:
            self.learner.load_weights(self.best_state)
        return self.learner

    def resume(self) -> None:
        """Continue from the checkpoint of this run, if there is one."""
        found = checkpoint.load(self.path) if self.path else None
        if found is None:
            return
        tensors, self.progress = found
        self.learner.load_state(tensors)
        self.best_state = _named(tensors, "best.")
        self.mean = {name: tensor.to(self.compute.device) for name, tensor in _named(tensors, "mean.").items()}
        print(f"resuming at epoch {self.progress.epoch + 1}, batch {self.progress.batch}", flush=True)

    def _save(self) -> None:
        if self.path is not None:
            best = {f"best.{name}": tensor for name, tensor in self.best_state.items()}
            mean = {f"mean.{name}": tensor for name, tensor in self.mean.items()}
            checkpoint.save(self.path, self.learner.state() | best | mean, self.progress)


def _named(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors whose names start with a prefix, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}

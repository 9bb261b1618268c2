"""The training loop: from packed batches to the weights of the epoch with the best validation metric.

An epoch ends with the mean of the weights over its last steps (stochastic weight averaging, arXiv 1803.05407). At the
full learning rate, steps move the weights around an optimum without reaching it, so the weights of the last step are an
arbitrary choice. Their mean over many steps is nearer to the optimum, and differs less between seeds. The mean is
validated, and the next epoch continues from it.

With `renew_embeddings`, each epoch starts with a new table and keeps the rest of the model (MEDA, arXiv 2305.19531).
Embeddings of rare ids memorise single rows in one epoch. If the first epoch is the best one for that reason, the rest
of the model had little time to learn.

State is saved every few minutes and after every epoch. A run that is killed at any point and started again ends with
the same weights, bit for bit, on a CPU with the same number of threads.
"""

import math
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from din.base.errors import InputError, listed
from din.base.progress import track
from din.features.reader import Features
from din.params.train import Train
from din.train import checkpoint
from din.train.checkpoint import Progress
from din.train.compute import CPU_ALONE, Compute, keep_freed_memory
from din.train.learner import Learner, StepInputs, check_loss
from din.train.loader import prefetch
from din.train.predict import predict

_SETTLING = 2_048
"""The number of impressions at the end of an epoch on which the statistics of Dice are measured again."""
SNAPSHOTS = 16
"""The largest number of snapshots of the weights per epoch. Each costs as much as a copy of all weights."""


def fit(
    features: Features,
    params: Train,
    checkpoint_path: Path | None = None,
    compute: Compute = CPU_ALONE,
    after_epoch: Callable[[Progress], bool] = lambda progress: False,
) -> tuple[Learner, Progress]:
    """Train a model, and stop when the validation metric no longer improves.

    Args:
        checkpoint_path: the file in which state is saved, and from which the run resumes. None: neither.
        compute: `params.compute`, resolved.
        after_epoch: called after each epoch, once it is validated. True ends the training.

    Returns:
        The learner with the weights of the best epoch, and the progress of training. If it is going to learn held-out
        days (see `advances`), its optimizers have the state that they had after that epoch.

    Raises:
        InputError: there are no validation rows, the loss is not finite, or the validation metric is undefined.
    """
    _require_validation_rows(features)
    began = time.monotonic()
    trainer = _Trainer(features, params, checkpoint_path, compute)
    trainer.resume()
    trainer.progress.start_seconds += time.monotonic() - began
    while trainer.wants_epoch():
        trainer.run_epoch()
        if after_epoch(trainer.progress):
            break
    if trainer.advances:
        trainer.learner.load_state(trainer.best_state)
    else:
        trainer.learner.load_weights(trainer.best_state)
    return trainer.learner, trainer.progress


def advances(features: Features, params: Train) -> bool:
    """Return whether a model of these features learns held-out days once they have been judged."""
    return features.by_time and params.learning.advance


def _require_validation_rows(features: Features) -> None:
    """Check that the validation split has rows, without which no epoch can be judged.

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
    def __init__(self, features: Features, params: Train, path: Path | None, compute: Compute) -> None:
        keep_freed_memory()
        learning = params.learning
        self.features = features
        self.params = params
        self.learning = learning
        self.settling = -(-_SETTLING // learning.batch_size)  # batches
        self.path = path
        self.compute = compute
        self.advances = advances(features, params)
        self.learner = Learner(features, params, compute)
        self.loader = self.learner.loader()
        self.progress = Progress()
        self.best_state: dict[str, Tensor] = {}  # copies; empty before the first validation
        self.mean: dict[str, Tensor] = {}  # of the snapshots of this epoch so far, if it takes any

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
        averaged_after = moments(total, self.learning.average) if self.learning.average else []  # 0: no mean
        first = max(0, progress.batch - self.settling)
        batches: Iterable[StepInputs] = prefetch(map(learner.inputs, self.loader.epoch(epoch, first)))
        batches = track(batches, total, f"epoch {epoch + 1}", done=first)
        loss = torch.tensor(progress.loss, dtype=torch.float64, device=self.compute.device)
        checked_every = 1 if self.compute.device.type == "cpu" else 100  # reading the loss makes a GPU wait
        recent: deque[StepInputs] = deque(maxlen=self.settling)
        rate = self.learning.learning_rate * self.learning.decay**epoch
        mark = saved = time.monotonic()
        for inputs in batches:
            recent.append(inputs)
            if inputs.number < progress.batch:  # it was learned before the resume
                continue
            loss += learner.step(inputs, rate).double() * inputs.impressions
            progress.batch = inputs.number + 1
            if progress.batch in averaged_after:
                take_in(self.mean, learner.weights(), averaged_after.index(progress.batch))
            if progress.batch % checked_every == 0:
                self._check(loss)
                if time.monotonic() - saved > 60 * self.params.compute.checkpoint_minutes:
                    progress.epoch_seconds[-1] += time.monotonic() - mark
                    self._save()
                    mark = saved = time.monotonic()
        self._check(loss)
        progress.epoch_seconds[-1] += time.monotonic() - mark
        self._save()  # before validation, which may take a long time
        self._finish_epoch(recent)

    def _check(self, loss: Tensor) -> None:
        """Record the epoch's summed loss. Called before each save, so that no state with an infinite loss is saved.

        Raises:
            InputError: the loss is not finite.
        """
        progress = self.progress
        progress.loss = loss.item()
        check_loss(progress.loss, f"in epoch {progress.epoch + 1}, batch {progress.batch - 1}", self.learning)

    def _finish_epoch(self, recent: Iterable[StepInputs]) -> None:
        progress = self.progress
        metric = self.learning.metric
        started = time.monotonic()
        if self.mean:
            self.learner.load_weights(self.mean)
            self.mean = {}
        self.learner.settle(recent)
        settled = time.monotonic()
        progress.settling_seconds += settled - started
        predictions = predict(self.learner.trained, self.features, "valid", compute=self.compute)
        check_loss(
            float(predictions.logits.sum()), f"on validation rows after epoch {progress.epoch + 1}", self.learning
        )
        metrics = predictions.metrics
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
            best = self.learner.state() if self.advances else self.learner.weights()
            self.best_state = {name: tensor.clone() for name, tensor in best.items()}
        progress.epoch += 1
        progress.batch = 0
        progress.loss = 0.0
        progress.validation_seconds += time.monotonic() - settled
        self._save()

    def _renew_table(self) -> None:
        """Reset the table and its optimizer, with a seed that depends on the epoch."""
        seed = int(np.random.SeedSequence((self.learning.seed, self.progress.epoch, 0, 3)).generate_state(1)[0])
        params = replace(self.params, learning=replace(self.learning, seed=seed))
        self.learner.take_table(Learner(self.features, params, self.compute))

    def resume(self) -> None:
        """Continue from the checkpoint of this run, if there is one."""
        saved = checkpoint.load(self.path) if self.path else None
        if saved is None:
            return
        tensors, self.progress = saved
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


def moments(steps: int, share: float) -> list[int]:
    """Return the numbers of the steps, from 1 and ascending, after which an epoch takes a snapshot of the weights.

    The last step is one of them.

    Args:
        steps: the number of steps of the epoch.
        share: the share of its steps, at the end, over which snapshots are spread evenly.
    """
    last = max(1, round(steps * share))
    count = min(last, SNAPSHOTS)
    return [steps - last + math.ceil(number * last / count) for number in range(1, count + 1)]


def take_in(mean: dict[str, Tensor], weights: dict[str, Tensor], earlier: int) -> None:
    """Add a snapshot of the weights to their running mean, in place.

    Args:
        mean: the mean by name; empty if `earlier` is 0.
        weights: the snapshot: float tensors of the same names.
        earlier: the number of snapshots in the mean.
    """
    for name, tensor in weights.items():
        if earlier == 0:
            mean[name] = tensor.clone()
        else:
            mean[name].lerp_(tensor, 1 / (earlier + 1))

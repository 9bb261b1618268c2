"""The training loop: packed batches in, the weights of the best validation epoch out.

State is saved every few minutes and after every epoch; a run killed anywhere and started again ends with the same
weights, bit for bit (CPU, same threads).
"""

import time
from pathlib import Path

import numpy as np
import torch

from din.errors import InputError
from din.eventlog.packing import Packer
from din.eventlog.reader import Features
from din.metrics.summary import summary
from din.model.artifact import Trained
from din.params import Train
from din.train import checkpoint
from din.train.checkpoint import Progress
from din.train.learner import Learner
from din.train.loader import TrainingBatch, TrainingLoader
from din.train.memory import keep_freed_memory
from din.train.optimizers import learning_rate
from din.train.predict import predict
from din.train.progress import track
from din.train.warm_start import Start

EVALUATION_BATCH = 1024


def fit(
    features: Features,
    params: Train,
    checkpoint_path: Path | None = None,
    compiled: bool = False,
    start: Start | None = None,
) -> tuple[Trained, Progress]:
    """Train `params.model`, stop early on the validation metric.

    Args:
        checkpoint_path: where to save state and resume from; None = neither.
        compiled: the step runs through `torch.compile` (see `compilation.compiles`).
        start: an earlier model to start from; None = random weights.

    Returns:
        The weights of the best epoch, and how training got there.

    Raises:
        InputError: the loss is not finite, the validation metric can't be computed, or `start` is of another
            architecture.
    """
    trainer = _Trainer(features, params, checkpoint_path, compiled, start)
    trainer.resume()
    while trainer.wants_epoch():
        trainer.run_epoch()
    return trainer.best(), trainer.progress


class _Trainer:
    def __init__(
        self, features: Features, params: Train, path: Path | None, compiled: bool, start: Start | None
    ) -> None:
        keep_freed_memory()
        if params.threads:
            torch.set_num_threads(params.threads)
        packer = Packer(features, params.unknown_rate)
        self.features, self.params, self.path = features, params, path
        self.loader = TrainingLoader(features, packer, params.batch_size, params.seed)
        self.learner = Learner(features, packer, params, next(self.loader.epoch(0)) if compiled else None)
        if start:
            start.apply(self.learner.model, self.learner.table, features, params)
        self.progress = Progress()
        self.best_weights = self.learner.weights()

    def wants_epoch(self) -> bool:
        progress = self.progress
        waited = progress.epoch - 1 - progress.best_epoch
        return progress.epoch < self.params.epochs and (progress.epoch == 0 or waited < self.params.patience)

    def run_epoch(self) -> None:
        progress, params = self.progress, self.params
        self.learner.model.train()
        batches = self.loader.epoch(progress.epoch, progress.batch)
        mark = saved = time.monotonic()
        for batch in track(batches, self.loader.batches, f"epoch {progress.epoch + 1}", progress.batch):
            progress.loss += self._step(batch)
            progress.batch = batch.number + 1
            if time.monotonic() - saved > 60 * params.checkpoint_minutes:
                progress.seconds += time.monotonic() - mark
                self._save()
                mark = saved = time.monotonic()
        progress.seconds += time.monotonic() - mark
        self._finish_epoch()

    def _step(self, batch: TrainingBatch) -> float:
        """The batch's summed loss."""
        epoch = self.progress.epoch
        rate = learning_rate(self.params, epoch, epoch * self.loader.batches + batch.number)
        loss = self.learner.step(batch, epoch, rate)
        if not np.isfinite(loss):
            raise InputError(
                f"train: the loss is {loss} in epoch {epoch + 1}, batch {batch.number}; "
                f"lower train.learning_rate (now {self.params.learning_rate}) or check numeric fields for extremes"
            )
        return loss * len(batch.packed)

    def _finish_epoch(self) -> None:
        progress, metric = self.progress, self.params.metric
        started = time.monotonic()
        found = predict(self.learner.trained, self.features, "valid", EVALUATION_BATCH)
        metrics = summary(found.rows["label"], found.probabilities, found.rows["user"])
        if metrics[metric] is None:
            raise InputError(
                f"train: {metric} of the {metrics['rows']} validation rows is undefined (no user, or no row, of both "
                "classes); use train.metric: auc or a larger validation split (featurize.valid_*)"
            )
        record = {
            "epoch": progress.epoch,
            "train_loss": progress.loss / sum(self.features.split_rows("train")),
            **{f"valid_{name}": metrics[name] for name in ("auc", "gauc", "log_loss")},
        }
        progress.history.append(record)
        print(
            ", ".join(f"{k} {v:.4f}" if isinstance(v, float) else f"{k} {v + 1}" for k, v in record.items()), flush=True
        )
        if metrics[metric] > progress.best_metric:
            progress.best_metric, progress.best_epoch = metrics[metric], progress.epoch
            self.best_weights = {name: tensor.clone() for name, tensor in self.learner.weights().items()}
        progress.epoch, progress.batch, progress.loss = progress.epoch + 1, 0, 0.0
        progress.seconds += time.monotonic() - started
        self._save()

    def best(self) -> Trained:
        table, model = self.best_weights.pop("table"), self.learner.model
        model.load_state_dict(self.best_weights)
        return Trained(model.eval(), table)

    def resume(self) -> None:
        """Take up a checkpoint of this run, if there is one."""
        found = checkpoint.load(self.path) if self.path else None
        if found is None:
            return
        tensors, self.progress = found
        self.learner.load_state(tensors)
        self.best_weights = {name: tensors[f"best.{name}"] for name in self.best_weights}
        print(f"resuming at epoch {self.progress.epoch + 1}, batch {self.progress.batch}", flush=True)

    def _save(self) -> None:
        if self.path is not None:
            best = {f"best.{name}": tensor.clone() for name, tensor in self.best_weights.items()}
            checkpoint.save(self.path, self.learner.state() | best, self.progress)

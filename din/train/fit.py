"""The training loop: packed batches in, the weights of the best validation epoch out.

Every step touches the embedding rows of its batch only. State is saved every few minutes and after every epoch; a run
killed anywhere and started again ends with the same weights, bit for bit (CPU, same threads).
"""

import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from din.errors import InputError
from din.eventlog.packing import Packer
from din.eventlog.reader import Features
from din.metrics.summary import summary
from din.model.artifact import Trained
from din.model.din import build
from din.model.embedding import to_tensors
from din.model.sequences import resolve
from din.params import Train
from din.train import checkpoint
from din.train.checkpoint import Progress
from din.train.loader import TrainingBatch, TrainingLoader
from din.train.memory import keep_freed_memory
from din.train.optimizers import dense_optimizer, learning_rate, table_optimizer
from din.train.predict import predict
from din.train.progress import track
from din.train.regularization import row_decay

EVALUATION_BATCH = 1024


def fit(features: Features, params: Train, checkpoint_path: Path | None = None) -> tuple[Trained, Progress]:
    """Train `params.model`, stop early on the validation metric.

    Args:
        checkpoint_path: where to save state and resume from; None = neither.

    Returns:
        The weights of the best epoch, and how training got there.

    Raises:
        InputError: the loss is not finite, or the validation metric can't be computed.
    """
    trainer = _Trainer(features, params, checkpoint_path)
    trainer.resume()
    while trainer.wants_epoch():
        trainer.run_epoch()
    return trainer.best(), trainer.progress


class _Trainer:
    def __init__(self, features: Features, params: Train, path: Path | None) -> None:
        keep_freed_memory()
        if params.threads:
            torch.set_num_threads(params.threads)
        packer = Packer(features, params.unknown_rate)
        self.features, self.params, self.path = features, params, path
        self.loader = TrainingLoader(features, packer, params.batch_size, params.seed)
        sequences = resolve(params.sequences, features)
        self.model, self.table = build(features.fields, packer.layout, params, sequences)
        self.dense = dense_optimizer(params.optimizer, list(self.model.parameters()), params.learning_rate)
        self.sparse = table_optimizer(params, self.table, row_decay(features, params))
        self.progress = Progress()
        self.best_weights = self._weights()

    def wants_epoch(self) -> bool:
        progress = self.progress
        waited = progress.epoch - 1 - progress.best_epoch
        return progress.epoch < self.params.epochs and (progress.epoch == 0 or waited < self.params.patience)

    def run_epoch(self) -> None:
        progress, params = self.progress, self.params
        self.model.train()
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
        epoch, params = self.progress.epoch, self.params
        rate = learning_rate(params, epoch, epoch * self.loader.batches + batch.number)
        for group in self.dense.param_groups:
            group["lr"] = rate
        if params.dropout:  # drawn from (seed, epoch, batch), so a resumed run drops the same
            torch.manual_seed(int(np.random.SeedSequence([params.seed, epoch, batch.number]).generate_state(1)[0]))
        rows = torch.from_numpy(batch.rows)
        leaf = self.table.index_select(0, rows).requires_grad_()
        labels = torch.from_numpy(batch.packed.labels)
        loss = binary_cross_entropy_with_logits(self.model(leaf, to_tensors(batch.packed, rows)), labels)
        self.dense.zero_grad()
        loss.backward()
        assert leaf.grad is not None
        if params.clip_norm:
            torch.nn.utils.clip_grad_norm_([*self.model.parameters(), leaf], params.clip_norm)
        self.dense.step()
        self.sparse.step(rows, leaf.grad, rate)
        value = loss.item()
        if not np.isfinite(value):
            raise InputError(
                f"train: the loss is {value} in epoch {self.progress.epoch + 1}, batch {batch.number}; "
                f"lower train.learning_rate (now {self.params.learning_rate}) or check numeric fields for extremes"
            )
        return value * len(batch.packed)

    def _finish_epoch(self) -> None:
        progress, metric = self.progress, self.params.metric
        started = time.monotonic()
        found = predict(Trained(self.model, self.table), self.features, "valid", EVALUATION_BATCH)
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
            self.best_weights = {name: tensor.clone() for name, tensor in self._weights().items()}
        progress.epoch, progress.batch, progress.loss = progress.epoch + 1, 0, 0.0
        progress.seconds += time.monotonic() - started
        self._save()

    def best(self) -> Trained:
        table = self.best_weights.pop("table")
        self.model.load_state_dict(self.best_weights)
        return Trained(self.model.eval(), table)

    def resume(self) -> None:
        """Take up a checkpoint of this run, if there is one."""
        found = checkpoint.load(self.path) if self.path else None
        if found is None:
            return
        tensors, self.progress = found
        self.model.load_state_dict({name: tensors[f"now.{name}"] for name in self.model.state_dict()})
        self.table.copy_(tensors["now.table"])
        for name, tensor in self.sparse.state().items():
            tensor.copy_(tensors[f"sparse.{name}"])
        self.best_weights = {name: tensors[f"best.{name}"] for name in self.best_weights}
        state = self.dense.state_dict()
        for name, tensor in tensors.items():
            if name.startswith("dense."):
                _, parameter, key = name.split(".")
                state["state"].setdefault(int(parameter), {})[key] = tensor
        self.dense.load_state_dict(state)
        print(f"resuming at epoch {self.progress.epoch + 1}, batch {self.progress.batch}", flush=True)

    def _save(self) -> None:
        if self.path is None:
            return
        tensors = {f"now.{name}": tensor for name, tensor in self._weights().items()}
        tensors |= {f"best.{name}": tensor.clone() for name, tensor in self.best_weights.items()}
        tensors |= {f"sparse.{name}": tensor for name, tensor in self.sparse.state().items()}
        for parameter, state in self.dense.state_dict()["state"].items():
            tensors |= {f"dense.{parameter}.{key}": value for key, value in state.items()}
        checkpoint.save(self.path, tensors, self.progress)

    def _weights(self) -> dict[str, Tensor]:
        return {**self.model.state_dict(), "table": self.table}

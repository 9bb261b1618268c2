"""Probabilities of a split, in file order; no row's depends on what else is in its batch."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch

from din.eventlog.packing import Packer
from din.eventlog.reader import Features, Impressions
from din.model.artifact import Trained
from din.model.embedding import to_tensors
from din.train.loader import evaluation_batches
from din.train.memory import keep_freed_memory

COLUMNS = ("user", "item", "label", "sequence", "timestamp", "sampled", "history_length")


@dataclass(frozen=True)
class Predictions:
    """A split's rows (see `Impressions`) with float64 logits, all [N]."""

    rows: dict[str, np.ndarray]
    logits: np.ndarray

    @property
    def probabilities(self) -> np.ndarray:
        """σ of the logits."""
        return np.exp(-np.logaddexp(0, -self.logits))

    def table(self, **columns: np.ndarray) -> pa.Table:
        """Rows, `prediction` and further columns, for Parquet."""
        return pa.table({**self.rows, "prediction": self.probabilities, **columns})


def predict(trained: Trained, features: Features, split: str, batch_size: int) -> Predictions:
    """Score every impression of a split."""
    keep_freed_memory()
    packer = Packer(features)
    logits, rows = [], []
    training = trained.model.training
    trained.model.eval()
    with torch.inference_mode():
        for shard in features.shards(split):
            rows.append(_rows(shard.impressions))
            for packed in evaluation_batches(packer, shard, batch_size):
                logits.append(trained.model(trained.table, to_tensors(packed)).double().numpy())
    trained.model.train(training)
    columns = {name: np.concatenate([part[name] for part in rows]) for name in COLUMNS}
    return Predictions(columns, np.concatenate(logits) if logits else np.empty(0))


def _rows(impressions: Impressions) -> dict[str, np.ndarray]:
    return {name: getattr(impressions, name) for name in COLUMNS}

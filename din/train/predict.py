"""Probabilities of a split, in file order; no row's depends on what else is in its batch."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch

from din.features.packing import Packer
from din.features.reader import Features
from din.model.artifact import Trained
from din.model.embedding import to_tensors
from din.train.compute import CPU_ALONE, Compute, moved
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


def predict(
    trained: Trained, features: Features, split: str, batch_size: int, compute: Compute = CPU_ALONE
) -> Predictions:
    """Score every impression of a split; several ranks score a share each, and all get the whole."""
    keep_freed_memory()
    packer, ranks = Packer(features), compute.ranks
    model, table = trained.model.to(compute.device), trained.table.to(compute.device)
    parts = []
    training = model.training
    model.eval()
    with torch.inference_mode():
        for number, share in enumerate(ranks.shares(features.split_rows(split))):
            if not share and number:  # the first one gives the columns their types, though it be empty
                continue
            shard, positions = features.shard(number, split), np.arange(share.start, share.stop)
            logits = [
                model(table, moved(to_tensors(packed), compute.device)).double().cpu().numpy()
                for packed in evaluation_batches(packer, shard, positions, batch_size)
            ]
            rows = {name: getattr(shard.impressions, name)[positions] for name in COLUMNS}
            parts.append(Predictions(rows, np.concatenate([np.empty(0), *logits])))
    model.train(training)
    parts = [part for everyones in ranks.collect(parts) for part in everyones]
    columns = {name: np.concatenate([part.rows[name] for part in parts]) for name in COLUMNS}
    return Predictions(columns, np.concatenate([part.logits for part in parts]))

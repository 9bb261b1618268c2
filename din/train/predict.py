"""Probabilities of a split, in the order of its files. Only rounding depends on the rest of a batch.

A model gives the logit of a click in the traffic. If the rows lack negatives, their probabilities are higher: the
offset of the split is added, so that predictions can be compared with labels.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch

from din.base.progress import track
from din.contracts.facts import Metrics
from din.features.packing import Packer
from din.features.reader import Features
from din.metrics.summary import summary
from din.model.artifact import Trained
from din.model.embedding import to_tensors
from din.train.compute import CPU_ALONE, Compute, keep_freed_memory, moved
from din.train.loader import evaluation_batches

COLUMNS = ("user", "item", "label", "sequence", "timestamp", "sampled", "history_length")
EVALUATION_BATCH = 1024  # impressions that are scored at once


@dataclass(frozen=True)
class Predictions:
    """The N rows of a split, with their logits."""

    rows: dict[str, np.ndarray]  # `COLUMNS`, [N] each; see `din.features.reader.Impressions`
    logits: np.ndarray  # float64 [N], among these rows

    @property
    def probabilities(self) -> np.ndarray:
        """The sigmoid of the logits, float64 [N]."""
        return np.exp(-np.logaddexp(0, -self.logits))

    @property
    def metrics(self) -> Metrics:
        """The metrics of these rows."""
        return summary(self.rows["label"], self.probabilities, self.rows["user"])

    def table(self, **columns: np.ndarray) -> pa.Table:
        """Return rows, `prediction` and further columns as a table."""
        return pa.table({**self.rows, "prediction": self.probabilities, **columns})


def predict(
    trained: Trained,
    features: Features,
    split: str,
    batch_size: int = EVALUATION_BATCH,
    compute: Compute = CPU_ALONE,
    chosen: Sequence[np.ndarray] | None = None,
    *,
    blend: bool = True,
) -> Predictions:
    """Score impressions of a split.

    Args:
        chosen: the positions of the impressions in each shard. None: all impressions, in the order of the files.
        blend: use the model's blend, if it has one.
    """
    parts = list(_of_shards(trained, features, split, batch_size, compute, chosen, blend))
    columns = {name: np.concatenate([part.rows[name] for part in parts]) for name in COLUMNS}
    return Predictions(columns, np.concatenate([part.logits for part in parts]))


def _of_shards(
    trained: Trained,
    features: Features,
    split: str,
    batch_size: int,
    compute: Compute,
    chosen: Sequence[np.ndarray] | None,
    blend: bool,
) -> Iterator[Predictions]:
    """Score as `predict` does, one shard after another."""
    keep_freed_memory()
    packer = Packer(features, ages=trained.model.reads_ages)
    model = trained.model.to(compute.device)
    table = trained.table.to(compute.device)
    if chosen is None:
        chosen = [np.arange(rows) for rows in features.split_rows(split)]
    score = model if blend else model.unblended
    training = model.training
    model.eval()
    for number, positions in enumerate(chosen):
        if number and not len(positions):  # the first shard gives the columns their types, even if it is empty
            continue
        shard = features.shard(number, split)
        work = f"scoring {split}, shard {number + 1} of {len(chosen)}"
        batches = evaluation_batches(packer, shard, positions, batch_size)
        batches = track(batches, -(-len(positions) // batch_size), work)
        with torch.inference_mode():
            logits = [
                score(table, moved(to_tensors(packed), compute.device)).double().cpu().numpy() for packed in batches
            ]
        rows = {name: getattr(shard.impressions, name)[positions] for name in COLUMNS}
        yield Predictions(rows, np.concatenate([np.empty(0), *logits]) + features.offset(split))
    model.train(training)

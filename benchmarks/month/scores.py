"""Score the rows of a day with earlier bundles, and compare the scores of all days."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from din.features.reader import Features
from din.metrics import auc
from din.metrics.estimates import Interval, difference, mean
from din.promotion.champion import score_champion
from din.workspace import Workspace

TRUTH = "truth"
_EACH_SIDE = 0.975


def scored(workspace: Workspace, bundles: Mapping[str, Path], truth: Callable[[np.ndarray], np.ndarray]) -> pa.Table:
    """Return user, label, true probability and the probabilities of each bundle for the test rows of a workspace.

    Args:
        workspace: the workspace of a run that has evaluated its model.
        bundles: the folder of each bundle, by name.
        truth: returns the true probabilities of rows, given their sequence numbers.
    """
    rows = pq.read_table(workspace.predictions / "test.parquet")
    users = Features(workspace.features).raw_users().take(rows["user"])
    columns = {"user": users, "label": rows["label"], TRUTH: truth(rows["sequence"].to_numpy())}
    return pa.table(columns | {name: score_champion(workspace, bundle, rows) for name, bundle in bundles.items()})


def auc_of(day: pa.Table, name: str) -> float:
    """Return the AUC of a model on a day, or of the true probabilities."""
    return auc(day["label"].to_numpy(), day[name].to_numpy())


def advantage(days: Sequence[pa.Table], ours: str, theirs: str) -> Interval:
    """Return the mean difference of AUC of two models over days, with bounds that hold with 97.5 % on each side."""
    estimates = [
        difference(
            "auc",
            day["label"].to_numpy(),
            day[ours].to_numpy(),
            day[theirs].to_numpy(),
            day["user"].to_numpy(),
        )
        for day in days
    ]
    return mean(estimates).interval(_EACH_SIDE)

"""Compare models on the impressions of a day that none of them has learned, and average over days.

A *policy* determines how each day's model is made. All models score the same rows, from raw ids, as in production.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from din.base import documents
from din.base.workspace import Workspace
from din.features.reader import Features
from din.metrics.estimates import Estimate, Interval, Metric, difference, estimate, mean
from din.release.gates.earlier_champion import score_champion
from din.train.results import TrainingTimes

CHAMPION, SCRATCH, STALE, FIRST = "champion", "scratch", "stale", "first"
"""The policies: continue the champion, train from scratch and then learn the test day, train from scratch and ship the
judged model, and never train again."""
_EACH_SIDE = 0.975
_ROWS = ("user", "item", "label", "sequence", "timestamp")


def test_rows(features: Features) -> pa.Table:
    """Return the rows of the test split, in the order of the files, with the columns that requests need."""
    parts = [shard.impressions for shard in features.shards("test")]
    return pa.table({name: np.concatenate([getattr(part, name) for part in parts]) for name in _ROWS})


def scored(workspace: Workspace, rows: pa.Table, bundles: Mapping[str, Path]) -> pa.Table:
    """Return the user, the label, and the probability of each bundle for test rows [B] of a workspace.

    Args:
        workspace: the workspace with the log and the features of the day.
        rows: the B rows; see `din.bundle.requests_from_log.requests_for`.
        bundles: the folders of the bundles, by the name of the column.
    """
    columns = {"user": Features(workspace.features).raw_users().take(rows["user"]), "label": rows["label"]}
    return pa.table(columns | {name: score_champion(workspace, bundle, rows) for name, bundle in bundles.items()})


def average(days: Sequence[pa.Table], name: str, metric: Metric = "auc") -> float:
    """Return the mean of a model's metric over days, weighted by the number of users."""
    return mean([estimate(metric, day["label"], day[name], day["user"]) for day in days]).value


def advantage(days: Sequence[pa.Table], ours: str, theirs: str, metric: Metric = "auc") -> Interval:
    """Return the mean difference of two models over days, with a one-sided confidence of 97.5 % for each bound.

    `days` may combine the days of several trainings. All rows of a user are treated as dependent.
    """
    return mean([_difference(day, ours, theirs, metric) for day in days]).interval(_EACH_SIDE)


def learning_seconds(workspace: Workspace) -> float:
    """Return the CPU seconds of learning in `train` and `refit`, without process start-up."""
    times = (workspace.training_times, workspace.refit_times)
    return sum(documents.read(TrainingTimes, path).cpu_seconds for path in times)


def _difference(day: pa.Table, ours: str, theirs: str, metric: Metric) -> Estimate:
    return difference(metric, day["label"], day[ours], day[theirs], day["user"])

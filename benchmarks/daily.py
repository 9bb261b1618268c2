"""Compare models that were there before a day on the day's impressions, and add up the days.

A *policy* decides how the model of each day is made. All models score the same rows, from raw ids, as in production.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from din import documents
from din.features.reader import Features
from din.gates.earlier_champion import score_champion
from din.metrics.estimates import Estimate, Interval, Metric, difference, estimate, mean
from din.train.results import TrainingTimes
from din.workspace import Workspace

CHAMPION, SCRATCH, STALE, FIRST = "champion", "scratch", "stale", "first"
"""The policies: go on from the champion, learn by epochs and ship what has learned the test day, learn by epochs and
ship what was judged, and never learn again."""
_EACH_SIDE = 0.975
_ROWS = ("user", "item", "label", "sequence", "timestamp")


def test_rows(features: Features) -> pa.Table:
    """Return the rows of the test split, in the order of the files, with the columns that requests need."""
    parts = [shard.impressions for shard in features.shards("test")]
    return pa.table({name: np.concatenate([getattr(part, name) for part in parts]) for name in _ROWS})


def scored(workspace: Workspace, rows: pa.Table, bundles: Mapping[str, Path]) -> pa.Table:
    """Return user, label, and the probabilities of each bundle for test rows of a workspace.

    Args:
        workspace: the workspace with the log and the features of the day.
        rows: B rows; see `din.serve.requests.requests_for`.
        bundles: the folder of each bundle, by the name of its column.
    """
    columns = {"user": Features(workspace.features).raw_users().take(rows["user"]), "label": rows["label"]}
    return pa.table(columns | {name: score_champion(workspace, bundle, rows) for name, bundle in bundles.items()})


def average(days: Sequence[pa.Table], name: str, metric: Metric = "auc") -> float:
    """Return the mean of a model's metric over days, weighted by their users."""
    return mean([estimate(metric, day["label"], day[name], day["user"]) for day in days]).value


def advantage(days: Sequence[pa.Table], ours: str, theirs: str, metric: Metric = "auc") -> Interval:
    """Return the mean difference of two models over days, with bounds that hold with 97.5 % on each side.

    The days of several trainings may be joined. A user's rows count together, wherever they are.
    """
    return mean([_difference(day, ours, theirs, metric) for day in days]).interval(_EACH_SIDE)


def learning_seconds(workspace: Workspace) -> float:
    """Return the CPU seconds of learning in `train` and `refit`, without the start of the processes."""
    times = (workspace.training_times, workspace.refit_times)
    return sum(documents.read(TrainingTimes, path).cpu_seconds for path in times)


def _difference(day: pa.Table, ours: str, theirs: str, metric: Metric) -> Estimate:
    return difference(metric, day["label"], day[ours], day[theirs], day["user"])

"""What this workspace says about its candidate. Costs hashing the bundle; the rest is read when a gate first asks."""

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from din.artifacts import read_json
from din.bundle import verify_bundle
from din.errors import InputError
from din.eventlog.reader import Features
from din.metrics import Interval, bootstrap, paired_bootstrap
from din.params import Params
from din.promotion.champion import FEATURES
from din.registry import FACTS

BUNDLE, REPORTS = Path("models/bundle"), Path("reports")
PREDICTIONS, EVALUATION = REPORTS / "predictions", REPORTS / "evaluation.json"
SHOW = "python -m json.tool"


class Evidence:
    """The candidate's bundle, predictions and features; a part that can't be read raises where it is asked for."""

    def __init__(self, params: Params) -> None:
        self.params, self.limits = params, params.gate

    @cached_property
    def version(self) -> str:
        """Version of the candidate's bundle, all files verified."""
        return verify_bundle(BUNDLE)[0]

    @cached_property
    def facts(self) -> dict[str, Any]:
        """facts.json of the candidate's bundle."""
        return read_json(BUNDLE / FACTS)

    @cached_property
    def features(self) -> Features:
        """What the candidate learned from."""
        return Features(FEATURES)

    @cached_property
    def rows(self) -> pa.Table:
        """All test rows with their predictions."""
        return pq.read_table(PREDICTIONS / "test.parquet")

    @cached_property
    def sample(self) -> pa.Table:
        """At most `max_rows` test rows, whole users."""
        return self.draw(self.rows)

    def draw(self, rows: pa.Table) -> pa.Table:
        """At most `max_rows` of the rows, whole users drawn by the seed."""
        if len(rows) <= self.limits.max_rows:
            return rows
        _, user = np.unique(rows["user"].to_numpy(), return_inverse=True)
        order = np.random.default_rng(self.limits.seed).permutation(user.max() + 1)
        taken = order[np.cumsum(np.bincount(user)[order]) <= self.limits.max_rows]
        return rows.filter(pa.array(np.isin(user, taken)))

    def interval(self, metric: Any, rows: pa.Table, against: NDArray[np.float64] | None = None) -> Interval:
        """Of a metric of the predictions, or of its difference from other scores of the same rows."""
        labels, prediction, users = (rows[name].to_numpy() for name in ("label", "prediction", "user"))
        settings = (metric, self.limits.resamples, self.limits.confidence, self.limits.seed)
        if against is None:
            return bootstrap(labels, prediction, users, *settings)
        return paired_bootstrap(labels, prediction, against, users, *settings)

    def version_or_none(self) -> str | None:
        """The version where the bundle is sound."""
        try:
            return self.version
        except InputError:
            return None

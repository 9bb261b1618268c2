"""`python -m benchmarks.attention`: its ratios and AUCs, and that weights belong to the behaviours of a request."""

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from serve_workspace import built_once

from benchmarks.attention import CHOICES, Weighed, text, times_a_random_one, told_apart, weighed
from din.params import Params
from din.workspace import Workspace


def one(user: int, attention: list[float], effects: list[float], alike: list[bool]) -> Weighed:
    return Weighed(user, np.array(attention), np.array(effects), np.array(alike))


def test_figures() -> None:
    """A ratio is of sums over requests, and an AUC a mean over requests that have both kinds of behaviours."""
    found = [
        one(1, [0.1, 0.9], [-4.0, 2.0], [False, True]),
        one(2, [0.2, 0.1, 0.3], [0.0, 0.0, -3.0], [True, False, False]),
        one(2, [0.5, 0.4], [1.0, 1.0], [True, True]),
    ]
    attended, strongest, newest = (times_a_random_one(found, choice) for choice in CHOICES.values())
    assert attended.point == pytest.approx((2 + 3 + 1) / (3 + 1 + 1)) == newest.point
    assert strongest.point == pytest.approx((4 + 3 + 1) / (3 + 1 + 1))
    assert attended.lower <= attended.point <= attended.upper
    assert told_apart(found, lambda one: one.attention) == pytest.approx((1 + 0.5) / 2)


def test_a_run(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, params: Params) -> None:
    """Each behaviour that the model reads has a weight and an effect."""
    finished = built_once(tmp_path_factory, params)
    here = Workspace(shutil.copytree(finished.here.root, tmp_path / "run"))
    shards = [pq.read_table(path) for path in sorted(here.features.glob("shards/*/test.parquet"))]
    rows = pa.concat_tables(shards)
    lengths = pa.array(rows["history_end"].to_numpy() - rows["history_start"].to_numpy())
    here.predictions.mkdir(parents=True)
    pq.write_table(rows.append_column("history_length", lengths), here.predictions / "test.parquet")
    found = weighed(here, 20)
    expected = lengths.to_numpy()[lengths.to_numpy() >= 2]
    assert len(found) == min(20, len(expected))
    assert all(len(one.attention) == len(one.effects) >= 2 for one in found)
    assert max(float(np.ptp(one.attention)) for one in found) > 1e-4
    assert "| run | " in text([("run", found)])

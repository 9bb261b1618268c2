"""Timing one request, and a champion with a history length of its own. Alone: pytest tests/serve/test_latency.py."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from serve_workspace import Workspace, working_in

from din.errors import InputError
from din.promotion.champion import score_champion
from din.serve import Limits, Scorer
from din.serve.latency import CANDIDATES, request_ms
from din.serve.requests import requests_for


def test_times_the_largest_usual_request(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of this bundle, in one thread: 500 candidates that it knows, a full history; the median of several calls."""
    seen: list[dict[str, Any]] = []
    opened: list[int] = []
    clock = iter(np.cumsum([0, 9_000_000] + [1_000_000, 2_000_000] * 1000).tolist())
    score, start = Scorer.score, Scorer.__init__

    def spy(self: Scorer, request: dict[str, Any]) -> np.ndarray:
        seen.append(request)
        return score(self, request)

    def init(self: Scorer, directory: Path, version: str, threads: int, limits: Limits) -> None:
        opened.append(threads)
        start(self, directory, version, threads, limits)

    monkeypatch.setattr(Scorer, "score", spy)
    monkeypatch.setattr(Scorer, "__init__", init)
    monkeypatch.setattr("din.serve.latency.perf_counter_ns", lambda: next(clock))
    assert request_ms(workspace.bundle) == 2.0  # every later call takes 2 ms, the first, 9 ms, warms up
    assert opened == [1] and len(seen) > 10
    known = set(workspace.features.raw_items().to_pylist()) - {None}
    for request in seen:
        assert len(request["candidates"]) == CANDIDATES == 500
        assert len(request["history"]) == Scorer.open(workspace.bundle).max_history
        assert {*request["candidates"], *request["history"]} <= known


def test_a_real_clock_gives_a_time(workspace: Workspace) -> None:
    """Without a fake clock: some positive number of milliseconds."""
    assert request_ms(workspace.bundle, candidates=3) > 0


def test_no_bundle_is_an_error(tmp_path: Path) -> None:
    """Nothing to time."""
    with pytest.raises(InputError, match=r"manifest\.json: not found"):
        request_ms(tmp_path)


def rows_of(workspace: Workspace) -> pa.Table:
    """Test rows, as reports/predictions/ has them."""
    parts = [shard.impressions for shard in workspace.features.shards("test")]
    names = ("user", "item", "sequence", "timestamp")
    return pa.concat_tables(pa.table({name: getattr(part, name) for name in names}) for part in parts)


def test_histories_as_long_as_asked_for(workspace: Workspace) -> None:
    """The newest behaviours, more or fewer than today's features keep."""
    rows, root = rows_of(workspace), workspace.features.root
    longest = [r["history"] for r in requests_for(rows, workspace.raw, root, max_history=1000)]
    today = workspace.features.manifest["max_history"]
    assert max(map(len, longest)) > today
    for most in (1, today, today + 2):
        found = [r["history"] for r in requests_for(rows, workspace.raw, root, max_history=most)]
        assert found == [history[-most:] for history in longest]


def test_champion_gets_its_own_history_length(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scored as in production: the length is the bundle's, not that of today's features."""
    asked: list[int | None] = []

    def spy(rows: Any, raw: Any, features: Any, fields: Any = None, max_history: int | None = None) -> Any:
        asked.append(max_history)
        return requests_for(rows, raw, features, fields, max_history)

    monkeypatch.setattr("din.serve.requests.requests_for", spy)
    monkeypatch.setattr(Scorer, "max_history", 3)
    rows = rows_of(workspace)
    with working_in(workspace.root):
        assert score_champion(workspace.bundle, rows).shape == (len(rows),)
    assert asked == [3]

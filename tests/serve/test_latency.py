"""The time of one request, and a champion with a history length of its own."""

from time import process_time, thread_time
from typing import Any

import pyarrow as pa
import pytest
from serve_workspace import Finished

from din.gates.earlier_champion import score_champion
from din.registry.bundle import verify_bundle
from din.serve import Scorer
from din.serve.latency import relative_time
from din.serve.requests import requests_for


def test_a_request_runs_in_the_calling_thread(finished: Finished) -> None:
    """The calling thread's CPU time is that of the whole process, so no work escapes the measurement."""
    bundle = verify_bundle(finished.bundle)
    process = process_time()
    thread = thread_time()
    relative_time(bundle, None)
    assert thread_time() - thread == pytest.approx(process_time() - process, rel=0.1)


def rows_of(finished: Finished) -> pa.Table:
    """Return test rows as in reports/predictions/."""
    parts = [shard.impressions for shard in finished.features.shards("test")]
    names = ("user", "item", "sequence", "timestamp")
    return pa.concat_tables(pa.table({name: getattr(part, name) for name in names}) for part in parts)


def test_histories_have_the_requested_length(finished: Finished) -> None:
    """A history holds the newest behaviours, more or fewer than today's features keep."""
    rows, root = rows_of(finished), finished.features.root
    longest = [r["history"] for r in requests_for(rows, finished.raw, root, max_history=1000)]
    today = finished.features.manifest.max_history
    assert max(map(len, longest)) > today
    for most in (1, today, today + 2):
        found = [r["history"] for r in requests_for(rows, finished.raw, root, max_history=most)]
        assert found == [history[-most:] for history in longest]


def test_champion_gets_its_own_history_length(finished: Finished, monkeypatch: pytest.MonkeyPatch) -> None:
    """The length of histories is the bundle's, as in production, not that of today's features."""
    asked: list[int | None] = []

    def spy(rows: Any, raw: Any, features: Any, fields: Any, max_history: int | None, known_items: Any) -> Any:
        asked.append(max_history)
        return requests_for(rows, raw, features, fields, max_history, known_items)

    monkeypatch.setattr("din.serve.requests.requests_for", spy)
    monkeypatch.setattr(Scorer, "max_history", 3)
    rows = rows_of(finished)
    assert score_champion(finished.here, finished.bundle, rows).shape == (len(rows),)
    assert asked == [3]

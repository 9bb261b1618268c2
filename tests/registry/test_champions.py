"""The choice of the anchor, and the versions that were rolled back."""

import pytest

from din.registry.champions import anchor
from din.registry.records import Record
from din.registry.registry import Registry
from tests.factories import documents_of
from tests.factories.run import write_bundle


def record(number, version, action="promote", previous=None, at="2026-01-01T00:00:00+00:00") -> Record:
    """Return a record of the log."""
    return Record(
        number=number,
        version=version,
        action=action,
        previous=previous,
        parent=None,
        run_id=None,
        nonce="n",
        by="ann",
        at=at,
        reason="why",
    )


@pytest.fixture
def store(tmp_path):
    """Return a function that stores a bundle with a recorded test AUC and returns its version."""
    registry = Registry(str(tmp_path / "registry"), "ads")

    def put(auc: float) -> str:
        metrics = dict(documents_of.METRICS, auc=auc)
        facts = documents_of.facts(evaluation=documents_of.evaluation(test=metrics))
        write_bundle(tmp_path / "bundle", facts, auc)
        return registry.put_bundle(tmp_path / "bundle")

    return registry, put


def test_anchor_is_the_best_of_90_days(store):
    """The anchor has the best recorded metric, without older or rolled-back champions and without today's."""
    registry, put = store
    old, best, bad, weak, today = (put(auc) for auc in (0.9, 0.8, 0.95, 0.6, 0.7))
    log = [
        record(1, old, at="2026-01-01T00:00:00+00:00"),
        record(2, best, at="2026-03-01T00:00:00+00:00"),
        record(3, bad, previous=best, at="2026-03-02T00:00:00+00:00"),
        record(4, best, "rollback", bad, at="2026-03-03T00:00:00+00:00"),
        record(5, weak, at="2026-04-01T00:00:00+00:00"),
        record(6, today, at="2026-05-01T00:00:00+00:00"),
    ]
    assert anchor(registry, log, "auc") == log[3]
    assert anchor(registry, log[:4], "auc") == log[0]  # within 90 days of record 4
    assert anchor(registry, log[:1], "auc") is None

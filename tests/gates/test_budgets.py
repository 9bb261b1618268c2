"""Budgets for the size of a bundle and the time of a request, absolute and against the champion."""

import math

import pytest

from din.gates.gate import gate
from din.promotion.promote import promote
from din.registry.bundle import Verified
from din.serve.latency import NOMINAL_MS
from din.workspace import Workspace
from tests.factories.run import challenge, find, judge, score, set_gate, shut


@pytest.fixture
def measured(quick):
    """Return parameters with limits on the time of a request."""
    return set_gate(quick, max_latency_ms=100.0, max_latency_ratio=1.5)


@pytest.mark.parametrize(
    ("limits", "closed"),
    [
        ({}, ["latency_ms", "latency_ratio"]),
        ({"max_latency_ms": 120.0}, ["latency_ratio"]),
        ({"max_latency_ratio": 1.6}, ["latency_ms"]),
        ({"max_latency_ms": 120.0, "max_latency_ratio": 1.6}, []),
    ],
)
def test_a_time_beyond_its_limit_closes(limits: dict, closed: list, workspace: Workspace, run, measured, registry):
    """Both gates time the candidate, one of them beside the champion's bundle, and round what they find."""
    old = challenge(registry, run)
    pairs = []

    def slow(bundle: Verified, other: Verified | None) -> float:
        pairs.append((bundle.version, other and other.version))
        return 120.04 / NOMINAL_MS if other is None else 1.604

    report = judge(workspace, set_gate(measured, **limits), latency=slow)
    assert shut(report) == closed
    assert pairs == [(report["bundle"], None), (report["bundle"], old)]
    assert [find(report, name)["observed"] for name in ("latency_ms", "latency_ratio")] == [120.0, 1.6]
    assert "latency_ratio" not in closed or "raise gate.max_latency_ratio" in find(report, "latency_ratio")["reason"]


@pytest.mark.parametrize("fault", ["raises", "NaN"])
def test_bundle_that_cannot_answer_closes(workspace: Workspace, run, measured, registry, fault):
    """A bundle that can't answer a request is closed."""
    challenge(registry, run)

    def broken(bundle, other):
        if fault == "raises":
            raise RuntimeError("no such operator")
        return math.nan

    report = judge(workspace, measured, latency=broken)
    assert shut(report) == ["latency_ms", "latency_ratio"]
    assert fault == "NaN" or "no such operator" in find(report, "latency_ms")["reason"]


def test_promotion_measures_again(workspace: Workspace, run, measured, registry):
    """A measured time may differ from the report's, as long as it is within its limit."""
    challenge(registry, run)
    times = iter([9.0, 1.1, 11.0, 1.2])

    def varying(bundle, other):
        return next(times)

    gate(workspace, measured, score, varying)
    assert promote(workspace, measured, by="ann", reason="nightly", score=score, latency=varying).appended
    assert next(times, None) is None

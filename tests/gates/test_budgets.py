"""Budgets for the size of a bundle and the time of a request, absolute and against the champion."""

import math

import pytest
from judging import crown, find, judge, set_gate, shut
from miniature import score

from din.gates.gate import gate
from din.promotion.promote import promote
from din.registry.bundle import Verified, verify_bundle
from din.serve.latency import NOMINAL_MS
from din.workspace import Workspace

MS = 1 / NOMINAL_MS
"""One nominal millisecond, in times of the calibration workload."""


def slow(bundle: Verified, other: Verified | None) -> float:
    """Time a bundle as if it took 120.04 ms, and 1.604 times as long as the champion."""
    return 120.04 * MS if other is None else 1.604


@pytest.fixture
def measured(quick):
    """Return parameters with limits on the time of a request."""
    return set_gate(quick, max_latency_ms=100.0, max_latency_ratio=1.5)


def challenge(run, registry) -> str:
    """Make the run's bundle the champion, put a better candidate in its place, and return the champion's version."""
    version = crown(registry, run)
    run.noise = 0.1
    run.finish()
    return version


def test_slow_bundle_closes(workspace: Workspace, run, measured):
    """A time above the budget is closed, and the report rounds it to 0.1 ms."""
    report = judge(workspace, measured, latency=slow)
    assert shut(report) == ["latency_ms"]
    assert find(report, "latency_ms")["observed"] == 120.0
    assert shut(judge(workspace, set_gate(measured, max_latency_ms=120.0), latency=slow)) == []


def test_bundle_slower_than_the_champion_closes(workspace: Workspace, run, measured, registry):
    """A request that takes much longer than the champion's is closed, although it is within the budget."""
    challenge(run, registry)
    roomy = set_gate(measured, max_latency_ms=200.0)
    report = judge(workspace, roomy, latency=slow)
    assert shut(report) == ["latency_ratio"]
    assert find(report, "latency_ratio")["observed"] == 1.6
    assert "raise gate.max_latency_ratio" in find(report, "latency_ratio")["reason"]
    assert shut(judge(workspace, set_gate(roomy, max_latency_ratio=1.6), latency=slow)) == []


def test_the_candidate_is_timed_beside_the_champion(workspace: Workspace, run, measured, registry):
    """Both gates time the candidate, one of them beside the champion's own bundle."""
    old = challenge(run, registry)
    pairs = []

    def spy(bundle: Verified, other: Verified | None) -> float:
        pairs.append((bundle.version, other and other.version))
        return 1.0

    report = judge(workspace, measured, latency=spy)
    assert pairs == [(report["bundle"], None), (report["bundle"], old)]
    assert find(report, "latency_ms")["observed"] == NOMINAL_MS


def test_no_limit_measures_nothing(workspace: Workspace, run, quick, registry):
    """With `max_latency_ms: null`, there is no gate on time, and no session is opened."""
    challenge(run, registry)

    def never(bundle, other):
        raise AssertionError("measured")

    report = judge(workspace, quick, score, latency=never)
    assert not {"latency_ms", "latency_ratio"} & {g["name"] for g in report["gates"]}


@pytest.mark.parametrize("fault", ["raises", "NaN"])
def test_bundle_that_cannot_answer_closes(workspace: Workspace, run, measured, registry, fault):
    """A bundle that can't answer a request is closed."""
    challenge(run, registry)

    def broken(bundle, other):
        if fault == "raises":
            raise RuntimeError("no such operator")
        return math.nan

    report = judge(workspace, measured, latency=broken)
    assert shut(report) == ["latency_ms", "latency_ratio"]
    assert fault == "NaN" or "no such operator" in find(report, "latency_ms")["reason"]


def test_bundle_larger_than_the_champion_closes(workspace: Workspace, run, quick, registry):
    """A bundle of four times the champion's size is closed, and one that grew by half is not."""
    size = sum((workspace.bundle / name).stat().st_size for name in verify_bundle(workspace.bundle).files)
    challenge(run, registry)
    run.facts["packages"] = {"padding": "x" * (size // 2)}
    run.bundle()
    report = judge(workspace, quick)
    assert shut(report) == []
    assert find(report, "bundle_ratio")["observed"] == pytest.approx(1.5, abs=0.1)
    run.facts["packages"] = {"padding": "x" * (3 * size)}
    run.bundle()
    report = judge(workspace, quick)
    assert shut(report) == ["bundle_ratio"]
    assert "raise gate.max_bundle_ratio" in find(report, "bundle_ratio")["reason"]


def test_the_champion_itself_needs_no_measurement(workspace: Workspace, run, measured, registry):
    """A rerun that reproduced the champion is as large and as fast."""
    crown(registry, run)

    def alone(bundle, other):
        assert other is None
        return 1.0

    report = judge(workspace, measured, latency=alone)
    assert [find(report, name)["observed"] for name in ("bundle_ratio", "latency_ratio")] == [1.0, 1.0]


def test_promotion_measures_again(workspace: Workspace, run, measured, registry):
    """A measured time may differ from the report's, as long as it is within its limit."""
    challenge(run, registry)
    times = iter([9.0, 1.1, 11.0, 1.2])

    def varying(bundle, other):
        return next(times)

    gate(workspace, measured, score, varying)
    assert promote(workspace, measured, by="ann", reason="nightly", score=score, latency=varying).appended
    assert next(times, None) is None

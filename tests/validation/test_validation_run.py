"""Sound workspaces raise no alarm in any suite, and what cannot be judged is closed or bad input."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from din.base.errors import InputError, Unavailable
from din.base.workspace import Workspace
from din.contracts.expectations import ALWAYS
from din.params.reading import Params
from tests.validation.planting import HERE, RAW, described, failed, judge, seal
from validation import raw
from validation.run import _plain, validate

Enter = Callable[..., Params]
SOMETIMES = {"features": {"grade_of_judged_rows", "pair_leak", "rate_of_judged_rows"}, "predictions": set()}
"""The critical expectations that a suite judges only if a log has fields of certain kinds."""


@pytest.mark.parametrize("protocol", ["temporal", "by_user", "leave_last_out"])
@pytest.mark.parametrize("seed", [7, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(20) if seed != 7)])
def test_clean_workspaces_are_open(protocol: str, seed: int, workspace: Enter) -> None:
    """No suite gives a false alarm or warning, and each judges what gates demand, and says what it judges."""
    params = workspace(protocol, seed)
    for suite, always in ALWAYS.items():
        report = judge(suite, params)
        assert not failed(report) and not failed(report, "warning"), suite
        critical = {entry["name"] for entry in report["expectations"] if entry["severity"] == "critical"}
        assert always <= critical
        if suite != "raw":  # most of its expectations depend on the tables and columns of the log
            assert critical - always == SOMETIMES[suite], "name it in din/contracts/expectations.py too"
        assert all(described(suite).fullmatch(entry["name"]) for entry in report["expectations"])


def test_a_workspace_below_a_folder_that_looks_like_a_partition(workspace: Enter) -> None:
    """The raw suite reads the workspace's own days and columns, by an absolute path too."""
    params = workspace()
    root = Path.cwd().parent / "date=2020-01-01/label=7 [1]"
    shutil.copytree(Path.cwd(), root)
    validate(Workspace(root), "raw", raw.PHASES, params)
    assert Workspace(root).verdict("raw").exists()


def test_what_cannot_be_evaluated_is_closed(workspace: Enter, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception while judging closes the gate, and the report gives it as the reason."""
    params = workspace()
    monkeypatch.setattr("validation.raw._repeated", lambda *_: 1 / 0)
    report = judge("raw", params)
    found = failed(report)
    assert found.keys() == {"rows_evaluated"} and report["verdict"] == "closed"
    assert "ZeroDivisionError" in found["rows_evaluated"]["reason"]


def test_too_little_memory_closes_nothing(workspace: Enter, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stage fails, so that a scheduler tries again, and there is no report."""
    params = workspace()
    too_much = "SELECT list(range) FROM range(30_000_000)"
    monkeypatch.setattr("validation.suite_data.MEMORY_MB", 100)
    monkeypatch.setattr("validation.raw._repeated", lambda log, *_: log.one(too_much))
    with pytest.raises(Unavailable, match="DuckDB: Out of Memory"):
        judge("raw", params)
    assert not HERE.validation("raw").exists()


def test_nothing_to_judge_is_bad_input(workspace: Enter) -> None:
    """Without a raw log, or with one of another format, there is no verdict."""
    params = workspace()
    judge("raw", params)
    seal(RAW, format=1)
    with pytest.raises(InputError, match=r"format: .*got 1"):
        judge("raw", params)
    shutil.rmtree(RAW)
    with pytest.raises(InputError, match="data/raw"):
        judge("raw", params)
    assert not Path("reports/validation/raw.verdict").exists()


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(allow_nan=False, allow_infinity=False))
def test_rounding_keeps_the_order_of_figure_and_threshold(low: float, high: float) -> None:
    """A figure within its bounds is within them in the report, and sums in another order give the same report."""
    low, high = sorted((low, high))
    assert _plain(low) <= _plain(high)
    assert _plain(0.1 + 0.2 + 0.3) == _plain(0.3 + 0.2 + 0.1) == 0.6

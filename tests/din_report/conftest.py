"""Fixtures of the report's tests: figures of a run without any file, and a finished miniature run."""

from pathlib import Path

import pytest

from din.base.workspace import Workspace
from din.metrics.estimates import Interval
from din.params.reading import Params
from din_report.figures import CalibrationBin, Scored, SliceFigures
from tests.din_report.small_runs import finish, new_workspace
from tests.factories.run import Run as Miniature
from tests.factories.run import quick

__all__ = ["quick"]


@pytest.fixture
def scored() -> Scored:
    """Figures that give no advice."""
    sound = Interval(1.0, 0.97, 1.03)
    return Scored(
        rows=1200,
        sampled=1200,
        auc=Interval(0.70, 0.68, 0.72),
        over_lr=Interval(0.01, 0.005, 0.015),
        gauc_over_lr=Interval(-0.001, -0.004, 0.002),
        over_popularity=Interval(0.02, 0.01, 0.03),
        calibration=[CalibrationBin(600, 0.4, Interval(0.42, 0.38, 0.46))],
        slices=[SliceFigures("tab=home", 800, 90, Interval(0.7, 0.66, 0.74), sound)],
        slices_left_out=0,
        median_history=12.0,
        no_history=0.1,
        unknown_items={"valid": 0.01, "test": 0.02},
        days=[],
        mistakes=[],
    )


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return new_workspace(tmp_path)


@pytest.fixture
def finished(workspace: Workspace, quick: Params, monkeypatch: pytest.MonkeyPatch) -> Miniature:
    monkeypatch.delenv("DIN_RUN_ID", raising=False)
    return finish(workspace, quick)

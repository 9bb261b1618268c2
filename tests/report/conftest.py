"""Fixtures of the report's tests: figures of a run without any file, and a finished miniature run."""

import shutil
from dataclasses import replace
from pathlib import Path

import documents_of
import pytest
from miniature import Run as Miniature

from din.artifacts import write_json
from din.metrics.estimates import Interval
from din.params import Params
from din.report.figures import CalibrationBin, HistogramBin, Histories, Lift, Scored, SliceFigures
from din.workspace import Workspace

ROOT = Path(__file__).parent.parent.parent
TRAINING = {
    "model": "din",
    "champion": None,
    "days": [],
    "backend": "native",
    "epochs": 3,
    "best_epoch": 2,
    "warm_start": None,
    "valid_auc": 0.72,
    "history": [
        {"epoch": n, "train_loss": 0.6 - n / 10, "valid_auc": auc, "valid_gauc": 0.6, "valid_log_loss": 0.6}
        for n, auc in enumerate((0.70, 0.72, 0.71))
    ],
}


@pytest.fixture
def scored() -> Scored:
    """Figures that give no advice."""
    sound = Interval(1.0, 0.97, 1.03)
    return Scored(
        rows=1200,
        sampled=1200,
        roc={name: [(0.0, 0.0), (0.3, 0.6), (1.0, 1.0)] for name in ("model", "lr", "popularity")},
        calibration=[CalibrationBin(600, 0.4, 0.42, 0.38, 0.46), CalibrationBin(600, 0.6, 0.61, 0.57, 0.65)],
        lifts={name: [Lift(0.1, 1.6), Lift(1.0, 1.0)] for name in ("model", "lr", "popularity")},
        histogram=[HistogramBin(0.2, 0.5, 0.4, 0.6), HistogramBin(0.5, 0.8, 0.6, 0.4)],
        valid_auc=Interval(0.71, 0.69, 0.73),
        test_auc=Interval(0.70, 0.68, 0.72),
        over_lr=Interval(0.01, 0.005, 0.015),
        slices=[SliceFigures("tab", "home", 800, 90, Interval(0.7, 0.66, 0.74), sound)],
        slices_left_out=0,
        histories=Histories(median=12.0, empty=0.1, longest=50),
        unknown_items={"valid": 0.01, "test": 0.02},
    )


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A workspace with the pipeline and the parameters of the repository."""
    for name in ("dvc.yaml", "params.yaml"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    return Workspace(tmp_path)


@pytest.fixture
def quick(params: Params) -> Params:
    """The shipped parameters with a margin and slices for a small log."""
    small = {"margin": 0.03, "min_slice_rows": 100, "max_latency_ms": None, "max_gain": 0.5}
    return replace(params, gate=replace(params.gate, **small))


@pytest.fixture
def finished(workspace: Workspace, quick: Params, monkeypatch: pytest.MonkeyPatch) -> Miniature:
    """A miniature run that waits for its gate, with a training behind it."""
    monkeypatch.delenv("DIN_RUN_ID", raising=False)
    run = Miniature(workspace, quick)
    shutil.copyfile(workspace.predictions / "test.parquet", workspace.predictions / "valid.parquet")
    run.finish()  # with the hash of both
    write_json(workspace.training, TRAINING)
    write_json(workspace.training_times, {"seconds": 12.5, "cpu_seconds": 11.0, "samples_per_second": 3000.0})
    write_json(workspace.machine_of("train"), documents_of.machine())
    return run

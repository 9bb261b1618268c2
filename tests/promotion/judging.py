"""Run the gate on a miniature workspace and read its report."""

from dataclasses import replace

from miniature import score

from din.artifacts import read_json
from din.errors import GateClosed
from din.params import Params
from din.promotion.gate import gate
from din.workspace import Workspace

NEED_SCORES = {
    "champion_delta_auc",
    "champion_delta_gauc",
    "slice_delta",
    "calibration",
    "slice_calibration",
    "prediction_drift",
    "implausible_gain",
    "champion_today",
}


def judge(workspace: Workspace, params, score=score, **settings) -> dict:
    """Run the gate and return its report for any verdict."""
    try:
        gate(workspace, params, score, **settings)
    except GateClosed as error:
        report = read_json(workspace.gate)
        assert error.report == workspace.gate and report["verdict"] != "open"
        for closed in shut(report):
            assert closed in str(error)  # the message names the closed gates
        return report
    report = read_json(workspace.gate)
    assert report["verdict"] == "open"
    return report


def set_gate(params, **settings) -> Params:
    """Return the parameters with some of block `gate` changed."""
    return replace(params, gate=replace(params.gate, **settings))


def shut(report) -> list[str]:
    """Return the names of the gates that are not open."""
    return [g["name"] for g in report["gates"] if g["verdict"] != "open"]


def find(report, name) -> dict:
    """Return one gate of a report."""
    return next(g for g in report["gates"] if g["name"] == name)


def crown(registry, run, **facts) -> str:
    """Make the run's bundle the champion, then leave a better candidate in the workspace."""
    run.facts |= facts
    version = run.bundle()
    registry.put_bundle(run.here.bundle)
    registry.append(version, registry.champion(), by="test", reason="crowned")
    return version

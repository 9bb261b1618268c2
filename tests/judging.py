"""Run the gate on a miniature workspace and read its report."""

from dataclasses import replace

from miniature import Run, score
from settings import changed

from din.artifacts import read_json
from din.errors import GateClosed
from din.gates.gate import gate
from din.params import Params
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
    """Make the run's bundle the champion, with some facts changed, and return its version."""
    run.facts |= facts
    version = run.bundle()
    registry.put_bundle(run.here.bundle)
    registry.append(version, registry.champion(), by="test", reason="crowned")
    return version


def challenge(registry, run, noise: float = 0.1, **facts) -> str:
    """Crown the run's bundle, then put a candidate with this noise in its place; return the champion's version."""
    version = crown(registry, run, **facts)
    run.become(noise)
    return version


def going_on(run: Run, params: Params, version: str, pin: str | None = None, start: str = "champion") -> Params:
    """Let the candidate start from a version: as a champion that goes on, which params.yaml may abbreviate, or warm."""
    settings = {"start": start, "champion": version} if start == "champion" else {"warm_start": version}
    run.facts["params"] |= {"train": run.facts["params"]["train"] | settings}
    run.finish()
    return replace(params, train=changed(params.train, **settings | ({"champion": pin} if pin else {})))

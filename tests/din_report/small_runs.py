"""Small runs to report on: one that waits for its gate, and one that broke."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from din.base.artifacts import write_json
from din.base.workspace import Workspace
from din.params.reading import Params
from din.release.gates.gate import gate
from tests.factories import documents_of
from tests.factories.run import Run as Miniature
from tests.factories.run import score

ROOT = Path(__file__).parent.parent.parent
MOST_BYTES = 500_000
"""The largest size of a page."""
TRAINING = {
    "model": "din",
    "champion": None,
    "days": [],
    "backend": "native",
    "epochs": 3,
    "best_epoch": 2,
    "valid_auc": 0.72,
    "history": [
        {"epoch": n, "train_loss": 0.6 - n / 10, "valid_auc": auc, "valid_gauc": 0.6, "valid_log_loss": 0.6}
        for n, auc in enumerate((0.70, 0.72, 0.71))
    ],
}


def new_workspace(root: Path) -> Workspace:
    """Return a workspace with the pipeline and the parameters of the repository."""
    root.mkdir(parents=True, exist_ok=True)
    for name in ("dvc.yaml", "params.yaml"):
        (root / name).write_bytes((ROOT / name).read_bytes())
    return Workspace(root)


def finish(workspace: Workspace, params: Params) -> Miniature:
    """Return a run that waits for its gate, with a training behind it."""
    run = Miniature(workspace, params)
    shutil.copyfile(workspace.predictions / "test.parquet", workspace.predictions / "valid.parquet")
    run.finish()  # with the hash of both
    write_json(workspace.training, TRAINING)
    write_json(workspace.training_times, {"seconds": 12.5, "cpu_seconds": 11.0, "samples_per_second": 3000.0})
    write_json(workspace.machine_of("train"), documents_of.machine())
    return run


def judge(run: Miniature, **limits: Any) -> None:
    params = replace(run.params, gate=replace(run.params.gate, **limits))
    gate(run.here, params, score)


def stop_at_the_raw_log(workspace: Workspace, user: str) -> None:
    """Leave what a run leaves that stopped because a row of its log, by this user, fails an expectation."""
    failed = documents_of.expectation("user_id_not_null", success=False, observed=3, sample=[{"user_id": user}])
    failed |= {"advice": "fill the column"}
    report = {"verdict": "closed", "input": documents_of.DIGEST, "params": {}, "user_file": None}
    report |= {"judged": {failed["name"]: "critical"}, "expectations": [failed]}
    write_json(workspace.validation("raw"), report)
    outcome = {"run_id": "local", "stage": "validate_raw", "exit_code": 3, "report": None, "seconds": 2.0}
    write_json(workspace.outcome("validate_raw"), outcome | {"message": f"closed: no user_id in the row of {user}"})


def keep(run: Miniature, run_id: str) -> None:
    """Keep the reports of a run as a scheduler does."""
    for name in ("gate.json", "report.html"):
        place = Path(run.here.located(run.params.promote.registry), run.params.model_name, "runs", run_id, "reports")
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(run.here.reports / name, place)

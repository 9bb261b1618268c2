"""The candidates that were refused in a workspace: the reports of their gates, which the next run would overwrite.

    .din/refused/<version>.json     a copy of reports/gate.json, as old as it

A scheduler keeps the reports of its runs in the registry (docs/workers.md), so those are left out here.
"""

import shutil
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from din.base import documents
from din.base.artifacts import atomic_path
from din.base.errors import InputError
from din.base.workspace import Workspace
from din.contracts.verdicts import GateReport
from din.stages.stage import run_id
from din_report.run import Run

MOST_REFUSED = 50


def keep_refused(run: Run) -> None:
    """Keep the gate's report if it refuses the candidate, and remove an earlier refusal of the candidate if not.

    Of more than `MOST_REFUSED` candidates, the oldest are removed.
    """
    if run.gate is None or run.gate.bundle is None or run_id() != "local":
        return
    kept = run.workspace.refused / f"{run.gate.bundle}.json"
    if run.verdict.state in ("closed", "borderline"):
        with atomic_path(kept) as copy:
            shutil.copy2(run.workspace.gate, copy)  # with its time
    else:
        kept.unlink(missing_ok=True)
    for path in sorted(_reports(run.workspace), key=_time)[:-MOST_REFUSED]:
        path.unlink(missing_ok=True)


def refused(workspace: Workspace) -> list[tuple[str, GateReport]]:
    """Return when each refused candidate was judged, and the report of its gate."""
    reports = []
    for path in _reports(workspace):
        with suppress(InputError):  # written by another release, or damaged
            at = datetime.fromtimestamp(_time(path), UTC).isoformat(timespec="seconds")
            reports.append((at, documents.read(GateReport, path)))
    return reports


def _reports(workspace: Workspace) -> list[Path]:
    return [path for path in workspace.refused.glob("*.json") if not path.name.startswith(".")]


def _time(path: Path) -> float:
    return path.stat().st_mtime

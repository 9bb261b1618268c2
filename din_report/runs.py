"""All runs of a registry as one HTML page, in the style of the run report and as safe as it (see `page.py`).

A run is a promotion or a rollback in the log, a folder below runs/ that a scheduler wrote (docs/workers.md), or a
candidate that was refused in this workspace. An alarm of `din watch` has a row too. Reading costs one listing, and a
request for each alarm and for each run of the registry that is shown. A report that can't be read leaves dashes.
"""

import json
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from urllib.parse import quote

from filelock import FileLock

from din.base import documents
from din.base.artifacts import write_bytes
from din.base.errors import InputError
from din.base.workspace import Workspace
from din.contracts.verdicts import GateEntry, GateReport
from din.release.registry.objects import Objects
from din.release.registry.records import Record
from din.release.registry.registry import PROMOTED, Registry
from din_loop.watch.alarms import Alarm
from din_loop.watch.alarms import kept as kept_alarms
from din_report.page import environment
from din_report.refused import refused

MOST_RUNS = 200
MOST_ALARMS = 50
_RUNS = "runs"
_GATES = {"auc": "min_auc", "gauc": "min_gauc", "delta": "champion_delta_auc"}
"""The gates that state the metrics of a run with their intervals."""


@dataclass(frozen=True)
class RunMetric:
    """A metric, with its interval if the gate stated one."""

    value: float | None = None
    interval: tuple[float | None, float | None] | None = None


@dataclass(frozen=True)
class RunRow:
    """One run.

    Attributes:
        at: the time of its record, or else of its last report.
        verdict: promoted, rollback, the verdict of its gate, or `stopped` if it has none; `alarm` for an alarm.
        why: the record's reason, or the gates that are not open.
        run_id: None for a rollback, and for a candidate that was refused in this workspace.
        number: the number of its record, if it was promoted.
        version: the candidate, or the champion that an alarm is about.
        figures: by the name of the metric: auc, gauc, and the difference from the champion's AUC.
        champion: the record of the champion that it was compared with.
        overridden_by: who promoted it although gates were not open, and which gates; None without an override.
        report: the address of its page, or None if none was kept.
    """

    at: str
    verdict: str
    why: str
    run_id: str | None = None
    number: int | None = None
    version: str | None = None
    figures: Mapping[str, RunMetric] = field(default_factory=lambda: dict.fromkeys(_GATES, RunMetric()))
    champion: int | None = None
    overridden_by: str | None = None
    report: str | None = None


@dataclass(frozen=True)
class Runs:
    """The newest runs and alarms, newest first, and the number of older runs."""

    name: str
    rows: Sequence[RunRow]
    left_out: int


def write_runs(workspace: Workspace, uri: str, model_name: str) -> Runs:
    """Write `reports/runs.html` about the newest runs of a registry, and return them.

    Raises:
        InputError: the log is damaged, or the registry can't be read.
        Unavailable: the store doesn't answer.
    """
    runs = read_runs(workspace, uri, model_name)
    page = workspace.runs_page
    local = {row.report for row in runs.rows if row.report and "://" not in uri}
    folder = page.parent.resolve()
    links = {place: quote(os.path.relpath(Path(place).expanduser().resolve(), folder)) for place in local}
    with FileLock(workspace.report_lock):
        write_bytes(page, environment().get_template("runs.html.j2").render(runs=runs, links=links).encode())
    return runs


def print_runs(workspace: Workspace, runs: Runs, as_json: bool = False) -> None:
    """Print the page's path, or the runs as JSON."""
    if as_json:
        print(json.dumps([asdict(row) for row in runs.rows], indent=2))
        return
    older = f", {runs.left_out} older ones not shown" if runs.left_out else ""
    print(f"runs of {runs.name}: {len(runs.rows)}{older}")
    print(f"report: {workspace.relative(workspace.runs_page)}")


def read_runs(workspace: Workspace, uri: str, model_name: str) -> Runs:
    """Return the `MOST_RUNS` newest runs; for the errors see `write_runs`."""
    registry = Registry(uri, model_name)
    objects = registry.objects
    history = registry.history()
    keys = objects.keys(_RUNS)
    recorded = {record.run_id for record in history}
    kept: dict[str, str] = {}
    for key, time in keys.items():
        run_id = key.split("/")[1]
        if run_id not in recorded:
            kept[run_id] = max(kept.get(run_id, ""), time.isoformat(timespec="seconds"))
    by_time = [(record.at, record.number, record.run_id, record) for record in history]
    by_time += [(at, 0, run_id, None) for run_id, at in kept.items()]
    by_time.sort(key=lambda run: run[:2], reverse=True)
    rows = []
    for at, _, run_id, record in by_time[:MOST_RUNS]:
        gate = _gate(objects, _file(keys, run_id, record, "gate.json"))
        page = _file(keys, run_id, record, "report.html")
        rows.append(_row(at, run_id, record, gate, page and objects.at(page)))
    asked = (_resolved(uri), model_name)
    here = [(at, gate) for at, gate in refused(workspace) if _destination(gate, workspace) == asked]
    rows += [_row(at, None, None, gate, None) for at, gate in here]
    alarms = [_alarm(alarm) for alarm in kept_alarms(objects)[-MOST_ALARMS:]]
    shown = _newest_first([*_newest_first(rows)[:MOST_RUNS], *alarms])
    return Runs(registry.name, shown, max(len(by_time) + len(here) - MOST_RUNS, 0))


def _newest_first(rows: Iterable[RunRow]) -> list[RunRow]:
    return sorted(rows, key=lambda row: (row.at, row.number or 0), reverse=True)


def _alarm(alarm: Alarm) -> RunRow:
    why = f"{alarm.figure} on {alarm.day}: {alarm.action}; {alarm.why}"
    return RunRow(alarm.at, "alarm", why, version=alarm.version)


def _destination(gate: GateReport, workspace: Workspace) -> tuple[str, str]:
    """Return the registry and the model's name that a gate's candidate was meant for."""
    place = workspace.located(gate.about.params.get("promote", {}).get("registry", ""))
    return _resolved(place), gate.about.model_name


def _resolved(uri: str) -> str:
    """Return a registry's URI in the one form that all its spellings share."""
    return uri.rstrip("/") if "://" in uri else str(Path(uri).expanduser().resolve())


def _row(at: str, run_id: str | None, record: Record | None, gate: GateReport | None, page: str | None) -> RunRow:
    entries = {entry.name: entry for entry in gate.gates} if gate else {}
    verdict = gate.verdict if gate else "stopped"
    why = ", ".join(entry.name for entry in gate.not_open) if gate else "it kept no report of its gate"
    if record:
        verdict = "promoted" if record.action == "promote" else record.action
        why = record.reason
    return RunRow(
        at=at,
        verdict=verdict,
        why=why,
        run_id=run_id,
        number=record.number if record else None,
        version=record.version if record else (gate and gate.bundle),
        figures={name: _figure(entries.get(entry)) for name, entry in _GATES.items()},
        champion=gate.champion.number if gate and gate.champion else None,
        overridden_by=f"{record.author} ({record.override.in_words})" if record and record.override else None,
        report=page,
    )


def _file(keys: Collection[str], run_id: str | None, record: Record | None, name: str) -> str | None:
    """Return the key of a run's file: the one that its promotion hashed, or else the one that a scheduler kept."""
    if run_id is None:
        return None
    for file in record.files if record else ():
        folder, _, rest = file.partition("/")
        if folder.startswith(PROMOTED) and rest == name:
            return f"{_RUNS}/{run_id}/{file}"
    kept = f"{_RUNS}/{run_id}/reports/{name}"
    return kept if kept in keys else None


def _gate(objects: Objects, key: str | None) -> GateReport | None:
    if key is None:
        return None
    try:
        return documents.parse(GateReport, objects.read(key), objects.at(key))
    except InputError:  # written by another release, or damaged, which `din registry verify` reports
        return None


def _figure(entry: GateEntry | None) -> RunMetric:
    if entry is None or not isinstance(entry.observed, int | float):
        return RunMetric()
    return RunMetric(float(entry.observed), entry.interval)

"""All runs of a registry as one HTML page, in the style of the run report and as safe and small as it (see `page.py`).

A run is a promotion or a rollback in the log, or a folder below runs/ that a scheduler wrote (docs/workers.md). Reading
costs one listing, and a request or two for each run that is shown. A report that can't be read leaves dashes.
"""

import json
import os
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path, PurePosixPath
from urllib.parse import quote

from markupsafe import Markup

from din import documents
from din.artifacts import write_bytes
from din.errors import InputError
from din.registry.objects import Objects
from din.registry.records import Record, run_key
from din.registry.registry import PROMOTED, Registry
from din.report.charts import Axis, Plot
from din.report.page import MOST_BYTES, environment
from din.verdicts import GateReport
from din.workspace import Workspace

MOST_POINTS = 200
"""The largest number of promotions on the curve; with more, it is thinned."""
_MOST_ROWS = (1000, 500, 200)
"""Numbers of runs, each for pages that are too long with the one before."""
_RUNS = "runs"
_GATES = {"auc": "min_auc", "gauc": "min_gauc", "delta": "champion_delta_auc"}
"""The gates that state the metrics of a run with their intervals."""


@dataclass(frozen=True)
class Figure:
    """A metric, with its interval if the gate stated one."""

    value: float | None = None
    interval: tuple[float | None, float | None] | None = None


@dataclass(frozen=True)
class RunRow:
    """One run.

    Attributes:
        at: the time of its record, or else of its last report.
        verdict: promoted, rollback, the verdict of its gate, or `stopped` if it has none.
        number: the number of its record, if it was promoted.
        version: the candidate.
        figures: by the name of the metric: auc, gauc, and the difference from the champion's AUC.
        champion: the record of the champion that it was compared with.
        approved_by: who approved it, and whether that was an override; None if nobody had to.
        report: the address of its page, or None if none was kept.
    """

    at: str
    run_id: str | None
    verdict: str
    number: int | None
    version: str | None
    figures: dict[str, Figure]
    champion: int | None
    approved_by: str | None
    why: str
    report: str | None


@dataclass(frozen=True)
class Runs:
    """The newest runs first, the number of older ones, and the AUC of champions by time, oldest first."""

    name: str
    rows: Sequence[RunRow]
    left_out: int
    points: Sequence[tuple[str, Figure]]
    promotions: int


def write_runs(workspace: Workspace, uri: str, model_name: str) -> Runs:
    """Write `reports/runs.html` about the runs of a registry, the oldest left out where there are too many.

    Raises:
        InputError: the log is broken, or the registry can't be read.
        Unavailable: the store doesn't answer.
    """
    runs = read_runs(uri, model_name, _MOST_ROWS[0])
    page = b""
    for most in _MOST_ROWS:
        left_out = runs.left_out + len(runs.rows[most:])
        runs = replace(runs, rows=runs.rows[:most], left_out=left_out)
        page = _render(runs, uri, workspace.runs_page)
        if len(page) <= MOST_BYTES:
            break
    write_bytes(workspace.runs_page, page)
    return runs


def print_runs(workspace: Workspace, runs: Runs, as_json: bool = False) -> None:
    """Print the page's path, or the runs as JSON."""
    if as_json:
        print(json.dumps([asdict(one) for one in runs.rows], indent=2))
        return
    older = f", {runs.left_out} older ones not shown" if runs.left_out else ""
    print(f"runs of {runs.name}: {len(runs.rows)}{older}")
    print(f"report: {workspace.relative(workspace.runs_page)}")


def read_runs(uri: str, model_name: str, most: int) -> Runs:
    """Return the `most` newest runs; for the errors see `write_runs`."""
    registry = Registry(uri, model_name)
    objects = Objects(uri, model_name)
    history = registry.history()
    keys = objects.keys(_RUNS)
    recorded = {record.run_id for record in history if record.run_id}
    newest: dict[str, str] = {}
    for key, time in keys.items():
        run_id = key.split("/")[1]
        newest[run_id] = max(newest.get(run_id, ""), time.isoformat(timespec="seconds"))
    reader = _Reader(objects, keys)
    found = [_Found(record.at, record.run_id and run_key(record.run_id), record) for record in history]
    promoted = {one.record.version: one for one in reversed(found) if one.record and one.record.action == "promote"}
    every = -(-len(found) // MOST_POINTS) or 1
    thinned = found[::-every][::-1]  # the newest champion is always there
    points = [(one.at, reader.auc(promoted.get(one.record.version, one))) for one in thinned if one.record]
    found += [_Found(at, f"{_RUNS}/{run_id}", None) for run_id, at in newest.items() if run_id not in recorded]
    found.sort(key=lambda one: (one.at, one.record.number if one.record else 0), reverse=True)
    rows = [reader.row(one) for one in found[:most]]
    return Runs(registry.name, rows, max(len(found) - most, 0), points, len(history))


@dataclass(frozen=True)
class _Found:
    """A run before its reports are read: its folder, and its record if it was promoted or rolled back to."""

    at: str
    folder: str | None
    record: Record | None


class _Reader:
    """Reads what runs kept."""

    def __init__(self, objects: Objects, keys: Collection[str]) -> None:
        self.objects = objects
        self.keys = keys

    def row(self, found: _Found) -> RunRow:
        record = found.record
        gate = self._gate(found)
        verdict = gate.verdict if gate else "stopped"
        if record:
            verdict = "promoted" if record.action == "promote" else record.action
        page = self._file(found, "report.html")
        return RunRow(
            at=found.at,
            run_id=(record.run_id if record else None) or (PurePosixPath(found.folder).name if found.folder else None),
            verdict=verdict,
            number=record.number if record else None,
            version=record.version if record else (gate and gate.bundle),
            figures={name: _figure(gate, entry) for name, entry in _GATES.items()},
            champion=gate.champion.number if gate and gate.champion else None,
            approved_by=record.approval.in_words if record and record.approval else None,
            why=record.reason if record else _shut(gate),
            report=page and self.objects.at(page),
        )

    def auc(self, found: _Found) -> Figure:
        """Return the AUC that the gate of a run stated."""
        return _figure(self._gate(found), _GATES["auc"])

    def _gate(self, found: _Found) -> GateReport | None:
        key = self._file(found, "gate.json")
        if key is None:
            return None
        try:
            return documents.parse(GateReport, self.objects.read(key), self.objects.at(key))
        except InputError:  # written by another release, or damaged, which `din registry verify` reports
            return None

    def _file(self, found: _Found, name: str) -> str | None:
        """Return the key of a run's file: the one that its promotion hashed, or else the one that a scheduler kept."""
        if found.folder is None:
            return None
        promoted = [f"{found.folder}/{file}" for file in found.record.files] if found.record else []
        hashed = (key for key in promoted if PROMOTED in key and key.endswith(f"/{name}") and key.count("/") == 3)
        kept = f"{found.folder}/reports/{name}"
        return next(hashed, kept if kept in self.keys else None)


def _figure(gate: GateReport | None, name: str) -> Figure:
    entry = next((one for one in gate.gates if one.name == name), None) if gate else None
    if entry is None or not isinstance(entry.observed, int | float):
        return Figure()
    return Figure(float(entry.observed), entry.interval)


def _shut(gate: GateReport | None) -> str:
    """Return the names of the gates that are not open."""
    if gate is None:
        return "it kept no report of its gate"
    return ", ".join(one.name for one in gate.gates if one.verdict != "open")


def _render(runs: Runs, uri: str, page: Path) -> bytes:
    folder = page.parent.resolve()
    template = environment().get_template("runs.html.j2")
    linked = {
        one.report: quote(Path(os.path.relpath(Path(one.report).expanduser().resolve(), folder)).as_posix())
        for one in runs.rows
        if one.report and "://" not in uri
    }
    return template.render(runs=runs, curve=_curve(runs.points), links=linked).encode()


def _curve(points: Sequence[tuple[str, Figure]]) -> Markup | None:
    """Return the champions' AUC over time, or None if no AUC is known."""
    known = [(datetime.fromisoformat(at).timestamp() / 86_400, at, one) for at, one in points if one.value is not None]
    if not known:
        return None
    line = [(day, one.value or 0.0) for day, _, one in known]
    bounds = [bound for *_, one in known for bound in (one.value, *(one.interval or ())) if bound]
    room = (known[-1][0] - known[0][0] or 1.0) * 0.12  # for the texts of the two dates
    plot = Plot(Axis(known[0][0] - room, known[-1][0] + room, "day of the promotion"), Axis.over(bounds, "AUC"))
    plot.line(line, "candidate")
    for day, _, one in known:
        low, high = one.interval or (None, None)
        if low is not None and high is not None:
            plot.whisker(day, low, high, "candidate")
    plot.dots(line, "candidate")
    ends = {day: at[:10] for day, at, _ in (known[0], known[-1])}
    return plot.svg("AUC of the champions by the day of their promotion", list(ends.items()))

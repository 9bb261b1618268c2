"""All runs of a registry as its records and the runs' kept reports tell them: the rows of `din report --all`.

A run is a promotion or a rollback in the log, or a folder below runs/ that a scheduler wrote (docs/workers.md). Reading
costs one listing, and a request or two for each run that is shown. A report that can't be read leaves dashes.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Self

from din import documents
from din.document_types import GateEntry, GateReport
from din.errors import InputError
from din.metrics.estimates import Interval
from din.registry.objects import Objects
from din.registry.records import Record, run_key
from din.registry.registry import PROMOTED, Registry

MOST_POINTS = 200
"""The largest number of promotions on the curve; with more, it is thinned."""
_RUNS = "runs"


@dataclass(frozen=True)
class Figure:
    """A metric, with its interval if the gate stated one."""

    value: float | None
    interval: tuple[float | None, float | None] | None

    @property
    def bounds(self) -> Interval:
        """The figure as an interval; NaN where nothing is known."""
        low, high = self.interval or (None, None)
        return Interval(*(float("nan") if one is None else one for one in (self.value, low, high)))


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
class Point:
    """The AUC of a champion on its own test rows, from the time of its record on."""

    number: int
    at: str
    figure: Figure


@dataclass(frozen=True)
class Runs:
    """The newest runs first, the number of older ones, and the champions' AUC over time, oldest first."""

    name: str
    rows: Sequence[RunRow]
    left_out: int
    points: Sequence[Point]
    promotions: int

    def shortened(self, most: int) -> Self:
        """Return the same with at most this number of runs."""
        rows = self.rows[:most]
        return replace(self, rows=rows, left_out=self.left_out + len(self.rows) - len(rows))


GATES = {"auc": "min_auc", "gauc": "min_gauc", "delta": "champion_delta_auc"}
"""The gates that state the metrics of a run with their intervals."""


@dataclass(frozen=True)
class _Found:
    """A run before its reports are read: its folder, and its record if it was promoted or rolled back to."""

    at: str
    folder: str | None
    record: Record | None


def read_runs(uri: str, model_name: str, most: int) -> Runs:
    """Return the `most` newest runs.

    Raises:
        InputError: the log is broken, or the registry can't be read.
        Unavailable: the store doesn't answer.
    """
    registry = Registry(uri, model_name)
    objects = Objects(uri, model_name)
    history = registry.history()
    keys = objects.keys(_RUNS)
    recorded = {record.run_id for record in history if record.run_id}
    newest: dict[str, str] = {}
    for key, time in keys.items():
        run_id = key.split("/")[1]
        newest[run_id] = max(newest.get(run_id, ""), time.isoformat(timespec="seconds"))
    found = [_Found(record.at, record.run_id and run_key(record.run_id), record) for record in history]
    found += [_Found(at, f"{_RUNS}/{run_id}", None) for run_id, at in newest.items() if run_id not in recorded]
    found.sort(key=lambda one: (one.at, one.record.number if one.record else 0), reverse=True)
    reader = _Reader(objects, keys)
    every = -(-len(history) // MOST_POINTS) or 1
    thinned = history[::-every][::-1]  # the newest champion is always there
    promoted = {record.version: record for record in reversed(history) if record.action == "promote"}
    points = [Point(one.number, one.at, reader.auc(promoted.get(one.version, one))) for one in thinned]
    rows = [reader.row(one) for one in found[:most]]
    return Runs(registry.name, rows, max(len(found) - most, 0), points, len(history))


class _Reader:
    """Reads what runs kept."""

    def __init__(self, objects: Objects, keys: Collection[str]) -> None:
        self.objects = objects
        self.keys = keys

    def row(self, found: _Found) -> RunRow:
        record = found.record
        gate = self._gate(found)
        verdict = gate["verdict"] if gate else "stopped"
        if record:
            verdict = "promoted" if record.action == "promote" else record.action
        return RunRow(
            at=found.at,
            run_id=(record.run_id if record else None) or (PurePosixPath(found.folder).name if found.folder else None),
            verdict=verdict,
            number=record.number if record else None,
            version=record.version if record else (gate and gate["bundle"]),
            figures={name: _figure(gate, entry) for name, entry in GATES.items()},
            champion=gate["champion"]["number"] if gate and gate["champion"] else None,
            approved_by=record.approval.in_words if record and record.approval else None,
            why=record.reason if record else _shut(gate),
            report=self._report(found),
        )

    def auc(self, record: Record) -> Figure:
        """Return the AUC with which a record's version was promoted."""
        folder = record.run_id and run_key(record.run_id)
        return _figure(self._gate(_Found(record.at, folder, record)), GATES["auc"])

    def _gate(self, found: _Found) -> GateReport | None:
        key = self._file(found, "gate.json")
        if key is None:
            return None
        try:
            return documents.parse(GateReport, self.objects.read(key), self.objects.at(key))
        except InputError:  # written by another release, or damaged, which `din registry verify` reports
            return None

    def _report(self, found: _Found) -> str | None:
        key = self._file(found, "report.html")
        return key and self.objects.at(key)

    def _file(self, found: _Found, name: str) -> str | None:
        """Return the key of a run's file: the one that its promotion hashed, or else the one that a scheduler kept."""
        if found.folder is None:
            return None
        promoted = [f"{found.folder}/{file}" for file in found.record.files] if found.record else []
        hashed = (key for key in promoted if PROMOTED in key and key.endswith(f"/{name}") and key.count("/") == 3)
        kept = f"{found.folder}/reports/{name}"
        return next(hashed, kept if kept in self.keys else None)


def _figure(gate: GateReport | None, name: str) -> Figure:
    entries = gate["gates"] if gate else []
    entry: GateEntry | None = next((one for one in entries if one["name"] == name), None)
    observed = entry["observed"] if entry else None
    if entry is None or not isinstance(observed, int | float):
        return Figure(None, None)
    low, high = entry["interval"] or (None, None)
    return Figure(float(observed), (low, high))


def _shut(gate: GateReport | None) -> str:
    """Return the names of the gates that are not open."""
    if gate is None:
        return "it kept no report of its gate"
    return ", ".join(one["name"] for one in gate["gates"] if one["verdict"] != "open")

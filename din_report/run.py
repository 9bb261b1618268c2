"""A run, read from its reports. A report that can't be read is noted, and the others are still shown."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from din.base import documents
from din.base.artifacts import MANIFEST, sha256_file
from din.base.errors import InputError, Unavailable
from din.base.workspace import SUITES, Suite, Workspace
from din.bundle.contents import FACTS
from din.contracts.facts import Evaluation, Facts
from din.contracts.machine import Machine
from din.contracts.manifests import FeaturesManifest, RawManifest
from din.contracts.verdicts import GateReport, ValidationReport
from din.params.reading import load
from din.release.gates.report_text import explain, explain_champion
from din.release.registry.promoted import Promoted
from din.release.registry.records import Record
from din.release.registry.registry import Registry
from din.stages.pipeline import stages_of
from din.stages.stage import StageOutcome
from din.train.results import TrainingSummary, TrainingTimes
from din_report import figures
from din_report.figures import Scored
from din_report.importance import Importance, remembered

T = TypeVar("T")

State = Literal["promoted", "open", "borderline", "closed", "stopped", "unfinished"]
StageState = Literal["done", "closed", "failed", "not run"]


@dataclass(frozen=True)
class StageResult:
    """One stage of dvc.yaml and how it ended.

    Attributes:
        outs: the paths that it writes, from the root of the workspace.
        seconds: the time of its last run in this workspace.
        message: the beginning of its error; empty if it did not fail.
    """

    name: str
    purpose: str
    outs: tuple[str, ...]
    state: StageState
    exit_code: int | None
    seconds: float | None
    message: str


@dataclass(frozen=True)
class Verdict:
    """The fate of the candidate, in one word and in a few sentences.

    Attributes:
        message: the error of the stage that failed, or of a refused `din promote`; empty if there is none.
    """

    state: State
    sentence: str
    message: str = ""


class Run:
    """Everything that the page shows, apart from what needs PyTorch.

    A part is None if the run has not written it, or if it can't be shown, and then `missing` says why.
    `refusal` is the error of `din promote`; empty if it did not run since the gate, or did not fail. `tuned` says
    whether `din tune` has run here.
    """

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.missing: dict[str, str] = {}
        self.stages = self.attempt("dvc.yaml", lambda: _stages(workspace)) or []
        self.params = self.attempt("params.yaml", lambda: load(workspace.params))
        self.gate = self.attempt("the gate's report", self._gate)
        self.evaluation = self._document(Evaluation, workspace.evaluation)
        self.training = self._document(TrainingSummary, workspace.training)
        self.times = self._document(TrainingTimes, workspace.training_times)
        self.machine = self._document(Machine, workspace.machine_of("train"))
        self.validation: dict[Suite, ValidationReport] = {}
        for suite in SUITES:
            if report := self._document(ValidationReport, workspace.validation(suite)):
                self.validation[suite] = report
        self.raw = self._document(RawManifest, workspace.raw / MANIFEST)
        self.features = self._document(FeaturesManifest, workspace.features / MANIFEST)
        self.facts = self._document(Facts, workspace.bundle / FACTS)
        self.champion = self.attempt("the champion's facts", self._champion)
        self.champion_training = self.attempt("the champion's training", self._champion_training)
        self.record = self.attempt("the registry", self._promoted)
        self.refusal = _refusal(workspace)
        self.tuned = workspace.tuning.exists() or workspace.tuned.exists()
        self.scored = self.attempt("reports/predictions", self._scored)

    @property
    def verdict(self) -> Verdict:
        """The fate of the candidate, and the reason."""
        if self.gate and self.record:
            return Verdict("promoted", explain_champion(self.record, self.gate), self.refusal)
        if self.gate:
            return Verdict(self.gate.verdict, explain(self.gate), self.refusal)
        stopped = next((stage for stage in self.stages if stage.state in ("failed", "closed")), None)
        if stopped is None:
            return Verdict("unfinished", "The run has not reached its gate, so nothing is decided.")
        how = "its gate is closed" if stopped.state == "closed" else f"it ended with exit code {stopped.exit_code}"
        if stopped.exit_code is None:
            how = "it was killed, or is still running"
        sentence = f"The run stopped at {stopped.name}: {how}. Nothing was judged."
        has_table = stopped.name.startswith("validate_") and stopped.state == "closed"
        return Verdict("stopped", sentence, "" if has_table else stopped.message)

    def importances(self) -> list[Importance]:
        """Return how much each field is worth on validation rows; without kept figures, this needs PyTorch."""
        params = self.params
        evaluation = self.evaluation
        if params is None or evaluation is None or self.scored is None or not self.workspace.model.exists():
            return []

        def read() -> list[Importance]:
            return remembered(self.workspace, evaluation.inputs, params.gate.confidence)

        return self.attempt("the importance of the fields", read) or []

    def _scored(self) -> Scored | None:
        return figures.scored(self.workspace, self.params) if self.params and self.evaluation else None

    def _gate(self) -> GateReport | None:
        """Return the verdict, if it is about the bundle in this workspace, and no stage has failed since."""
        workspace = self.workspace
        report = self._document(GateReport, workspace.gate)
        manifest = workspace.bundle / MANIFEST
        if report and report.bundle not in (None, sha256_file(manifest) if manifest.exists() else None):
            self.missing[workspace.relative(workspace.gate)] = f"about another bundle than {workspace.bundle} is"
            return None
        return report

    def _document(self, expected: type[T], path: Path) -> T | None:
        name = self.workspace.relative(path)
        if not path.exists() or self._outdated(name):
            return None
        document = self.attempt(name, lambda: documents.read(expected, path))
        if name in self.missing:  # the page shows the name beside the message, which begins with the path
            self.missing[name] = self.missing[name].removeprefix(f"{path}: ")
        return document

    def attempt(self, name: str, read: Callable[[], T]) -> T | None:
        """Return a part of the run, or note why it can't be shown."""
        try:
            return read()
        except (InputError, Unavailable, OSError) as error:
            self.missing[name] = str(error)
            return None
        except Exception as error:  # one part must not take the page with it
            self.missing[name] = f"can't be shown: {type(error).__name__}: {error}"
            return None

    def _outdated(self, name: str) -> bool:
        """Return whether a file is an earlier run's: the stage that writes it failed, or comes after one that stopped.

        A stage whose gate is closed has written its own files.
        """
        stopped = False
        for stage in self.stages:
            stopped |= stage.state == "failed"
            if stopped and any(name == out or name.startswith(f"{out}/") for out in stage.outs):
                return True
            stopped |= stage.state == "closed"
        return False

    def _promoted(self) -> Record | None:
        """Return the newest record of the registry, if it made this candidate the champion."""
        if self.params is None or self.gate is None:
            return None
        champion = Registry.of(self.workspace, self.params).champion()
        return champion if champion and champion.version == self.gate.bundle else None

    def _champion(self) -> Facts | None:
        """Return the facts of the champion that the candidate was compared with, from the copy that the gate used."""
        folder = self.workspace.earlier_champion("champion")
        manifest = folder / MANIFEST
        expected = self.gate and self.gate.champion and self.gate.champion.version
        if not expected or not manifest.exists() or sha256_file(manifest) != expected:
            return None
        return self._document(Facts, folder / FACTS)

    def _champion_training(self) -> TrainingSummary | None:
        """Return the summary of the champion's training from its record, if the champion is another model."""
        champion = self.gate and self.gate.champion
        if self.params is None or self.gate is None or not champion or champion.version == self.gate.bundle:
            return None
        promoted = Promoted.find(Registry.of(self.workspace, self.params), str(champion.number))
        name = self.workspace.training.relative_to(self.workspace.reports).as_posix()
        return promoted.document(TrainingSummary, name) if name in promoted.names else None


def _stages(workspace: Workspace) -> list[StageResult]:
    """Return the stages of dvc.yaml in its order.

    An outcome that says "failed" is outdated if the stage's outputs exist: DVC took them from its cache since. But the
    outcome of a stage that runs each time is of this run, and its outputs may be older.
    """
    results = []
    for name, declared in stages_of(workspace).items():
        outs = declared.outs or (workspace.relative(workspace.gate),)  # which DVC does not track
        complete = all((workspace.root / out).exists() for out in outs)
        outcome = _outcome(workspace.outcome(name))
        code = outcome.exit_code if outcome else 0
        state: StageState = "done" if complete else "not run"
        if code != 0 and (declared.always_changed or not complete):
            state = "closed" if code == 3 else "failed"
        if any(result.state in ("failed", "closed") for result in results):
            state = "not run"  # its outputs, if any, are an older run's
        seconds, message = (outcome.seconds, outcome.message) if outcome else (None, "")
        results.append(StageResult(name, declared.desc, outs, state, code, seconds, message))
    return results


def _outcome(path: Path) -> StageOutcome | None:
    try:
        return documents.read(StageOutcome, path)
    except InputError:  # the stage never ran here
        return None


def _refusal(workspace: Workspace) -> str:
    """Return the error of `din promote`, if it ran since the gate."""
    promoted = workspace.outcome("promote")
    gate = workspace.gate
    if not promoted.exists() or not gate.exists() or promoted.stat().st_mtime_ns < gate.stat().st_mtime_ns:
        return ""
    outcome = _outcome(promoted)
    return outcome.message if outcome else ""

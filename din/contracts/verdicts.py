"""The reports that hold verdicts: of the validation suites, and of the gate on a candidate.

reports/validation/*.json     ValidationReport
reports/gate.json             GateReport
"""

from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from din.base.documents import Document
from din.base.names import Day, Digest, ModelName, Version

Verdict = Literal["open", "closed", "borderline"]
JudgedModel = Literal["judged", "crossfit", "shipped"]
WhyMissed = Literal["late", "changed", "before the window"]


Severity = Literal["critical", "warning"]


class Expectation(Document):
    """One expectation and its result. A failed one may have a sample, advice and a reason."""

    name: str
    column: str | None
    observed: Any
    threshold: dict[Literal["min", "max", "in"], Any]
    severity: Severity
    success: bool
    sample: list[dict[str, Any]] = Field(default_factory=list)
    advice: str | None = None
    reason: str | None = None


class ValidationReport(Document):
    """The result of one suite.

    Attributes:
        input: the hash of the judged directory.
        params: the thresholds.
        user_file: the hash of the file with the user's own expectations, if params.yaml names one.
        judged: the severity of all expectations by name, so that a gate notices if an entry is lost.
    """

    verdict: Literal["open", "closed"]
    input: Digest
    params: dict[str, Any]
    user_file: Digest | None
    judged: Annotated[dict[str, Severity], Field(min_length=1)]
    expectations: Annotated[list[Expectation], Field(min_length=1)]


class Power(Document):
    """The statistical power of a comparison.

    Attributes:
        look: the number of the comparison with this champion, from 1. Stored reports have it under this name.
        users: the number of users that the verdict rests on.
        excludes: the smallest loss that such a comparison excludes in four of five cases.
        users_needed: the number of users that would decide an undecided comparison. None if there are as many already.
    """

    look: PositiveInt
    users: NonNegativeInt
    excludes: float | None
    users_needed: NonNegativeInt | None


class GateEntry(Document):
    """The result of one gate.

    `model` is the model that the figure is about; see `din.release.gates.Traits`. `evaluated` is False if the gate
    could not be judged and is closed for that reason alone. `command` shows more. `compares` is True if the gate
    compares the candidate with an earlier champion.
    """

    name: str
    observed: Any
    threshold: Any
    interval: tuple[float | None, float | None] | None
    verdict: Verdict
    command: str
    rows: NonNegativeInt | None
    power: Power | None
    reason: str | None
    model: JudgedModel | None
    evaluated: bool
    compares: bool


class ChampionName(Document):
    """The record that a candidate was compared with."""

    number: PositiveInt
    version: Version


class About(Document):
    """Everything that the verdict in a gate's report depends on.

    `params` is all of params.yaml, and `code` is the hash of the packages' source. `data` and `reports` are the hashes
    of the judged directories and reports, or None for a missing one.
    """

    source: str
    model_name: ModelName
    params: dict[str, Any]
    code: Digest
    data: dict[str, Digest | None]
    reports: dict[str, Digest | None]


class MissedDay(Document):
    """A day of the log that a continued champion never learns as it is now; see `din.release.gates.missed_days`."""

    day: Day
    rows: PositiveInt
    why: WhyMissed


class Harm(Document):
    """The proven harm of the champion's last step: its record, the one to go back to, and the finding in words."""

    record: PositiveInt
    back_to: PositiveInt
    reason: str


class GateReport(Document):
    """The verdict on a candidate, its gates, and everything it depends on.

    `missed_days` is empty if there are none, and `harm` is None unless the champion's last step certainly did harm. By
    a `preview`, nothing can be promoted.
    """

    verdict: Verdict
    bundle: Version | None
    champion: ChampionName | None
    metrics: list[Literal["auc", "gauc"]]
    about: About
    gates: list[GateEntry]
    preview: bool
    missed_days: list[MissedDay] = Field(default_factory=list)
    harm: Harm | None = None

    @property
    def not_open(self) -> list[GateEntry]:
        """The gates that are not open."""
        return [gate for gate in self.gates if gate.verdict != "open"]

    @property
    def of_the_champion(self) -> bool:
        """Whether the candidate is the champion itself, because a run was repeated."""
        return self.champion is not None and self.champion.version == self.bundle

    @property
    def harm_to_undo(self) -> Harm | None:
        """The harm for which `din promote` will roll the champion back, or None.

        It is None if the candidate replaces the champion at once, because all gates are open.
        """
        automatic = self.about.params.get("promote", {}).get("on_harm") == "rollback"
        return self.harm if automatic and self.verdict != "open" else None

    @property
    def may_be_overridden(self) -> bool:
        """Whether a person may promote the candidate although not all gates are open.

        They may answer for borderline gates, and for gates that compare with an earlier champion that can't be
        evaluated any more. They may not if the candidate is the champion itself, nor if the champion is due to be
        rolled back.
        """
        held = self.not_open
        doubtful = all(gate.verdict == "borderline" or (gate.compares and not gate.evaluated) for gate in held)
        return bool(held) and doubtful and not self.of_the_champion and not self.harm_to_undo

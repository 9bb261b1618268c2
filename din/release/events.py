"""Events that people and other programs may want to hear of: promotions, rollbacks, refusals, alarms.

`din.cli.run.tell` gives each to the listeners. An event has the same id however often a command repeats it, so a
listener can tell a repetition from news.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Any, Literal

from din.base import documents
from din.base.errors import InputError, listed
from din.contracts.verdicts import GateReport
from din.release.registry.records import Record
from din.release.registry.registry import Registry


@dataclass(frozen=True)
class Event:
    """An event.

    Attributes:
        kind: what happened.
        about: what distinguishes it from other events of its kind.
        text: a line for people.
        facts: the details, as plain JSON values.
        registry: the registry of the model.
    """

    kind: Literal["promotion", "rollback", "refusal", "alarm"]
    about: Any
    text: str
    facts: Mapping[str, Any]
    registry: Registry

    @property
    def id(self) -> str:
        """The name of this event, e.g. `refusal-0123456789abcdef`."""
        return f"{self.kind}-{sha256(documents.dump(self.about)).hexdigest()[:16]}"


def recorded(registry: Registry, record: Record) -> Event:
    """Return the event of a record: the record itself, and the metrics of its bundle, or None if they can't be read."""
    kind = "promotion" if record.action == "promote" else "rollback"
    text = (
        f"{kind}: {record.version[:12]} is the champion (record {record.number}), by {record.author}: {record.reason}"
    )
    evaluation = None
    with suppress(InputError):  # the bundle is of an earlier form
        evaluation = registry.facts(record.version).evaluation.model_dump()
    return Event(kind, record.nonce, text, {"record": asdict(record), "evaluation": evaluation}, registry)


def refused(registry: Registry, report: GateReport) -> Event | None:
    """Return the event of a candidate that the gate refused, or None for a preview."""
    if report.preview:
        return None
    verdicts = {gate.name: gate.verdict for gate in report.not_open}
    stays = f"the champion of record {report.champion.number} stays" if report.champion else "there is no champion yet"
    candidate = (report.bundle or "without a sound bundle")[:12]
    text = f"refusal: candidate {candidate} does not pass {listed(verdicts)}; {stays}"
    if report.harm:
        text += f"; the champion's last step harmed: go back to record {report.harm.back_to}"
    held = [gate.model_dump(include={"name", "model", "verdict", "reason"}) for gate in report.not_open]
    facts = {
        "bundle": report.bundle,
        "champion": report.champion and report.champion.model_dump(),
        "gates": held,
        "harm": report.harm and report.harm.model_dump(),
    }
    return Event("refusal", [report.bundle, facts["champion"], verdicts], text, facts, registry)

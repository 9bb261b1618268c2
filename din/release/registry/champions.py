"""The rules about champions: which one a run continues, which were rolled back, and which ones the gates compare with.

    champion       the newest record
    predecessor    the bundle that the champion replaced, unless by an override
    anchor         the best comparable one of the champions promoted in the last 90 days, and since the last override
    pin            the champion that a run continues: the newest one whose log ended before the run's last day, and
                   which holds no lesson that a rollback removed

All rules read the records, and some the facts of bundles, each a small file. Days are counted from the newest record or
the run's last day, never from the clock, so a rerun of a day finds the same champions.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from din.base.errors import InputError
from din.base.names import Version
from din.contracts.facts import Facts
from din.metrics.estimates import Metric
from din.metrics.learned_rows import TrainingExtent, differences
from din.params.train import WEEKDAYS, Train
from din.release.registry.objects import noted
from din.release.registry.records import Record
from din.release.registry.registry import Registry

ANCHOR_DAYS = 90
"""The number of days, back from the newest record, within which the anchor became champion."""
NONE = "none"
"""The pin of a run that has no champion to continue, or must not continue one."""


def until(facts: Facts) -> date:
    """Return the last day of the log that a bundle was made from."""
    return date.fromisoformat(facts.until)


def rolled_back(history: Sequence[Record]) -> dict[str, Record]:
    """Return the record of the rollback for each version that was rolled back and not reinstated.

    A rollback removes the champion of its time, and all bundles promoted after the one that it goes back to.
    """
    removed: dict[str, Record] = {}
    promoted: dict[str, int] = {}  # the number of the first record
    for record in history:
        promoted.setdefault(record.version, record.number)
        if record.action == "rollback" and record.previous:
            later = {version for version, number in promoted.items() if number > promoted[record.version]}
            removed = dict.fromkeys(later, record) | removed | {record.previous: record}
        removed.pop(record.version, None)
    return removed


def started_from(facts: Facts) -> str | None:
    """Return the version of the bundle that a model started from, or None if it started from scratch."""
    train = facts.params.train
    start: str | None = train.get("champion") if train.get("start") == "champion" else None
    return None if start == NONE else start


@dataclass(frozen=True)
class Removal:
    """A bundle that was rolled back, and the record of the rollback."""

    version: str
    record: Record


def removed_lesson(registry: Registry, history: Sequence[Record], start: str | None) -> Removal | None:
    """Return the removal of the bundle `start`, or of a bundle that it was trained from, or None.

    The chain of starting points ends at a model from scratch. A bundle of the chain that became champion after a
    rollback is cleared of it, because its gate knew of the rollback, or a person brought it back. Therefore usually no
    facts are read.
    """
    removed = rolled_back(history)
    newest = max((record.number for record in removed.values()), default=0)
    crowned = {str(record.version): record.number for record in history}
    cleared = 0
    while start is not None:
        cleared = max(cleared, crowned.get(start, 0))
        if cleared >= newest:
            break
        if start in removed and removed[start].number > cleared:
            return Removal(start, removed[start])
        start = started_from(registry.facts(Version(start)))
    return None


def known_facts(registry: Registry, versions: Iterable[Version]) -> dict[Version, Facts]:
    """Return the facts of the bundles that can be read. `din registry verify` names the others."""
    facts: dict[Version, Facts] = {}
    for version in versions:
        with noted([]):
            facts[version] = registry.facts(version)
    return facts


def anchors(registry: Registry, history: Sequence[Record], metric: Metric, candidate: Facts) -> list[Record]:
    """Return the newest record of each possible anchor, the best recorded test metric first.

    These are the champions of the last `ANCHOR_DAYS` before today's, without those that were rolled back, whose facts
    can't be read, or of another split, which may have learned the candidate's test rows. Comparing with the best one
    that scores today's rows keeps small permitted losses from adding up. Metrics of different days tell which one that
    is, but not whether it was better than today's champion: days differ in how hard they are.
    """
    since = datetime.fromisoformat(history[-1].at) - timedelta(days=ANCHOR_DAYS)
    removed = rolled_back(history)
    lineage = since_override(history)
    recent = {r.version: r for r in lineage if datetime.fromisoformat(r.at) >= since and r.version not in removed}
    today = TrainingExtent.of_bundle(candidate)
    quality: dict[Version, tuple[float, int]] = {}
    for version, facts in known_facts(registry, recent).items():
        if not differences(TrainingExtent.of_bundle(facts), today):
            value = getattr(facts.evaluation.test, metric)
            quality[version] = (-1.0 if value is None else value, recent[version].number)
    best_first = sorted(quality, key=lambda version: quality[version], reverse=True)
    return [recent[version] for version in best_first if version != history[-1].version]


def predecessor(history: Sequence[Record]) -> Record | None:
    """Return the newest record of the bundle that the champion replaced.

    Return None if it replaced none, if it did so by an override, or if a rollback made it the champion.
    """
    *earlier, champion = since_override(history)
    if champion.action == "rollback":
        return None
    return next((record for record in reversed(earlier) if record.version == champion.previous), None)


def since_override(history: Sequence[Record]) -> Sequence[Record]:
    """Return the records since the last override, which says that the champions before it can't be evaluated."""
    overrides = (place for place, record in enumerate(history) if record.override and not record.override.compared)
    return history[max(overrides, default=0) :]


def pin(registry: Registry, train: Train, day: date) -> str:
    """Return the value of `train.champion` for a run whose last day is `day`.

    It is "none" if there is no earlier champion, or on the day of the week that `train.scratch_day` names.

    Raises:
        InputError: the run starts from scratch, so it needs no champion, or the registry can't be read.
        Unavailable: the registry doesn't answer.
    """
    if train.start == "scratch":
        raise InputError("train.start is scratch, so there is nothing to pin; set train.start: champion first")
    if train.scratch_day == WEEKDAYS[day.weekday()]:
        return NONE
    history = registry.history()
    for record in reversed(history):
        if until(registry.facts(record.version)) < day and not removed_lesson(registry, history, record.version):
            return str(record.version)
    return NONE

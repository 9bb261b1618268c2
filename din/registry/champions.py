"""The rules about champions: which one a run continues from, which were rolled back, and which the gates compare with.

    champion       the newest record
    predecessor    the bundle that the champion replaced
    anchor         the best champion of the last 90 days
    pin            the champion that a run continues from: the newest one whose log ended before the run's last day

All rules read the records, and some the facts of bundles, each a small file. Days count back from the newest record or
the run's last day, never from the clock, so a rerun of a day finds the same champions.
"""

from collections.abc import Sequence
from datetime import date, datetime, timedelta

from din.errors import InputError
from din.facts import Facts
from din.metrics.estimates import Metric
from din.names import Version
from din.params import Train
from din.params.train import WEEKDAYS
from din.registry.records import Record
from din.registry.registry import Registry

ANCHOR_DAYS = 90
"""The days in which the anchor was champion."""
NONE = "none"
"""The pin of a run that has no champion to go on from, or is not to go on from it."""


def until(facts: Facts) -> date:
    """Return the last day of the log that a bundle was made from."""
    return date.fromisoformat(facts.until)


def rolled_back(history: Sequence[Record]) -> dict[str, Record]:
    """Return the versions that a rollback removed and nobody has reinstated, with the record of the rollback."""
    removed: dict[str, Record] = {}
    for record in history:
        if record.action == "rollback" and record.previous:
            removed[record.previous] = record
        removed.pop(record.version, None)
    return removed


def started_from(facts: Facts) -> str | None:
    """Return the version of the bundle that a model started from; earlier releases also started epochs from one."""
    train = facts.params.train
    start: str | None = train.get("champion" if train.get("start") == "champion" else "warm_start")
    return None if start == "none" else start


def removed_lesson(registry: Registry, history: Sequence[Record], start: str | None) -> Record | None:
    """Return the rollback that removed the bundle `start` or one whose lessons it holds, or None.

    The chain of lessons ends at a model from scratch. A bundle of the chain that became champion after a rollback is
    not doubted for it: the gate knew of it that day, or a person brought the bundle back. So usually nothing is read.
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
            return removed[start]
        start = started_from(registry.facts(Version(start)))
    return None


def anchor(registry: Registry, history: Sequence[Record], metric: Metric) -> Record | None:
    """Return the newest record of the anchor, or None if it is today's champion.

    The anchor is the champion with the best recorded test metric of the last 90 days, without those that a rollback
    removed. Comparing with it keeps small permitted losses from adding up. Days count back from the newest record, not
    from the clock.
    """
    since = datetime.fromisoformat(history[-1].at) - timedelta(days=ANCHOR_DAYS)
    removed = rolled_back(history)
    recent = {r.version: r for r in history if datetime.fromisoformat(r.at) >= since and r.version not in removed}

    def quality(record: Record) -> tuple[float, int]:
        value = getattr(registry.facts(record.version).evaluation.test, metric)
        return (-1.0 if value is None else value, record.number)

    best = max(recent.values(), key=quality)
    return None if best.version == history[-1].version else best


def predecessor(history: Sequence[Record]) -> Record | None:
    """Return the newest record of the bundle that the champion replaced.

    None if it replaced none, or if it was brought back by a rollback.
    """
    champion = history[-1]
    if champion.action == "rollback" or champion.previous is None:
        return None
    return next(record for record in reversed(history[:-1]) if record.version == champion.previous)


def pin(registry: Registry, train: Train, day: date) -> str:
    """Return the value of `train.champion` for a run over the days until a day, inclusive.

    It is `none` if there is no earlier champion, or on the day of the week that `train.scratch_day` names.

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

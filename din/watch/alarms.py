"""Alarms: what is wrong with the champion's service, and what to do about it, kept in the registry.

<uri>/<model_name>/alarms/<day>/<figure>.json      put if absent, so the first alarm about a figure on a day stays
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from din.documents import Document
from din.names import Day, Moment, Version
from din.registry.objects import Objects

AGE = "age of the champion"
WAIT = "wait for clicks"
CTR = "CTR"
PREDICTED = frozenset({"prediction", "scores", "calibration"})
"""The figures that follow from the level of the predictions."""
QUALITY = frozenset({"AUC", "GAUC", "normalised entropy", "AUC since the promotion"})
"""The figures that tell how well the champion ranks."""
_ALARMS = "alarms"

Action = Literal["ask who owns the data", "retrain", "roll back"]


class Alarm(Document):
    """One alarm.

    Attributes:
        day: the day that it is about.
        at: until when the log was read.
        figure: its name; see `din.watch.traffic` and `din.watch.outcomes`.
        observed, low, high, p: see `din.watch.spread.Check`.
        version: the champion.
        action: what to do.
        why: the reason for the action.
    """

    day: Day
    at: Moment
    figure: str
    observed: float | None
    low: float | None
    high: float | None
    p: float | None
    version: Version
    action: Action
    why: str


@dataclass(frozen=True)
class Advice:
    """What to do about an alarm, and why."""

    action: Action
    why: str


def advise(figure: str, alarming: Collection[str], is_new: bool) -> Advice:
    """Return what to do about an alarm.

    Args:
        figure: that alarms.
        alarming: all figures that alarm.
        is_new: whether the champion was promoted in the last two days.
    """
    outputs = PREDICTED | QUALITY
    sent = [name for name in alarming if name not in outputs | {AGE, WAIT, CTR}]
    if figure == AGE:
        return Advice("retrain", "no newer candidate was promoted: `din status` says why")
    if figure == WAIT:
        return Advice("ask who owns the data", "the clicks of the newest days are missing")
    if figure == CTR:
        return Advice("ask who owns the data", "clicks may be lost, repeated or made by machines")
    if figure.startswith("unknown ") and not is_new:
        return Advice("retrain", "the champion has not learned these values")
    if figure not in outputs:
        return Advice("ask who owns the data", "clients or the service have changed: compare requests by `din replay`")
    if sent:
        return Advice("ask who owns the data", f"what clients send has changed too: {', '.join(sorted(sent))}")
    if is_new:
        return Advice("roll back", "the champion is new, and clients send what they sent before")
    if figure in QUALITY:
        return Advice("retrain", "people click on other things than when the champion learned")
    return Advice("ask who owns the data", "neither champion nor requests have changed, so the clicks may have")


def keep(objects: Objects, alarm: Alarm) -> bool:
    """Store an alarm, and return whether it is the first one about this figure on this day."""
    name = re.sub(r"[^\w.-]+", "-", alarm.figure, flags=re.ASCII)
    return objects.create_document(f"{_ALARMS}/{alarm.day}/{name}.json", alarm)


def kept(objects: Objects) -> list[Alarm]:
    """Return the stored alarms, oldest first.

    Raises:
        InputError: an alarm is damaged.
    """
    return [objects.read_document(Alarm, key)[0] for key in sorted(objects.keys(_ALARMS))]

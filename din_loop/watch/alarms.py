"""Alarms: what is wrong with the champion's service, and what to do about it, kept in the registry.

<uri>/<model_name>/alarms/<day>/<figure>-<hash>.json    put if absent, so the first alarm about a figure on a day stays
"""

import re
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from typing import Literal

from din.base import documents
from din.base.errors import InputError
from din.base.names import Day, Line, Moment, Version
from din.release.registry.objects import Objects
from din.schema import USER_ID

AGE = "age of the champion"
WAIT = "wait for clicks"
CTR = "CTR"
SILENT = "users without clicks"
EAGER = "users who clicked on everything"
CALIBRATION = "calibration"
ENTROPY = "normalised entropy"
AUC = "AUC"
QUALITY = frozenset({AUC, "GAUC", ENTROPY})
"""The figures that tell how well the champion ranks."""
PREDICTION = "prediction"
PREDICTIONS = frozenset({PREDICTION, "scores"})
REPEATED = "repeated scores"
OUTPUTS = QUALITY | PREDICTIONS | {CALIBRATION, REPEATED}
"""The figures that follow from the champion's predictions."""
_CLICKS = frozenset({CTR, SILENT, EAGER})
"""The figures of clicks alone."""
OVER_WEEKS = " over weeks"
SINCE_PROMOTION = " since promotion"
WITHIN_BUNDLE = " within a bundle"
CLICKS_BY = "clicks by "
"""Begins the names of figures about the clicks on values of a field."""
OTHERS = "other values"
VERSIONS = "hours of several versions"
_ALARMS = "alarms"
_MOST = 1_000
"""The newest alarms that are read."""
UNKNOWN = "unknown "
EMPTY = "empty "
_LONGEST_VALUE = 100
_LONGEST_KEY = 200
_MOST_NAMED = 4
"""The changed figures that a reason names."""
_HARDLY_ANY = 0.9
"""A larger share of unknown values does not come from new ones."""

Action = Literal["ask who owns the data", "retrain", "recalibrate", "roll back"]


@dataclass(frozen=True)
class Alarm:
    """One alarm.

    Attributes:
        day: the day that it is about.
        at: until when the log was read.
        figure: its name; see `din_loop.watch.traffic` and `din_loop.watch.outcomes`.
        observed, low, high, p: see `din_loop.watch.significance.Check`.
        version: the bundle that answered; None if none did.
        action: what to do.
        why: the reason for the action.
    """

    __pydantic_config__ = documents.STRICT

    day: Day
    at: Moment
    figure: Line
    observed: float | None
    low: float | None
    high: float | None
    p: float | None
    version: Version | None
    action: Action
    why: Line


@dataclass(frozen=True)
class Advice:
    """The action for an alarm, and its reason."""

    action: Action
    why: str


def may_name(key: str) -> bool:
    """Return whether the name of a figure may hold a client's key: it must fit on a line that the registry keeps."""
    return key.isprintable() and len(key) <= _LONGEST_KEY


def base_name(figure: str) -> str:
    """Return the name of the figure that is compared, with whatever days."""
    return figure.removesuffix(OVER_WEEKS).removesuffix(SINCE_PROMOTION).removesuffix(WITHIN_BUNDLE)


def advise(
    figure: str, alarming: Collection[str], is_new: bool, observed: float | None = None, value: str | None = None
) -> Advice:
    """Return what to do about an alarm.

    Args:
        figure: the alarming figure.
        alarming: all figures that alarm about the same day.
        is_new: whether the bundle gave its first answer on that day or the day before.
        observed: the value of the figure.
        value: the value of a field that the figure is about.
    """
    figure = base_name(figure)
    alarming = {*map(base_name, alarming)}
    sent = {
        name
        for name in alarming
        if name not in OUTPUTS | _CLICKS | {AGE, WAIT, VERSIONS} and not name.startswith((UNKNOWN, CLICKS_BY))
    }
    if figure == AGE:
        return Advice("retrain", "no newer candidate was promoted: `din status` names the stage that ended the run")
    if figure == WAIT:
        return Advice("ask who owns the data", "the clicks of the newest days are missing")
    if figure == VERSIONS:
        return Advice("ask who owns the data", "processes answer with different bundles: a canary or a stuck one")
    if figure.startswith(CLICKS_BY):
        field = figure.removeprefix(CLICKS_BY)
        is_user = field.rpartition(".")[2] == USER_ID and value != OTHERS
        subject = "one user" if is_user else f"{field} {(value or '')[:_LONGEST_VALUE]!r}"
        why = f"{subject} has {observed or 0:.2g} times its usual share of the clicks: a join that fails, or machines"
        return Advice("ask who owns the data", why)
    if figure in _CLICKS:
        return Advice("ask who owns the data", "clicks may be lost, repeated or made by machines")
    if _is_unknown(figure) and (observed or 0) > _HARDLY_ANY:
        return Advice("ask who owns the data", "hardly any value is known, so they may have another form")
    if _is_unknown(figure) and not is_new:
        return Advice("retrain", "the champion has not learned these values")
    if figure.startswith(EMPTY):
        return Advice("ask who owns the data", "new items come without it: send it with each candidate, or retrain")
    if figure not in OUTPUTS:
        return Advice(
            "ask who owns the data", "clients or the service have changed: compare requests with `din replay`"
        )
    if sent:
        more = [f"and {len(sent) - _MOST_NAMED} more"] if len(sent) > _MOST_NAMED else []
        named = ", ".join(sorted(sent)[:_MOST_NAMED] + more)
        return Advice("ask who owns the data", f"what clients send has changed too: {named}")
    predicts_otherwise = not PREDICTIONS.isdisjoint(alarming)
    if not _CLICKS.isdisjoint(alarming) and not predicts_otherwise:
        return Advice("ask who owns the data", "the clicks have changed, and the predictions have not")
    if REPEATED in alarming and not is_new:
        return Advice("ask who owns the data", "scores repeat: look at the cache, at a fallback, or for rounding")
    if is_new:
        return Advice("roll back", "the bundle is new, and clients send what they sent before")
    if figure in QUALITY:
        return Advice("retrain", "people click on other things than when the champion learned")
    if figure == CALIBRATION and not predicts_otherwise:
        return Advice("recalibrate", "only the level is off: let the champion learn the newest days")
    return Advice("ask who owns the data", "predictions have changed, but neither the bundle nor requests have")


def _is_unknown(figure: str) -> bool:
    return figure.startswith(UNKNOWN)


def keep(objects: Objects, alarm: Alarm) -> None:
    """Store an alarm, unless one about this figure and day is stored."""
    readable = re.sub(r"[^\w.]+", "-", alarm.figure, flags=re.ASCII)
    digest = sha256(alarm.figure.encode()).hexdigest()[:8]  # names may differ in other characters alone
    objects.create_document(f"{_ALARMS}/{alarm.day}/{readable}-{digest}.json", alarm)


def kept(objects: Objects) -> list[Alarm]:
    """Return the newest stored alarms, oldest first. Damaged ones are left out."""
    alarms = []
    for key in sorted(objects.keys(_ALARMS))[-_MOST:]:
        with suppress(InputError):
            alarms.append(objects.read_document(Alarm, key)[0])
    return alarms

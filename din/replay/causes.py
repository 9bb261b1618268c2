"""Mistakes of clients, as transformations of what they should have sent.

A cause of a wrong history returns the behaviours that a client with this mistake would have sent. A cause of a wrong
value says whether such a client would have sent this value in place of the true one. Of two causes that explain equally
many rows the earlier wins. A wide cause, which fits much by accident, must explain more rows than a narrow one.
"""

import sys
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from din.errors import InputError
from din.schema import ITEM_ID, TIMESTAMP, text

Entry = Mapping[str, Any]
Ids = Sequence[str | None]
DAY = 86_400.0
WIDE = 0.7
"""The weight of a row that a wide cause explains; a narrow cause that explains 70 % of its rows is the likelier."""
ANY = 0.01
"""The weight of a row that a cause explains which explains every row."""
_UNITS = {1e3: "milliseconds", 1e6: "microseconds", 1e9: "nanoseconds"}
_SCALES = (10, 100, 1000, 0.1, 0.01, 0.001)
_DEFAULTS = ("", "0", "-1", "unknown", "none", "null", "nan", "n/a", "[]")


@dataclass(frozen=True)
class Past:
    """The history of a user at the time of some request."""

    user: str | None
    entries: Sequence[Entry]


@dataclass(frozen=True)
class Moment:
    """One request: the ids of the history that a client sent, and the truth of that moment.

    Attributes:
        user: who asked.
        sent: the items of the history, as text.
        at: seconds since 1970.
        past: all behaviours of the user before, oldest first.
        later: the behaviours since.
        shown: the candidates, as text.
        most: the number of newest behaviours that the model reads.
        known: the items of the log, as text.
        others: histories at the times of requests, by the items that the model reads.
    """

    user: str | None
    sent: Ids
    at: float
    past: Sequence[Entry]
    later: Sequence[Entry] = ()
    shown: Collection[str | None] = ()
    most: int = 50
    known: Collection[str | None] = field(default=(), repr=False)
    others: Mapping[tuple[str | None, ...], Past] = field(default_factory=dict, repr=False)

    def matches(self, entries: Sequence[Entry]) -> bool:
        """Return whether the model would read the items of these behaviours from the history that was sent."""
        return ids(entries[-self.most :]) == list(self.sent[-self.most :])


@dataclass(frozen=True)
class Cause:
    """A mistake about histories: what it is, and the behaviours that a client with it would have sent, or none.

    weight: of a row that it explains. Of a wide cause it is not sure which of several equal items was sent.
    """

    says: str
    made: Callable[[Moment], Sequence[Entry] | None]
    weight: float = 1.0

    def explains(self, moment: Moment) -> bool:
        """Return whether a client with this mistake would have sent this history."""
        made = self.made(moment)
        return made is not None and moment.matches(made)


@dataclass(frozen=True)
class ValueCause:
    """A mistake about values of a field: what it is, and whether it makes one value of another.

    `fits` has the true value, the one that was sent, and the texts of all true values of the field.
    """

    says: str
    fits: Callable[[Any, Any, Collection[str | None]], bool]
    weight: float = 1.0


def ids(entries: Sequence[Entry]) -> list[str | None]:
    """Return the items of behaviours as text."""
    return [key(entry.get(ITEM_ID)) for entry in entries]


def of_histories(wrong: Sequence[Moment]) -> list[Cause]:
    """Return the causes of wrong histories. Their lengths and delays are those that explain the most of them."""
    ((length, _),) = Counter(len(moment.sent) for moment in wrong).most_common(1)
    delay = _delay(wrong)
    return [
        Cause("no history is sent", lambda m: None if m.sent else []),
        Cause("order reversed; send the oldest first", lambda m: _newest(m)[::-1]),
        Cause("sorted by item; send the oldest first", lambda m: sorted(_newest(m), key=_by_text)),
        Cause("every behaviour is sent twice", lambda m: [entry for entry in m.past for _ in range(2)]),
        Cause("the whole history is sent twice", lambda m: [*m.past, *m.past]),
        Cause("the newest behaviour is sent twice", lambda m: [*m.past, *m.past[-1:]]),
        Cause("each item only once, where it was last; send every behaviour", lambda m: _once(m.past[::-1])[::-1]),
        Cause("each item only once, where it was first; send every behaviour", lambda m: _once(m.past)),
        Cause("the impression itself is in the history", _with_shown),
        Cause("behaviours of after the request are in the history", _with_later),
        Cause(f"truncated to the newest {length}", lambda m: m.past[-length:] if length else None),
        Cause(f"cut to the oldest {length}; keep the newest", lambda m: m.past[:length] if length else None),
        Cause("the newest behaviour is missing", lambda m: m.past[:-1]),
        Cause("the behaviours of the day are missing: built once a day", lambda m: _until(m, m.at // DAY * DAY)),
        Cause(
            f"the last {_hours(delay)} are missing: it is late", lambda m: _until(m, m.at - delay) if delay else None
        ),
        Cause("ids that the log does not know: another form of them", _unknown),
        Cause("the history of another user", _of_another),
        Cause("only behaviours with certain feedback; send the others too", _filtered),
        Cause("the newest behaviours are missing", lambda m: m.past[: _common(m)], WIDE),
        Cause("the oldest behaviours are missing", lambda m: _newest(m) if m.sent else None, WIDE),
        Cause("some behaviours are repeated", _repeated, WIDE),
        Cause("the right behaviours in another order", lambda m: _picked(m, in_order=False), WIDE),
        Cause("some behaviours in the middle are missing", lambda m: _picked(m, in_order=True), WIDE),
    ]


def of_values(times: bool) -> list[ValueCause]:
    """Return the causes of wrong values. `times`: whether these are seconds since 1970."""
    found = [ValueCause("left out", lambda true, sent, known: sent is None)]
    if times:
        found += [ValueCause(f"{unit} in place of seconds", _scaled(scale)) for scale, unit in _UNITS.items()]
        found += [ValueCause(f"rounded to {name}s", _floored(unit)) for name, unit in (("day", DAY), ("hour", 3600.0))]
        quarters = sorted(range(-48, 57), key=abs)
        found += [ValueCause(f"{n / 4:+g} h: another time zone", _shifted(900.0 * n)) for n in quarters if n]
        return [*found, ValueCause("another time", lambda true, sent, known: True, ANY)]
    return [
        *found,
        ValueCause("other case or blanks", lambda true, sent, known: _folded(true) == _folded(sent)),
        ValueCause("text in place of a list, or a list of one", lambda true, sent, known: _flat(true) == _flat(sent)),
        ValueCause("rounded", lambda true, sent, known: _numbers(true, sent) and sent in (int(true), round(true))),
        *(ValueCause(f"times {scale:g}: another unit", _scaled(scale)) for scale in _SCALES),
        ValueCause("a default in place of the value", lambda true, sent, known: _folded(sent) in _DEFAULTS),
        ValueCause("a stale value, or somebody else's", lambda true, sent, known: key(sent) in known, WIDE),
        ValueCause("a value that the log does not know", lambda true, sent, known: True, ANY),
    ]


def key(value: Any) -> str | None:
    """Return a value as text for comparison, a list too."""
    if isinstance(value, list | tuple):
        return "[" + ",".join(str(key(one)) for one in value) + "]" if value else None
    try:
        return text(value)
    except InputError:
        return str(value)


def finite(value: float) -> bool:
    """Return whether a float can hold a number, which an integer of JSON may exceed."""
    return abs(value) <= sys.float_info.max


def _newest(m: Moment) -> Sequence[Entry]:
    """Return as many of the newest behaviours as were sent."""
    return m.past[max(len(m.past) - len(m.sent), 0) :]


def _by_text(entry: Entry) -> tuple[bool, Any]:
    value = entry[ITEM_ID]
    return (True, value) if isinstance(value, str) else (False, value)


def _once(entries: Sequence[Entry]) -> list[Entry]:
    return list({text(entry[ITEM_ID]): entry for entry in reversed(entries)}.values())[::-1]


def _with_shown(m: Moment) -> list[Entry] | None:
    return [*m.past, {ITEM_ID: m.sent[-1]}] if m.sent and m.sent[-1] in m.shown else None


def _with_later(m: Moment) -> Sequence[Entry] | None:
    return next((made for n in range(1, len(m.later) + 1) if m.matches(made := [*m.past, *m.later[:n]])), None)


def _of_another(m: Moment) -> Sequence[Entry] | None:
    found = m.others.get(tuple(m.sent[-m.most :]))
    return found.entries if found and found.user != m.user else None


def _until(m: Moment, end: float) -> list[Entry]:
    return [entry for entry in m.past if (entry[TIMESTAMP] or 0) < end]


def _common(m: Moment) -> int | None:
    """Return the largest number of oldest behaviours, but not all, that a client sent."""
    return next((n for n in range(len(m.past) - 1, -1, -1) if m.matches(m.past[:n])), None)


def _delay(wrong: Sequence[Moment]) -> float:
    """Return the age, in seconds, of the oldest behaviour that is missing at the end of a history; 0: none is."""
    kept = [(moment, _common(moment)) for moment in wrong]
    return max((m.at - (m.past[n][TIMESTAMP] or 0.0) for m, n in kept if n is not None), default=0.0)


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.1f} hours" if seconds >= 3600 else f"{seconds / 60:.0f} minutes"


def _unknown(m: Moment) -> list[Entry] | None:
    true = _newest(m)
    pairs = list(zip(ids(true), m.sent, strict=False))
    same = len(true) == len(m.sent) and all(one == other or other not in m.known for one, other in pairs)
    return [{**entry, ITEM_ID: sent} for entry, sent in zip(true, m.sent, strict=True)] if same else None


def _filtered(m: Moment) -> list[Entry] | None:
    """Return the behaviours with those values of a field that all sent behaviours have, and no other."""
    kept = _picked(m, in_order=True)
    chosen = {id(entry) for entry in kept or ()}
    for name in (m.past[0].keys() - {ITEM_ID, TIMESTAMP}) if m.past and chosen else ():
        values = [{key(entry.get(name)) for entry in m.past if (id(entry) in chosen) is side} for side in (True, False)]
        if not values[0] & values[1]:
            return kept
    return None


def _repeated(m: Moment) -> list[Entry] | None:
    """Return the true behaviours, with the repetitions that were sent, if these follow each other."""
    runs = [(item, len(list(run))) for item, run in groupby(m.sent)]
    true = [list(run) for _, run in groupby(m.past, key=lambda entry: text(entry[ITEM_ID]))][-len(runs) :]
    if len(true) != len(runs):
        return None
    return [run[min(n, len(run) - 1)] for run, (_, count) in zip(true, runs, strict=True) for n in range(count)]


def _picked(m: Moment, in_order: bool) -> list[Entry] | None:
    """Return the behaviours with the items that were sent: in their order, the newest ones; or in any, and all."""
    left = list(m.past)
    if not in_order and len(left) != len(m.sent):
        return None
    made = []
    for item in reversed(m.sent):
        at = next((n for n in range(len(left) - 1, -1, -1) if text(left[n][ITEM_ID]) == item), None)
        if at is None:
            return None
        made.append(left[at])
        left[at:] = [] if in_order else left[at + 1 :]
    return made[::-1]


def _numbers(*values: Any) -> bool:
    return all(isinstance(value, int | float) and not isinstance(value, bool) and finite(value) for value in values)


def _close(one: float, other: float) -> bool:
    return abs(one - other) <= 1e-3 * max(1.0, 1e-6 * abs(one))


def _scaled(scale: float) -> Callable[..., bool]:
    return lambda true, sent, known: _numbers(true, sent) and true != 0 and abs(sent / (true * scale) - 1) < 1e-6


def _floored(unit: float) -> Callable[..., bool]:
    return lambda true, sent, known: _numbers(true, sent) and _close(sent, true // unit * unit)


def _shifted(seconds: float) -> Callable[..., bool]:
    return lambda true, sent, known: _numbers(true, sent) and abs(sent - true - seconds) <= 60


def _folded(value: Any) -> str:
    return str(key(value)).strip().casefold()


def _flat(value: Any) -> str | None:
    return key(value[0] if isinstance(value, list) and len(value) == 1 else value)

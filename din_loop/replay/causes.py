"""Mistakes of clients, as transformations of what they should have sent.

A cause of a wrong history returns the behaviours that a client with this mistake would have sent. A cause of a wrong
value says whether such a client would have sent this value in place of the true one. Of two causes that explain equally
many wrong rows, the one that fits more of the right rows wins, and else the earlier one. A wide cause, which fits much
by accident, must explain more rows than a narrow one.
"""

import sys
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby
from typing import Any

from din.base.errors import InputError
from din.kinds import text
from din.schema import ITEM_ID, TIMESTAMP

Entry = Mapping[str, Any]
DAY = 86_400.0
WIDE = 0.7
"""The weight of a row that a wide cause explains; a narrow cause that explains 70 % of its rows is the likelier."""
_UNITS = {1e3: "milliseconds", 1e6: "microseconds", 1e9: "nanoseconds"}
_SCALES = (10, 100, 1000, 0.1, 0.01, 0.001)
_SHARES = (1.0, 0.99, 0.95, 0.5)
_DEFAULTS = ("", "0", "-1", "unknown", "none", "null", "nan", "n/a", "[]")


@dataclass(frozen=True)
class Pair:
    """A request as it was sent, and as it should have been.

    Attributes:
        request_id: names it in the log.
        sent: the request.
        true: the same from the raw log, with all behaviours of the user before, oldest first, and times in UTC.
        shown: the candidates, as text.
        most: the number of newest behaviours that the model reads.
        log_items: the items of the log, as text.
    """

    request_id: str
    sent: Mapping[str, Any]
    true: Mapping[str, Any]
    shown: Collection[str | None]
    most: int
    log_items: Collection[str | None] = field(repr=False)

    @property
    def past(self) -> Sequence[Entry]:
        """The true history."""
        return self.true["history"]

    @cached_property
    def history(self) -> list[Entry]:
        """The behaviours that were sent."""
        return [entry if isinstance(entry, dict) else {ITEM_ID: entry} for entry in self.sent.get("history") or []]

    @cached_property
    def items(self) -> list[str | None]:
        """The items of the behaviours that were sent."""
        return _ids(self.history)

    def matches(self, entries: Sequence[Entry]) -> bool:
        """Return whether the model would read these behaviours from the history that was sent."""
        return self.as_sent(entries) is not None

    def as_sent(self, entries: Sequence[Entry]) -> list[Entry] | None:
        """Return the newest of these behaviours, at most `most`, in the order that was sent; None: others were sent.

        Behaviours of one time, such as the clicks of one request, may be sent in any order: no model reads it.
        """
        sent = self.items[-self.most :]
        if len(sent) != min(len(entries), self.most):
            return None
        newest_first: list[Entry] = []
        for _, run in groupby(reversed(entries), key=_moment):
            equals = list(run)
            for item in reversed(sent[: len(sent) - len(newest_first)][-len(equals) :]):
                at = next((n for n, entry in enumerate(equals) if key(entry.get(ITEM_ID)) == item), None)
                if at is None:
                    return None
                newest_first.append(equals.pop(at))
            if len(newest_first) == len(sent):
                break
        return newest_first[::-1]

    @cached_property
    def common(self) -> int | None:
        """The largest number of oldest true behaviours, but not all, that were sent."""
        ends = range(len(self.past) - 1, -1, -1)
        return next((end for end in ends if self.matches(self.past[max(end - self.most, 0) : end])), None)


@dataclass(frozen=True)
class Value:
    """A value as it was sent, the true one, and all true values of the field as text."""

    request_id: str
    true: Any
    sent: Any
    true_values: Collection[str | None] = field(repr=False)


@dataclass(frozen=True)
class Cause:
    """A mistake.

    Attributes:
        says: what it is, and what to do.
        explains: whether a client with it would have sent what a pair, or a value, holds.
        weight: of a row that it explains.
        behaviours: those that such a client would have sent, or None. A wide cause can't tell which of several equal
            items was sent.
    """

    says: str
    explains: Callable[[Any], bool]
    weight: float = 1.0
    behaviours: Callable[[Pair], Sequence[Entry] | None] = lambda _: None


def of_histories(wrong: Sequence[Pair], ahead: float) -> list[Cause]:
    """Return the causes of wrong histories, with the commonest length and the delays that some of them have.

    Args:
        ahead: how many seconds the days of the log are ahead of UTC.
    """
    ((length, _),) = Counter(len(pair.items) for pair in wrong).most_common(1)
    late = [
        _sends(f"the last {_duration(delay)} are missing: it is late", lambda p, by=delay: _until(p, _at(p) - by))
        for delay in _delays(wrong)
    ]
    return [
        _sends("no history is sent", lambda p: None if p.items else []),
        _sends("order reversed; send the oldest first", lambda p: _newest(p)[::-1]),
        _sends("each item only once, where it was last; send every behaviour", lambda p: _once(p.past[::-1])[::-1]),
        _sends("each item only once, where it was first; send every behaviour", lambda p: _once(p.past)),
        _sends("the impression itself is in the history", _with_shown),
        _sends(f"truncated to the newest {length}", lambda p: p.past[-length:] if length else None),
        _sends(f"cut to the oldest {length}; keep the newest", lambda p: p.past[:length] if length else None),
        _sends("the newest behaviour is missing", lambda p: p.past[:-1]),
        _sends(
            "the behaviours of the day are missing: built once a day",
            lambda p: _until(p, (_at(p) + ahead) // DAY * DAY - ahead),
        ),
        *late,
        _sends("ids that the log does not know: another form of them", _unknown),
        _sends("the newest behaviours are missing", lambda p: p.past[: p.common], WIDE),
        _sends("the oldest behaviours are missing", lambda p: _newest(p) if p.items else None, WIDE),
        _sends("some behaviours are repeated", _repeated, WIDE),
        _sends("newer behaviours than in training; end the history as featurize.order says", _newer, WIDE),
        _sends("the right behaviours in another order", lambda p: _picked(p, in_order=False), WIDE),
        _sends("some behaviours in the middle are missing", lambda p: _picked(p, in_order=True), WIDE),
    ]


def of_values(times: bool) -> list[Cause]:
    """Return the causes of wrong values. `times`: whether these are seconds since 1970."""
    causes = [Cause("left out", lambda v: v.sent is None)]
    if times:
        causes += [Cause(f"{unit} in place of seconds", _scaled(scale)) for scale, unit in _UNITS.items()]
        causes += [Cause(f"rounded to {name}s", _floored(unit)) for name, unit in (("day", DAY), ("hour", 3600.0))]
        quarters = sorted(range(-48, 57), key=abs)
        return causes + [Cause(f"{n / 4:+g} h: another time zone", _shifted(900.0 * n)) for n in quarters if n]
    return [
        *causes,
        Cause("other case or blanks", lambda v: _folded(v.true) == _folded(v.sent)),
        Cause("text in place of a list, or a list of one", lambda v: _flat(v.true) == _flat(v.sent)),
        Cause("rounded", lambda v: _numbers(v) and v.sent in (int(v.true), round(v.true))),
        *(Cause(f"times {scale:g}: another unit", _scaled(scale)) for scale in _SCALES),
        Cause("a default in place of the value", lambda v: _folded(v.sent) in _DEFAULTS),
        Cause("a stale value, or somebody else's", lambda v: key(v.sent) in v.true_values, WIDE),
    ]


def key(value: Any) -> str | None:
    """Return a value as text for comparison, a list too."""
    if isinstance(value, list | tuple):
        return "[" + ",".join(str(key(entry)) for entry in value) + "]" if value else None
    try:
        return text(value)
    except InputError:
        return str(value)


def finite(value: float) -> bool:
    """Return whether a float can hold a number, which an integer of JSON may exceed."""
    return abs(value) <= sys.float_info.max


def _sends(says: str, behaviours: Callable[[Pair], Sequence[Entry] | None], weight: float = 1.0) -> Cause:
    def explains(pair: Pair) -> bool:
        entries = behaviours(pair)
        return entries is not None and pair.matches(entries)

    return Cause(says, explains, weight, behaviours)


def _moment(entry: Entry) -> Any:
    """Return the time of a behaviour, or something of its own if it has none."""
    time = entry.get(TIMESTAMP)
    return id(entry) if time is None else time


def _ids(entries: Sequence[Entry]) -> list[str | None]:
    return [key(entry.get(ITEM_ID)) for entry in entries]


def _at(p: Pair) -> float:
    return p.true["time"]


def _newest(p: Pair) -> Sequence[Entry]:
    """Return as many of the newest behaviours as were sent."""
    return p.past[max(len(p.past) - len(p.items), 0) :]


def _once(entries: Sequence[Entry]) -> list[Entry]:
    """Return the first of the behaviours with each item."""
    firsts: dict[str | None, Entry] = {}
    for entry in entries:
        firsts.setdefault(text(entry[ITEM_ID]), entry)
    return list(firsts.values())


def _with_shown(p: Pair) -> list[Entry] | None:
    return [*p.past, {ITEM_ID: p.items[-1]}] if p.items and p.items[-1] in p.shown else None


def _newer(p: Pair) -> list[Entry] | None:
    """Return the true history with the behaviours that a client sent after it, if the model reads a true one."""
    newer = range(1, min(len(p.items), p.most)) if p.past else ()
    true = p.past[-p.most :]
    n = next((n for n in newer if p.matches([*true, *p.history[-n:]])), None)
    return None if n is None else [*p.past, *p.history[-n:]]


def _until(p: Pair, end: float) -> list[Entry]:
    return [entry for entry in p.past if (entry[TIMESTAMP] or 0) < end]


def _delays(wrong: Sequence[Pair]) -> list[float]:
    """Return quantiles of the age, in seconds, of the oldest behaviour that is missing at the end of a history.

    The largest age fits all late histories, unless a few others lack their end for a reason of their own.
    """
    commons = [(pair, pair.common) for pair in wrong if pair.items]  # an empty history fits any delay
    missing = [(_at(pair), pair.past[count][TIMESTAMP]) for pair, count in commons if count is not None]
    ages = sorted(at - then for at, then in missing if then is not None)
    return sorted({ages[round(share * (len(ages) - 1))] for share in _SHARES}, reverse=True) if ages else []


def _duration(seconds: float) -> str:
    if seconds >= 3600:
        return f"{seconds / 3600:.1f} hours"
    return f"{seconds / 60:.0f} minutes" if seconds >= 60 else f"{seconds:.0f} seconds"


def _unknown(p: Pair) -> list[Entry] | None:
    true = _newest(p)
    pairs = list(zip(_ids(true), p.items, strict=False))
    same = 0 < len(p.items) == len(true) and all(item == sent or sent not in p.log_items for item, sent in pairs)
    return [{**entry, ITEM_ID: sent} for entry, sent in zip(true, p.items, strict=True)] if same else None


def _repeated(p: Pair) -> list[Entry] | None:
    """Return the true behaviours, with the repetitions that were sent, if these follow each other."""
    runs = [(item, len(list(run))) for item, run in groupby(p.items)]
    true = [list(run) for _, run in groupby(p.past, key=lambda entry: text(entry[ITEM_ID]))][-len(runs) :]
    if len(true) != len(runs):
        return None
    return [run[min(n, len(run) - 1)] for run, (_, count) in zip(true, runs, strict=True) for n in range(count)]


def _picked(p: Pair, in_order: bool) -> list[Entry] | None:
    """Return the behaviours with the items that were sent: in their order, the newest ones; or in any, and all."""
    behaviours = list(p.past)
    if not in_order and len(behaviours) != len(p.items):
        return None
    picked = []
    for item in reversed(p.items):
        at = next((n for n in range(len(behaviours) - 1, -1, -1) if text(behaviours[n][ITEM_ID]) == item), None)
        if at is None:
            return None
        picked.append(behaviours[at])
        behaviours[at:] = [] if in_order else behaviours[at + 1 :]
    return picked[::-1]


def _numbers(v: Value) -> bool:
    return all(isinstance(n, int | float) and not isinstance(n, bool) and finite(n) for n in (v.true, v.sent))


def _scaled(scale: float) -> Callable[[Value], bool]:
    return lambda v: _numbers(v) and v.true != 0 and abs(v.sent / (v.true * scale) - 1) < 1e-6


def _floored(unit: float) -> Callable[[Value], bool]:
    return lambda v: _numbers(v) and abs(v.sent - v.true // unit * unit) <= 0.01


def _shifted(seconds: float) -> Callable[[Value], bool]:
    return lambda v: _numbers(v) and abs(v.sent - v.true - seconds) <= 60


def _folded(value: Any) -> str:
    return str(key(value)).strip().casefold()


def _flat(value: Any) -> str | None:
    return key(value[0] if isinstance(value, list) and len(value) == 1 else value)

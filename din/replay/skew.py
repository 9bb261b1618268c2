"""Find where clients and the log disagree, field by field, and name the cause that explains the most.

A cause must explain a twentieth of the rows that differ. Histories come first, and fields of behaviours are compared
where the history is right, or where its cause says which behaviours were sent.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from din.replay import causes
from din.replay.causes import Cause, Entry, Moment, ValueCause, finite, key
from din.schema import ITEM_ID, TIMESTAMP, USER_ID

T = TypeVar("T")
_LEAST = 0.05
_MOST_WRONG = 1000
"""The wrong rows of a field to explain. More would not change which cause explains the most."""
_NEAR_SECONDS = 60.0
"""A client's clock may be off by so much."""
UNEXPLAINED = "no known cause"


@dataclass(frozen=True)
class Pair:
    """A request as it was sent, and as it should have been.

    Attributes:
        request_id: names it in the log.
        sent: the request.
        true: the same from the log; the history is in `moment`.
        moment: the histories.
    """

    request_id: str
    sent: dict[str, Any]
    true: dict[str, Any]
    moment: Moment


@dataclass(frozen=True)
class Finding:
    """A field that differs, and why.

    Attributes:
        field: e.g. `history` for its items, `history.rating`, `user.age`, `context.tab`, `time`.
        cause: the likely cause, and what to do.
        requests: the requests that it explains.
        compared: the requests whose field was compared.
        example: the id of one of them.
    """

    field: str
    cause: str
    requests: int
    compared: int
    example: str


@dataclass(frozen=True)
class _Value:
    request_id: str
    true: Any
    sent: Any


def find(pairs: Sequence[Pair], fields: Mapping[str, Sequence[str]], ages: bool) -> list[Finding]:
    """Return what differs, the commonest first.

    Args:
        pairs: the requests.
        fields: the names of the model's fields, by group.
        ages: whether the model reads the times of behaviours.
    """
    findings, read = _histories(pairs)
    values: dict[str, list[_Value]] = defaultdict(list)
    for pair in pairs:
        for name, true, sent in _values(pair, read[pair.request_id], fields, ages):
            values[name].append(_Value(pair.request_id, true, sent))
    for name, found in values.items():
        findings += _explained_values(name, found)
    return sorted(findings, key=lambda finding: -finding.requests)


def _histories(pairs: Sequence[Pair]) -> tuple[list[Finding], dict[str, Sequence[Entry]]]:
    """Return the findings about histories, and the behaviours that each request's history stands for."""
    read: dict[str, Sequence[Entry]] = {}
    wrong = []
    sound = []
    for pair in pairs:
        right = pair.moment.matches(pair.moment.past)
        read[pair.request_id] = pair.moment.past if right else []
        (sound if right else wrong).append(pair)
    wrong = wrong[:_MOST_WRONG]
    if not wrong:
        return [], read

    def explains(cause: Cause, pair: Pair) -> bool:
        return cause.explains(pair.moment)

    named = _named(wrong, causes.of_histories([pair.moment for pair in wrong]), explains, sound[:_MOST_WRONG])
    findings = []
    for cause, of_cause in named:
        for pair in of_cause if cause and cause.weight == 1 else ():
            read[pair.request_id] = cause.made(pair.moment) or []
        says = cause.says if cause else UNEXPLAINED
        findings.append(Finding("history", says, len(of_cause), len(pairs), of_cause[0].request_id))
    return findings, read


def _explained_values(name: str, values: Sequence[_Value]) -> list[Finding]:
    times = name.split(".")[-1] in (TIMESTAMP, "time")
    wrong = [value for value in values if not _same(value.true, value.sent, times)]
    known = {key(value.true) for value in values}

    def explains(cause: ValueCause, value: _Value) -> bool:
        return cause.fits(value.true, value.sent, known)

    compared = len({value.request_id for value in values})
    findings = []
    for cause, of_cause in _named(wrong[:_MOST_WRONG], causes.of_values(times), explains, ()):
        requests = len({value.request_id for value in of_cause})
        says = cause.says if cause else UNEXPLAINED
        findings.append(Finding(name, says, requests, compared, of_cause[0].request_id))
    return findings


def _named(
    wrong: Sequence[T], known: Sequence[Any], explains: Callable[[Any, T], bool], sound: Sequence[T]
) -> list[tuple[Any, list[T]]]:
    """Return causes with the rows that they explain, the one that explains the most first; None explains the rest.

    Of causes that explain equally many, the one that would have changed fewest of the sound rows wins.
    """
    named: list[tuple[Any, list[T]]] = []
    left = list(wrong)
    while left:
        found = [(cause, [row for row in left if explains(cause, row)]) for cause in known]
        found = [(cause, rows) for cause, rows in found if len(rows) >= max(1, _LEAST * len(wrong))]
        if not found:
            break
        most = max(cause.weight * len(rows) for cause, rows in found)
        best = [(cause, rows) for cause, rows in found if cause.weight * len(rows) == most]
        if len(best) > 1:
            best.sort(key=lambda one: -sum(explains(one[0], row) for row in sound))
        named.append(best[0])
        gone = {id(row) for row in best[0][1]}
        left = [row for row in left if id(row) not in gone]
    return [*named, (None, left)] if left else named


def _values(
    pair: Pair, read: Sequence[Entry], fields: Mapping[str, Sequence[str]], ages: bool
) -> list[tuple[str, Any, Any]]:
    """Return name, true value and sent value of what can be compared.

    A profile and side fields that were not sent are the bundle's own, so they are not compared.
    """
    sent = pair.sent
    found = []
    if sent.get("time") is not None or ages:
        found.append(("time", pair.moment.at, sent.get("time")))
    user = sent.get("user") or {}
    found += [(f"user.{n}", pair.true["user"].get(n), user[n]) for n in fields["user"] if n in user and n != USER_ID]
    context = sent.get("context") or {}
    found += [(f"context.{n}", true, context.get(n)) for n, true in pair.true["context"].items()]
    candidate, true = sent["candidates"][0], pair.true["candidates"][0]
    if isinstance(candidate, dict):
        found += [(f"candidate.{n}", true[n], candidate[n]) for n in fields["item"] if n in candidate and n in true]
    history = [entry if isinstance(entry, dict) else {ITEM_ID: entry} for entry in sent.get("history") or []]
    count = min(len(history), len(read), pair.moment.most)
    for behaviour, entry in zip(history[len(history) - count :], read[len(read) - count :], strict=True):
        found += [(f"history.{n}", entry[n], behaviour.get(n)) for n in fields["behaviour"] if n in entry]
        if entry.get(TIMESTAMP) is not None and (ages or behaviour.get(TIMESTAMP) is not None):
            found.append((f"history.{TIMESTAMP}", entry[TIMESTAMP], behaviour.get(TIMESTAMP)))
    return found


def _same(true: Any, sent: Any, times: bool) -> bool:
    numbers = all(isinstance(value, int | float) and finite(value) for value in (true, sent))
    if times and numbers:
        return abs(true - sent) <= _NEAR_SECONDS
    return key(true) == key(sent) or (numbers and abs(true - sent) <= 1e-6 * abs(true))

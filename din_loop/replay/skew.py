"""Find where clients and the log disagree, field by field, and name the cause that explains the most.

A cause must explain a twentieth of the rows that differ. Histories come first, and fields of behaviours are compared
where the history is right, or where its cause says which behaviours were sent.
"""

import random
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from din.schema import TIMESTAMP, USER_ID
from din_loop.replay import causes
from din_loop.replay.causes import Cause, Entry, Pair, Value, finite, key

Row = TypeVar("Row", bound=Pair | Value)
_LEAST = 0.05
_MOST_WRONG = 1000
"""The wrong rows of a field, drawn at random, that choose its causes. More would hardly change the choice."""
_NEAR_SECONDS = 60.0
"""A client's clock may be off by so much."""
_UNEXPLAINED = Cause("no known cause", lambda _: True, weight=0.0)


@dataclass(frozen=True)
class FieldSkew:
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


def find(pairs: Sequence[Pair], fields: Mapping[str, Sequence[str]], ages: bool, ahead: float = 0) -> list[FieldSkew]:
    """Return what differs, the commonest first.

    Args:
        pairs: the requests.
        fields: the names of the model's fields, by group.
        ages: whether the model reads the times of behaviours.
        ahead: how many seconds the days of the log are ahead of UTC.
    """
    read: dict[str, Sequence[Entry]] = {}
    for pair in pairs:
        if (behaviours := pair.as_sent(pair.past)) is not None:
            read[pair.request_id] = behaviours
    sound = [pair for pair in pairs if pair.request_id in read]
    wrong = [pair for pair in pairs if pair.request_id not in read]
    named = _named(wrong, lambda sample: causes.of_histories(sample, ahead), _sampled(sound))
    findings = [_finding("history", cause, rows, len(pairs)) for cause, rows in named]
    for cause, rows in named:
        if cause.weight == 1:
            read |= {pair.request_id: pair.as_sent(cause.behaviours(pair) or []) or [] for pair in rows}
    true_values: dict[str, set[str | None]] = defaultdict(set)
    values: dict[str, list[Value]] = defaultdict(list)
    for pair in pairs:
        for name, true, sent in _compared(pair, read.get(pair.request_id, []), fields, ages):
            true_values[name].add(key(true))
            values[name].append(Value(pair.request_id, true, sent, true_values[name]))
    for name, compared in values.items():
        times = name.split(".")[-1] in (TIMESTAMP, "time")
        differ = [value for value in compared if not _same(value.true, value.sent, times)]
        requests = len({value.request_id for value in compared})
        named = _named(differ, lambda _, times=times: causes.of_values(times))
        findings += [_finding(name, cause, rows, requests) for cause, rows in named]
    return sorted(findings, key=lambda finding: -finding.requests)


def _finding(name: str, cause: Cause, rows: Sequence[Pair] | Sequence[Value], compared: int) -> FieldSkew:
    return FieldSkew(name, cause.says, len({row.request_id for row in rows}), compared, rows[0].request_id)


def _sampled(rows: Sequence[Row]) -> Sequence[Row]:
    return rows if len(rows) <= _MOST_WRONG else random.Random(0).sample(rows, _MOST_WRONG)


def _named(
    wrong: Sequence[Row], causes_of: Callable[[Sequence[Row]], Sequence[Cause]], sound: Sequence[Row] = ()
) -> list[tuple[Cause, list[Row]]]:
    """Return causes, the one that explains the most first, with all rows that each explains and no earlier one does."""
    named: list[tuple[Cause, list[Row]]] = []
    unexplained = list(wrong)
    sample = _sampled(wrong)
    for cause in _chosen(sample, causes_of(sample), sound) if wrong else ():
        rows = [row for row in unexplained if cause.explains(row)]
        named.append((cause, rows))
        unexplained = _without(unexplained, rows)
    return [*named, (_UNEXPLAINED, unexplained)] if unexplained else named


def _chosen(wrong: Sequence[Row], known_causes: Sequence[Cause], sound: Sequence[Row]) -> list[Cause]:
    """Return the causes that explain the wrong rows, the one that explains the most first.

    Of causes that explain equally many, the one that would have changed fewest of the sound rows wins.
    """
    chosen: list[Cause] = []
    unexplained = list(wrong)
    while unexplained:
        explained = [(cause, [row for row in unexplained if cause.explains(row)]) for cause in known_causes]
        explained = [(cause, rows) for cause, rows in explained if len(rows) >= max(1, _LEAST * len(wrong))]
        most = max((cause.weight * len(rows) for cause, rows in explained), default=0)
        best = [(cause, rows) for cause, rows in explained if cause.weight * len(rows) == most]
        if len(best) > 1:
            best.sort(key=lambda choice: -sum(map(choice[0].explains, sound)))
        if not best:
            break
        cause, rows = best[0]
        chosen.append(cause)
        unexplained = _without(unexplained, rows)
    return chosen


def _without(rows: Sequence[Row], explained: Sequence[Row]) -> list[Row]:
    """Return the rows that are not among those explained, by identity: equal values may be several rows."""
    gone = {id(row) for row in explained}
    return [row for row in rows if id(row) not in gone]


def _compared(
    pair: Pair, read: Sequence[Entry], fields: Mapping[str, Sequence[str]], ages: bool
) -> list[tuple[str, Any, Any]]:
    """Return name, true value and sent value of what can be compared, given the behaviours that were sent.

    A profile and side fields that were not sent are the bundle's own, so they are not compared.
    """
    sent = pair.sent
    compared = []
    if sent.get("time") is not None or ages:
        compared.append(("time", pair.true["time"], sent.get("time")))
    user = sent.get("user") or {}
    compared += [(f"user.{n}", pair.true["user"].get(n), user[n]) for n in fields["user"] if n in user and n != USER_ID]
    context = sent.get("context") or {}
    compared += [(f"context.{n}", true, context.get(n)) for n, true in pair.true["context"].items()]
    candidate, true = sent["candidates"][0], pair.true["candidates"][0]
    if isinstance(candidate, dict):
        compared += [(f"candidate.{n}", true[n], candidate[n]) for n in fields["item"] if n in candidate and n in true]
    history = pair.history
    count = min(len(history), len(read), pair.most)
    for behaviour, entry in zip(history[len(history) - count :], read[len(read) - count :], strict=True):
        compared += [(f"history.{n}", entry[n], behaviour.get(n)) for n in fields["behaviour"] if n in entry]
        if entry.get(TIMESTAMP) is not None and (ages or behaviour.get(TIMESTAMP) is not None):
            compared.append((f"history.{TIMESTAMP}", entry[TIMESTAMP], behaviour.get(TIMESTAMP)))
    return compared


def _same(true: Any, sent: Any, times: bool) -> bool:
    lists = all(isinstance(value, list) for value in (true, sent))
    if lists and len(true) == len(sent):
        return all(_same(true_entry, sent_entry, times) for true_entry, sent_entry in zip(true, sent, strict=True))
    numbers = all(isinstance(value, int | float) and finite(value) for value in (true, sent))
    if times and numbers:
        return abs(true - sent) <= _NEAR_SECONDS
    return key(true) == key(sent) or (numbers and abs(true - sent) <= 1e-6 * abs(true))

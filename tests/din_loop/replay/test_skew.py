"""Each planted mistake of a client is named, at its field, and a sound client is not accused."""

import random
import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from din_loop.replay.causes import Pair
from din_loop.replay.skew import FieldSkew, find
from tests.din_loop.served_days import Days

DAY = 86_400
HOUR = 3600
MOST = 20
FIELDS = {"user": ["age", "city"], "item": ["item_id", "price"], "context": ["tab", "depth"], "behaviour": ["rating"]}
Request = dict[str, Any]
Client = Callable[[Request, dict[str, Any]], Request]  # given the sound request, and a memory of its own


@cache
def sound() -> list[Request]:
    """Return the sound requests of three days, with all kinds of fields."""
    requests = []
    for shown, request in Days(days=3, impressions=100, users=10).requests():
        history = [entry | {"rating": 1 + entry["item_id"] % 5} for entry in request["history"]]
        user = {"user_id": shown.user, "age": 20.5 + shown.user, "city": ["Rome", "Oslo"][shown.user % 2]}
        context = {"tab": ["home", "search"][shown.item % 2], "depth": 1.5 + shown.item}
        candidates = [{"item_id": shown.item, "price": 9.99 + shown.item}]
        requests.append(request | {"user": user, "history": history, "context": context, "candidates": candidates})
    return requests


def pairs(client: Client) -> list[Pair]:
    """Return what a client sends, beside the truth."""
    log_items = {str(entry["item_id"]) for request in sound() for entry in request["history"]}
    memory: dict[str, Any] = {"draw": random.Random(1)}
    result = []
    for number, true in enumerate(sound()):
        shown = [str(true["candidates"][0]["item_id"])]
        result.append(Pair(f"r{number}", client(dict(true), memory), true, shown, MOST, log_items))
    return result


def findings(client: Client) -> list[FieldSkew]:
    return find(pairs(client), FIELDS, ages=True)


def history(change: Callable[[list[Request], Request, dict[str, Any]], list[Request]]) -> Client:
    return lambda request, memory: request | {"history": change(request["history"], request, memory)}


def entries(change: Callable[[Request], Request]) -> Client:
    return lambda request, memory: request | {"history": [entry | change(entry) for entry in request["history"]]}


def part(name: str, change: Callable[[Request], Request]) -> Client:
    """Return a client that changes user or context."""
    return lambda request, memory: request | {name: request[name] | change(request[name])}


def cached(past: list[Request], request: Request, memory: dict[str, Any]) -> list[Request]:
    """Return the history of the user's first request of a session of five."""
    session = memory.setdefault(request["user"]["user_id"], [0, past])
    if session[0] % 5 == 0:
        session[1] = past
    session[0] += 1
    return session[1]


def dropped(past: list[Request], request: Request, memory: dict[str, Any]) -> list[Request]:
    return [entry for entry in past if memory["draw"].random() > 0.2]


def shuffled(past: list[Request], request: Request, memory: dict[str, Any]) -> list[Request]:
    return memory["draw"].sample(past, len(past))


def resent(past: list[Request], request: Request, memory: dict[str, Any]) -> list[Request]:
    return [entry for entry in past for _ in range(memory["draw"].choice([1, 1, 1, 2]))]


def first_kept(past: list[Request], *_: Any) -> list[Request]:
    items = [entry["item_id"] for entry in past]
    return [entry for n, entry in enumerate(past) if entry["item_id"] not in items[:n]]


def last_kept(past: list[Request], *_: Any) -> list[Request]:
    items = [entry["item_id"] for entry in past]
    return [entry for n, entry in enumerate(past) if entry["item_id"] not in items[n + 1 :]]


def in_cents(request: Request, _: Any) -> Request:
    return request | {"candidates": [item | {"price": 100 * item["price"]} for item in request["candidates"]]}


def until(end: Callable[[float], float]) -> Client:
    return history(lambda past, request, _: [e for e in past if e["timestamp"] < end(request["time"])])


FAULTS: dict[str, tuple[Client, str, str]] = {
    "reversed": (history(lambda past, *_: past[::-1]), "history", "order reversed"),
    "six hours late": (until(lambda at: at - 6 * HOUR), "history", "the last 6.0 hours are missing"),
    "nightly": (until(lambda at: at // DAY * DAY), "history", "built once a day"),
    "one behind": (history(lambda past, *_: past[:-1]), "history", "the newest behaviour is missing"),
    "cached": (history(cached), "history", "the newest behaviours are missing"),
    "truncated": (history(lambda past, *_: past[-5:]), "history", "truncated to the newest 5"),
    "wrong end": (history(lambda past, *_: past[:5]), "history", "cut to the oldest 5"),
    "retried": (history(lambda past, *_: past + past[-1:]), "history", "some behaviours are repeated"),
    "resent": (history(resent), "history", "some behaviours are repeated"),
    "a set": (history(first_kept), "history", "each item only once, where it was first"),
    "recent items": (history(last_kept), "history", "each item only once, where it was last"),
    "itself": (history(lambda past, r, _: [*past, r["candidates"][0]]), "history", "the impression itself"),
    "of today": (history(lambda past, _, m: past + m["draw"].sample(past, 1)), "history", "newer behaviours than in"),
    "none": (history(lambda *_: []), "history", "no history is sent"),
    "unknown ids": (entries(lambda e: {"item_id": f"item-{e['item_id']}"}), "history", "does not know: another form"),
    "lossy": (history(dropped), "history", "in the middle are missing"),
    "shuffled": (history(shuffled), "history", "in another order"),
    "no feedback": (entries(lambda e: {"rating": None}), "history.rating", "left out"),
    "feedback default": (entries(lambda e: {"rating": -1}), "history.rating", "a default"),
    "milliseconds": (entries(lambda e: {"timestamp": 1000 * e["timestamp"]}), "history.timestamp", "milliseconds"),
    "time zone": (entries(lambda e: {"timestamp": e["timestamp"] + 2 * HOUR}), "history.timestamp", "+2 h: another"),
    "dates": (entries(lambda e: {"timestamp": e["timestamp"] // DAY * DAY}), "history.timestamp", "rounded to days"),
    "now in ms": (lambda r, _: r | {"time": 1000 * r["time"]}, "time", "milliseconds"),
    "stale profile": (part("user", lambda u: {"age": u["age"] - 1 if u["age"] > 21.5 else 22.5}), "user.age", "stale"),
    "whole years": (part("user", lambda u: {"age": int(u["age"])}), "user.age", "rounded"),
    "other case": (part("user", lambda u: {"city": u["city"].upper()}), "user.city", "other case or blanks"),
    "no context": (lambda r, _: r | {"context": {"depth": r["context"]["depth"]}}, "context.tab", "left out"),
    "new words": (part("context", lambda c: {"tab": "v2/" + c["tab"]}), "context.tab", "no known cause"),
    "in cents": (part("context", lambda c: {"depth": 100 * c["depth"]}), "context.depth", "times 100"),
    "price in cents": (in_cents, "candidate.price", "times 100"),
}  # fmt: skip


def test_a_sound_client() -> None:
    """Silence, also if the client sends only what the model reads, without what it needs not send."""
    assert findings(lambda request, _: request) == []
    assert findings(history(lambda past, *_: past[-MOST:])) == []
    assert findings(lambda request, _: request | {"user": {"user_id": request["user"]["user_id"]}}) == []


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_mistake(fault: str) -> None:
    """It is the first finding, and nearly the only one."""
    client, field, cause = FAULTS[fault]
    first, *others = findings(client)
    assert first.field == field and cause in first.cause
    assert sum(other.requests for other in others) <= 0.1 * first.requests


@pytest.mark.parametrize("most", [3, 4, 20])
@pytest.mark.parametrize("change", [None, "reversed"])
def test_clicks_of_one_request(most: int, change: str | None) -> None:
    """They have one time, so a client may send them in any order, and other mistakes are still named."""
    true = {"time": 9.0, "user": {}, "context": {}, "candidates": [{"item_id": 9}]}
    past = [{"item_id": item, "timestamp": float(item // 3), "rating": item} for item in range(7)]
    sent = sorted(past, key=lambda entry: (entry["timestamp"], -entry["item_id"]))
    if change:
        sent = FAULTS[change][0](true | {"history": sent}, {})["history"]
    pair = Pair("r", true | {"history": sent}, true | {"history": past}, ["9"], most, {str(n) for n in range(9)})
    causes = [(finding.field, finding.cause.split(";")[0]) for finding in find([pair], FIELDS, ages=True)]
    assert causes == ([("history", FAULTS[change][2])] if change else [])


@pytest.mark.parametrize("hours", [9, -8])
def test_a_nightly_history_elsewhere(hours: int) -> None:
    """The job runs at midnight where the days of the log begin."""
    ahead = hours * HOUR
    client = until(lambda at: (at + ahead) // DAY * DAY - ahead)
    assert "built once a day" in find(pairs(client), FIELDS, True, ahead)[0].cause


def test_odd_values() -> None:
    """A server accepts them where its model reads something else."""
    odd = {"item_id": [7], "rating": 10**400, "timestamp": 10**400}
    skew = findings(lambda request, _: request | {"time": 10**400, "history": [{}, *request["history"], odd]})
    assert {"time", "history"} <= {finding.field for finding in skew}
    skew = findings(entries(lambda _: {"rating": 10**400, "timestamp": 10**400}))
    assert {finding.field for finding in skew} == {"history.rating", "history.timestamp"}


def test_two_mistakes_at_once() -> None:
    """Fields of behaviours are compared with those that were sent, in their order."""
    client = history(lambda past, *_: [entry | {"rating": None} for entry in past[::-1]])
    assert {(finding.field, finding.cause.split(";")[0]) for finding in findings(client)} == {
        ("history", "order reversed"),
        ("history.rating", "left out"),
    }


def test_one_client_of_several() -> None:
    """A mistake of few is counted as theirs."""
    client = FAULTS["reversed"][0]
    skew = findings(lambda request, memory: client(request, memory) if request["user"]["user_id"] < 3 else request)
    assert [(finding.field, finding.requests < 0.3 * finding.compared) for finding in skew] == [("history", True)]


def test_every_wrong_request_is_counted() -> None:
    """Also where there are more wrong values than choose the cause."""
    (finding,) = findings(FAULTS["no feedback"][0])
    assert finding.requests == finding.compared > 100


def test_a_late_store_beside_one_odd_request() -> None:
    """One history that ends far earlier than all others does not hide by how much these are late."""

    def client(request: Request, memory: dict[str, Any]) -> Request:
        late = FAULTS["six hours late"][0](request, memory)
        odd = len(request["history"]) > 30 and not memory.get("odd")
        memory["odd"] = memory.get("odd") or odd
        return request | {"history": request["history"][:2]} if odd else late

    assert re.match(r"the last (5\.9|6\.0) hours are missing", findings(client)[0].cause)


def test_vectors_are_compared_as_numbers() -> None:
    """A client that prints float32 in its shortest form is no other client."""
    true = part("context", lambda _: {"depth": [0.10000000149011612, 2.0]})
    sent = part("context", lambda _: {"depth": [0.1, 2]})
    compared = [
        replace(pair, true=true(dict(pair.true), {}), sent=sent(dict(pair.sent), {})) for pair in pairs(lambda r, _: r)
    ]
    assert find(compared, FIELDS, ages=True) == []


def test_late_histories_beside_empty_ones() -> None:
    """An empty history would fit any delay, so it must not decide by how much the others are late."""
    late = FAULTS["six hours late"][0]
    none = FAULTS["none"][0]
    causes = [
        finding.cause
        for finding in findings(lambda r, memory: (none if r["user"]["user_id"] == 3 else late)(r, memory))
    ]
    assert "the last 6.0 hours are missing" in causes[0] and "no history is sent" in causes[1]

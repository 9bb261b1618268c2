"""Drifts of a served day: clients ask otherwise than before, the service answers otherwise, or other clicks come."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from din_loop.watch.alarms import Action

ASK: Action = "ask who owns the data"
HOUR = 3600.0
Request = dict[str, Any]


@dataclass(frozen=True)
class Asked:
    """A request with one candidate.

    Attributes:
        name: its id.
        at: when it is answered, in seconds since 1970.
        clicked: whether the candidate is clicked.
    """

    name: str
    at: float
    request: Request
    clicked: bool


Asking = Callable[[Sequence[Asked], np.random.Generator], Sequence[Asked]]


@dataclass(frozen=True)
class Drift:
    """A drift of a day.

    Attributes:
        action: what to do about it.
        asked: changes requests before they are answered, or clicks.
        scored: changes the probabilities of a new bundle, [B].
        is_first: whether the first champion of the log answers.
    """

    action: Action
    asked: Asking = lambda asked, rng: asked
    scored: Callable[[NDArray[np.float64]], NDArray[np.float64]] | None = None
    is_first: bool = False


def _each(change: Callable[[Request], Request], share: float = 1.0) -> Drift:
    """Return a drift that sets keys of requests."""
    return Drift(
        ASK,
        lambda asked, rng: [
            replace(event, request=event.request | change(event.request)) if rng.random() < share else event
            for event in asked
        ],
    )


def _entries(group: str, change: Callable[[Request], Request], share: float = 1.0) -> Drift:
    """Return a drift that sets keys of behaviours or candidates."""
    return _each(lambda request: {group: [entry | change(entry) for entry in request[group]]}, share)


def _kept(is_kept: Callable[[Asked, float], bool]) -> Drift:
    """Return a drift that loses requests, given each with a random number in [0, 1)."""
    return Drift(ASK, lambda asked, rng: [event for event in asked if is_kept(event, float(rng.random()))])


def _clicks(is_clicked: Callable[[Asked, float], bool]) -> Drift:
    """Return a drift of clicks, given each request with a random number in [0, 1)."""
    return Drift(
        ASK, lambda asked, rng: [replace(event, clicked=is_clicked(event, float(rng.random()))) for event in asked]
    )


def _again(asked: Sequence[Asked], every: int, **changes: Any) -> list[Asked]:
    """Return the requests, and some of them again a second later, with other keys."""
    again = [
        replace(event, name=f"{event.name}-again", at=event.at + 1, request=event.request | changes)
        for event in asked[::every]
    ]
    return [*asked, *again]


def _machine(asked: Sequence[Asked], rng: np.random.Generator) -> list[Asked]:
    first = asked[0].request
    return _again(asked, 5, user=first["user"], history=first["history"])


def _randomly(asked: Sequence[Asked], rng: np.random.Generator) -> list[Asked]:
    clicked = rng.permutation([event.clicked for event in asked]).tolist()
    return [replace(event, clicked=now) for event, now in zip(asked, clicked, strict=True)]


def _user(event: Asked) -> int:
    return int(event.request["user"]["user_id"])


def _older(request: Request) -> Request:
    return {
        "history": [
            behaviour for behaviour in request["history"] if behaviour["timestamp"] < request["time"] - 24 * HOUR
        ]
    }


DRIFTS = {
    "no requests for six hours": _kept(lambda event, _: not 12 * HOUR <= event.at % (24 * HOUR) < 18 * HOUR),
    "half of the requests lost": _kept(lambda _, drawn: drawn < 0.5),
    "a third of the users gone": _kept(lambda event, _: _user(event) % 3 > 0),
    "every request sent twice": Drift(ASK, lambda asked, rng: _again(asked, 1)),
    "a machine sends a sixth of the requests": Drift(ASK, _machine),
    "histories empty": _each(lambda _: {"history": []}),
    "histories cut to five": _each(lambda request: {"history": request["history"][-5:]}),
    "histories reversed": _each(lambda request: {"history": request["history"][::-1]}),
    "histories lack the last day": _each(_older),
    "times of behaviours 8 h ahead": _entries("history", lambda entry: {"timestamp": entry["timestamp"] + 8 * HOUR}),
    "items of behaviours in another form": _entries("history", lambda entry: {"item_id": f"item-{entry['item_id']}"}),
    "items of candidates in another form": _entries(
        "candidates", lambda entry: {"item_id": f"item-{entry['item_id']}"}
    ),
    "a third of the candidates are new items": replace(
        _entries("candidates", lambda entry: {"item_id": entry["item_id"] + 10**6}, 1 / 3), action="retrain"
    ),
    "users in another form": _each(lambda request: {"user": {"user_id": f"u{request['user']['user_id']}"}}),
    "categories missing": _entries("candidates", lambda _: {"category": None}),
    "categories constant": _entries("candidates", lambda _: {"category": 0}),
    "a third of the categories are one": _entries("candidates", lambda _: {"category": 5}, 1 / 3),
    "a third of the candidates are one old item": _entries("candidates", lambda _: {"item_id": 1}, 1 / 3),
    "clocks an hour ahead": _each(lambda request: {"time": request["time"] + HOUR}),
    "a third of the clocks 8 h behind": _each(lambda request: {"time": request["time"] - 8 * HOUR}, 1 / 3),
    "the first champion answers again": Drift("roll back", is_first=True),
    "a bundle gives one score": Drift("roll back", scored=lambda p: np.full_like(p, p.mean())),
    "a bundle gives the scores of other requests": Drift("roll back", scored=lambda p: np.roll(p, 100)),
    "a bundle's scores are 1.3 times too high": Drift("roll back", scored=lambda p: np.minimum(1.3 * p, 0.99)),
    "a bundle's scores are squared": Drift("roll back", scored=np.square),
    "half of the clicks lost": _clicks(lambda event, drawn: event.clicked and drawn < 0.5),
    "all clicks lost": _clicks(lambda event, _: False),
    "all clicks of a fifth of the users lost": _clicks(lambda event, _: event.clicked and _user(event) % 5 > 0),
    "about twice as many clicks": _clicks(lambda event, drawn: event.clicked or drawn < 0.4),
    "a fifth of the users click on everything": _clicks(lambda event, _: event.clicked or _user(event) % 5 == 0),
    "people click at random": Drift("retrain", _randomly),
}
"""All drifts, by what they are."""

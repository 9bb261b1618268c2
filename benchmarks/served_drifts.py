"""Drifts of served days: clients ask otherwise than before, the service answers otherwise, or other clicks come.

`DRIFTS` were written beside the watch. `OF_A_STRANGER` were written by somebody who had not read its code.
"""

from collections import Counter
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
        before: the last score of the user on the day before; None if there is none.
    """

    name: str
    at: float
    request: Request
    clicked: bool
    before: float | None = None

    @property
    def user(self) -> int:
        """The id of the user."""
        return int(self.request["user"]["user_id"])

    @property
    def candidate(self) -> Request:
        """The candidate."""
        return self.request["candidates"][0]

    def showing(self, **fields: Any) -> "Asked":
        """Return a request for another candidate, or for one with other fields."""
        return replace(self, request=self.request | {"candidates": [self.candidate | fields]})


Scores = NDArray[np.float64]
Asking = Callable[[Sequence[Asked], np.random.Generator], Sequence[Asked]]


@dataclass(frozen=True)
class Drift:
    """A drift of a day.

    Attributes:
        action: what to do about it.
        asked: changes requests before they are answered, or clicks.
        scored: changes the probabilities of a new bundle, [B].
        served: changes the probabilities of the champion on their way to clients, [B].
        first: the share of the requests that the first champion of the log answers.
    """

    action: Action
    asked: Asking = lambda asked, rng: asked
    scored: Callable[[Scores], Scores] | None = None
    served: Callable[[Scores, Sequence[Asked], np.random.Generator], Scores] | None = None
    first: float = 0.0


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


def _older(request: Request) -> Request:
    return {
        "history": [
            behaviour for behaviour in request["history"] if behaviour["timestamp"] < request["time"] - 24 * HOUR
        ]
    }


DRIFTS = {
    "no requests for six hours": _kept(lambda event, _: not 12 * HOUR <= event.at % (24 * HOUR) < 18 * HOUR),
    "half of the requests lost": _kept(lambda _, drawn: drawn < 0.5),
    "a third of the users gone": _kept(lambda event, _: event.user % 3 > 0),
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
    "the first champion answers again": Drift("roll back", first=1.0),
    "a bundle gives one score": Drift("roll back", scored=lambda p: np.full_like(p, p.mean())),
    "a bundle gives the scores of other requests": Drift("roll back", scored=lambda p: np.roll(p, 100)),
    "a bundle's scores are 1.3 times too high": Drift("roll back", scored=lambda p: np.minimum(1.3 * p, 0.99)),
    "a bundle's scores are squared": Drift("roll back", scored=np.square),
    "half of the clicks lost": _clicks(lambda event, drawn: event.clicked and drawn < 0.5),
    "all clicks lost": _clicks(lambda event, _: False),
    "all clicks of a fifth of the users lost": _clicks(lambda event, _: event.clicked and event.user % 5 > 0),
    "about twice as many clicks": _clicks(lambda event, drawn: event.clicked or drawn < 0.4),
    "a fifth of the users click on everything": _clicks(lambda event, _: event.clicked or event.user % 5 == 0),
    "people click at random": Drift("retrain", _randomly),
}
"""Drifts of one day, by what they are."""


def _values(asked: Sequence[Asked], field: str) -> list[Any]:
    """Return the values of a field of candidates, commonest first."""
    return [value for value, _ in Counter(event.candidate[field] for event in asked).most_common()]


def _lost_for(field: str, first: int, last: int | None) -> Drift:
    """Return a drift that loses all clicks on some values of a field, counted from the commonest one."""

    def asked(events: Sequence[Asked], rng: np.random.Generator) -> list[Asked]:
        lost = set(_values(events, field)[first:last])
        return [replace(event, clicked=event.clicked and event.candidate[field] not in lost) for event in events]

    return Drift(ASK, asked)


def _rarest_lost(asked: Sequence[Asked], rng: np.random.Generator) -> Sequence[Asked]:
    half = len(_values(asked, "item_id")) // 2
    return _lost_for("item_id", half, None).asked(asked, rng)


def _busiest_lost(asked: Sequence[Asked], rng: np.random.Generator) -> list[Asked]:
    busiest = {user for user, _ in Counter(event.user for event in asked).most_common(10)}
    return [replace(event, clicked=event.clicked and event.user not in busiest) for event in asked]


def _fraud(asked: Sequence[Asked], rng: np.random.Generator) -> list[Asked]:
    items = _values(asked, "item_id")[:3]
    return [replace(event, clicked=event.clicked or event.candidate["item_id"] in items) for event in asked]


def _new_items(share: float, **fields: Any) -> Drift:
    def asked(events: Sequence[Asked], rng: np.random.Generator) -> list[Asked]:
        return [
            event.showing(item_id=event.candidate["item_id"] + 10**6, **fields) if rng.random() < share else event
            for event in events
        ]

    return Drift(ASK if fields else "retrain", asked)


def _renamed(asked: Sequence[Asked], rng: np.random.Generator) -> list[Asked]:
    first, second, *_ = _values(asked, "category")
    return [event.showing(category=second) if event.candidate["category"] == first else event for event in asked]


def _next_impression(asked: Sequence[Asked], rng: np.random.Generator) -> list[Asked]:
    clicks = [False, *(event.clicked for event in asked[:-1])]
    return [replace(event, clicked=clicked) for event, clicked in zip(asked, clicks, strict=True)]


def _history_of_another(asked: Sequence[Asked], rng: np.random.Generator) -> list[Asked]:
    histories = [event.request["history"] for event in asked]
    return [
        replace(event, request=event.request | {"history": histories[rng.integers(len(histories))]})
        if rng.random() < 0.2
        else event
        for event in asked
    ]


def _popular(asked: Sequence[Asked], rng: np.random.Generator) -> list[Asked]:
    candidates = {event.candidate["item_id"]: event.candidate for event in asked}
    items = _values(asked, "item_id")[:10]
    return [
        event.showing(**candidates[items[rng.integers(len(items))]]) if rng.random() < 1 / 3 else event
        for event in asked
    ]


def _cached(scores: Scores, asked: Sequence[Asked], rng: np.random.Generator) -> Scores:
    return np.array(
        [score if event.before is None else event.before for score, event in zip(scores, asked, strict=True)]
    )


def _rounded(scores: Scores, asked: Sequence[Asked], rng: np.random.Generator) -> Scores:
    return np.where(rng.random(len(scores)) < 1 / 3, scores.round(1), scores)


def _fallback(scores: Scores, asked: Sequence[Asked], rng: np.random.Generator) -> Scores:
    return np.where(rng.random(len(scores)) < 0.2, scores.mean(), scores)


def _inflated(share: float) -> Drift:
    return Drift(ASK, served=lambda scores, asked, rng: np.minimum(scores * (1 + share), 0.99))


def _lost(share: float) -> Drift:
    return _clicks(lambda event, drawn: event.clicked and drawn >= share)


def _late_clocks(seconds: float) -> Drift:
    return _each(lambda request: {"time": request["time"] + seconds})


def _shorter(count: int) -> Drift:
    return _each(lambda request: {"history": request["history"][:-count]})


OF_A_STRANGER: dict[str, Sequence[Drift]] = {
    "clicks lost, 2 % more each day": [_lost(0.02 * day) for day in range(1, 6)],
    "half of the answers by the first champion": [Drift(ASK, first=0.5)],
    "clicks of the most frequent category lost": [_lost_for("category", 0, 1)],
    "all impressions of the three top items clicked": [Drift(ASK, _fraud)],
    "a cache repeats yesterday's score of the user": [Drift(ASK, served=_cached)],
    "15 % of the candidates are new items with empty category": [_new_items(0.15, category=None)],
    "one of three processes rounds scores to one digit": [Drift(ASK, served=_rounded)],
    "clicks of the evening lost": [_clicks(lambda event, _: event.clicked and event.at % (24 * HOUR) < 18 * HOUR)],
    "the top category renamed to the second": [Drift(ASK, _renamed)],
    "every click credited to the next impression": [Drift("retrain", _next_impression)],
    "predictions inflate by 2 % a day": [_inflated(0.02 * day) for day in range(1, 6)],
    "new items grow by 1.5 % a day": [_new_items(0.015 * day) for day in range(1, 8)],
    "histories lose one more behaviour each day": [_shorter(day) for day in range(1, 4)],
    "a fifth of the requests hold another user's history": [Drift(ASK, _history_of_another)],
    "every behaviour twice": [_each(lambda request: {"history": [b for b in request["history"] for _ in range(2)]})],
    "clicks on the rarer half of the items lost": [Drift(ASK, _rarest_lost)],
    "clicks of the ten busiest users lost": [Drift(ASK, _busiest_lost)],
    "a fallback gives the mean score to a fifth": [Drift(ASK, served=_fallback)],
    "a third of the requests show the ten top items": [Drift(ASK, _popular)],
    "clocks drift 3 minutes more each day": [_late_clocks(180.0 * day) for day in range(1, 5)],
}
"""Drifts by what they are, one for each day until a tenth of the harm is done: a slow one is found until then."""
PLANTED: dict[str, Sequence[Drift]] = {name: [drift] for name, drift in DRIFTS.items()} | OF_A_STRANGER

"""An endless simulated log that changes from day to day: `fetch.simulate.daily`.

    interests   a user has 3-5 slots. Each holds a category and its weight for `interest_days`, then gets new ones
    items       `items` items are on show at a time, each for `item_days`; then a new item takes its place
    fashion     the appeal of each category drifts; after twice `fashion_days` nothing is left of it
    week        traffic and CTR are highest at the weekend

    logit = -1.6 + 1.17 log(1 + 40 w) + fashion + week

w is the share of the candidate's category in the user's weights, so 40 w is the expected number of behaviours in this
category among 40. A model can read interests from the history, but it must learn the fashion. Half of the candidates
come from the user's own categories, the others from any. Within a category items are drawn uniformly.

A day depends on the parameters and on its own number, never on earlier days. Everything that lasts longer than a day
belongs to a numbered generation. The number of the day decides which generation is alive, and the properties of a
generation are drawn with its number as seed. Every day therefore costs the same, and a longer log begins with the same
days.

Costs: about 1 µs of CPU per impression, and a few hundred bytes of memory per user and per impression of a day. Not
supported: users who come and go, and clicks that change the user's interests.

Shapes: N impressions of a day, U users, K interest slots, C categories.
"""

from dataclasses import dataclass, replace
from datetime import date, timedelta
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from din.base.artifacts import hash_files
from din.base.errors import InputError
from din.base.progress import track
from din.base.workspace import Workspace
from din.data import SOURCES, rawlog
from din.data.rawlog import RawLog
from din.data.rows import Rows
from din.data.source import Earlier, Source, Written
from din.params.blocks import to_json
from din.params.fetch import Simulate
from din.schema import DAY_US, ITEM_ID, SEQUENCE
from din_logs.simulate import (
    FIELDS,
    INTERCEPT,
    INTERESTS,
    OWN,
    PRIOR,
    SLOPE,
    START_US,
    Simulation,
    behaviours_of,
    draw_items,
    events,
)

BEHAVIOURS = 40
FIRST_DAY = date(2024, 1, 1)
PRIOR_DAYS = 15
"""Prior behaviours are half a day apart, so the longest history begins 15 days before the first day."""

_WEEKEND = 5.5  # the middle of the weekend, in days after the beginning of Monday


class _Stream(IntEnum):
    """The purposes of random numbers. The seed of a draw includes this number and that of the day or generation."""

    USERS = 0
    ITEMS = 1
    INTERESTS = 2
    FASHION = 3
    HISTORY = 4
    IMPRESSIONS = 5


@dataclass(frozen=True)
class Interests:
    """The interests of all users on a day.

    Attributes:
        categories: (U, K), the category of each slot.
        weights: (U, K), each user's sum to 1; 0 in slots that the user does not have.
    """

    categories: np.ndarray
    weights: np.ndarray


@dataclass(frozen=True)
class Impressions:
    """The impressions of a day in the order of time; every array has N values."""

    user: np.ndarray
    item: np.ndarray
    time: np.ndarray
    label: np.ndarray
    probability: np.ndarray


class DailySimulation(Source):
    """The log that `fetch.simulate` describes until a day, or for `fetch.simulate.days` days.

    Raises:
        InputError: `until` is before the first day.
    """

    def __init__(self, workspace: Workspace, params: Simulate, until: date | None) -> None:
        super().__init__(workspace, params, until)
        if until is not None and until < FIRST_DAY:
            raise InputError(f"data.until={until}: no event is that old, the first is of {FIRST_DAY}; set a later day")
        count = params.days if until is None else (until - FIRST_DAY).days + 1
        self.world = World(params)
        self.days = [(FIRST_DAY + timedelta(days=number)).isoformat() for number in range(count)]

    def identity(self) -> Any:
        """Return the parameters and the number of days, which determine the log."""
        return to_json(self.params) | {"impressions_per_user": None, "days": len(self.days)}

    def read(self) -> RawLog:
        """Draw the items, the history and the events of the last day."""
        newest = len(self.days) - 1
        items = Rows.of("simulate", self.world.items(newest))
        history = Rows.of("simulate", self.world.history())
        return replace(self._log(newest), items=items, history=history)

    def write(self, tree: Path, earlier: Earlier) -> Written:
        """Draw the log day by day."""
        for number in track(range(len(self.days)), len(self.days), "drawing", "day"):
            log = self._log(number)
            rawlog.write_day(log.events, tree, log.truth)
        log = self.read()
        rawlog.write_others(rawlog.checked(log), tree)
        described = rawlog.description(log, self.until, self.days, self._start(len(self.days)))
        return Written(described, hash_files(tree), len(self.days))

    def _start(self, number: int) -> int:
        """Return the number of events before a day."""
        return sum(self.world.size(earlier) for earlier in range(number))

    def _log(self, number: int) -> RawLog:
        """Draw the events of a day."""
        drawn = self.world.impressions(number)
        sequence = self._start(number) + np.arange(len(drawn.time))
        return RawLog(
            events=events(drawn.user, drawn.item, drawn.time, sequence, drawn.label),
            truth=pa.table({SEQUENCE: sequence, "probability": drawn.probability}),
            fields=FIELDS,
            protocol="temporal",
            daily=True,
        )


class World:
    """Users, items and fashion on each day. Days are numbered from 0, and days of prior histories are negative."""

    def __init__(self, params: Simulate) -> None:
        assert params.daily is not None
        self.params = params
        self.daily = params.daily
        users = self._random(_Stream.USERS)
        self.interest_count = users.integers(INTERESTS[0], INTERESTS[1] + 1, params.users)
        self.prior_count = users.integers(PRIOR[0], PRIOR[1] + 1, params.users)
        self.interest_phase = users.integers(0, self.daily.interest_days or 1, (params.users, INTERESTS[1]))
        self.item_phase = self._random(_Stream.ITEMS).integers(0, self.daily.item_days or 1, params.items)

    def size(self, day: int) -> int:
        """Return the number of impressions of a day, at least 1."""
        return max(1, round(self.daily.impressions * (1 + self.daily.weekly_traffic * weekly_wave(day))))

    def interests(self, day: int) -> Interests:
        """Return the interests on a day. In each slot, one of two generations is alive."""
        older = int(_generation(day, np.zeros(1, int), self.daily.interest_days)[0])
        younger = _generation(day, self.interest_phase, self.daily.interest_days) > older
        drawn = self.new_interests(older)
        if younger.any():
            successors = self.new_interests(older + 1)
            categories = np.where(younger, successors.categories, drawn.categories)
            drawn = Interests(categories, np.where(younger, successors.weights, drawn.weights))
        weights = drawn.weights * (np.arange(INTERESTS[1]) < self.interest_count[:, None])
        return Interests(drawn.categories, weights / weights.sum(axis=1, keepdims=True))

    def new_interests(self, generation: int) -> Interests:
        """Draw a generation of interests for all slots, with weights that do not sum to 1."""
        rng = self._random(_Stream.INTERESTS, generation)
        slots = (self.params.users, INTERESTS[1])
        return Interests(rng.integers(0, self.params.categories, slots), rng.standard_exponential(slots))

    def fashion(self, day: int) -> np.ndarray:
        """Return the contribution of each category to the logit on a day, (C,). Its variance is equal on all days."""
        if self.daily.fashion_days is None:
            return self._new_fashion(0)
        generation, age = divmod(day, self.daily.fashion_days)
        angle = np.pi / 2 * age / self.daily.fashion_days
        return np.cos(angle) * self._new_fashion(generation) + np.sin(angle) * self._new_fashion(generation + 1)

    def item_generation(self, day: int) -> np.ndarray:
        """Return the generation of each item slot that is on show on a day, (items,)."""
        return _generation(day, self.item_phase, self.daily.item_days)

    def items(self, day: int) -> dict[str, Any]:
        """Return the items that appeared until a day, by id; in slot s, generation g has the id 1 + s + g * items."""
        newest = self.item_generation(day)
        slots = [np.flatnonzero(newest >= generation) for generation in range(newest.max() + 1)]
        ids = [1 + slot + self.params.items * generation for generation, slot in enumerate(slots)]
        return {ITEM_ID: np.concatenate(ids), "category": np.concatenate(slots) % self.params.categories}

    def history(self) -> dict[str, Any]:
        """Draw the prior histories, which end half a day before the first day."""
        columns = zip(*(self._half_day(back) for back in range(PRIOR[1], 0, -1)), strict=True)
        return behaviours_of(*map(np.concatenate, columns))

    def impressions(self, day: int) -> Impressions:
        """Draw the impressions of a day."""
        count = self.size(day)
        rng = self._random(_Stream.IMPRESSIONS, day)
        interests = self.interests(day)
        user = rng.integers(0, self.params.users, count)
        preferred = interests.categories[user, rng.integers(0, self.interest_count[user])]
        category = np.where(rng.random(count) < OWN, preferred, rng.integers(0, self.params.categories, count))
        share = (interests.weights[user] * (interests.categories[user] == category[:, None])).sum(axis=1)
        logit = INTERCEPT + SLOPE * np.log1p(BEHAVIOURS * share) + self.fashion(day)[category]
        probability = 1 / (1 + np.exp(-logit - self.daily.weekly_ctr * weekly_wave(day)))
        spacing = DAY_US // count  # one impression in each interval of this length, so times never tie
        return Impressions(
            user=1 + user,
            item=self._draw_items(rng, category, day),
            time=START_US + day * DAY_US + np.arange(count) * spacing + rng.integers(0, spacing, count),
            label=rng.random(count) < probability,
            probability=probability,
        )

    def _half_day(self, back: int) -> tuple[np.ndarray, ...]:
        """Draw user, item, time and sequence of one behaviour for each user with a long enough history.

        Args:
            back: how many half days before the first day.
        """
        day = -((back + 1) // 2)
        rng = self._random(_Stream.HISTORY, back)
        user = np.flatnonzero(self.prior_count >= back)
        interests = self.interests(day)
        reach = interests.weights[user].cumsum(axis=1)
        slot = (rng.random((len(user), 1)) * reach[:, -1:] >= reach).sum(axis=1)
        item = self._draw_items(rng, interests.categories[user, slot], day)
        time = np.full(len(user), START_US - back * (DAY_US // 2))
        return 1 + user, item, time, self.prior_count[user] - back

    def _random(self, stream: _Stream, number: int = 0) -> np.random.Generator:
        return np.random.default_rng([self.params.seed, stream, number])

    def _new_fashion(self, generation: int) -> np.ndarray:
        return self.daily.fashion * self._random(_Stream.FASHION, generation).standard_normal(self.params.categories)

    def _draw_items(self, rng: np.random.Generator, categories: np.ndarray, day: int) -> np.ndarray:
        """Draw an item id of each category among those shown on a day."""
        slot = draw_items(rng, categories, self.params) - 1
        return 1 + slot + self.params.items * self.item_generation(day)[slot]


def weekly_wave(day: int) -> float:
    """Return a wave over the week that is highest at the weekend, between -1 and 1 with mean 0. Day 0 is a Monday."""
    return float(np.cos(2 * np.pi * (day - _WEEKEND) / 7))


def _generation(day: int, phase: np.ndarray, length: int | None) -> np.ndarray:
    """Return the generation alive on a day, counted from the oldest day. Without a length, it is always 0."""
    return (day + PRIOR_DAYS + phase) // length if length else np.zeros_like(phase)


@SOURCES.register("simulate")
def simulated(workspace: Workspace, params: Simulate, until: date | None) -> Source:
    """Return the log of a fixed number of days, or with `daily` the endless one."""
    if params.daily is None:
        return Simulation(workspace, params, until)
    return DailySimulation(workspace, params, until)

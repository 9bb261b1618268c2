"""The defects of the month, in the data and in learning, and the days on which they are planted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice, zip_longest
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.lessons.plants import PLANTS
from benchmarks.month.source import PRICE, Delivery, Plant
from din.schema import DAY_US, ITEM_ID, LABEL, TIMESTAMP, USER_ID

_DAY_SECONDS = DAY_US // 1_000_000
_FIRST = 3
"""The day of the first defect, counted from 1. The first two days show that the pipeline runs."""


@dataclass(frozen=True)
class Fault:
    """A defect of one day.

    Attributes:
        what: the defect, for the page.
        plant: plants it in the source. None: the source is sound.
        params: parameters of that day's run alone.
        accepted: parameters of the next day's run, by which the operator accepts the corrected files.
        lesson: the plant of `benchmarks.lessons` with which that day's stage `refit` learns. None: it learns rightly.
    """

    what: str
    plant: Plant | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    accepted: Mapping[str, Any] = field(default_factory=dict)
    lesson: str | None = None


def milliseconds(day: Delivery) -> Delivery:
    """Deliver times in milliseconds."""
    return _events(day, TIMESTAMP, _column(day, TIMESTAMP) * 1000)


def cents(day: Delivery) -> Delivery:
    """Deliver prices in cents."""
    return _events(day, PRICE, _column(day, PRICE) * 100)


def half_a_day(day: Delivery) -> Delivery:
    """Deliver the impressions until noon alone."""
    assert day.events
    return replace(day, events=day.events.slice(0, day.events.num_rows // 2))


def flood(day: Delivery) -> Delivery:
    """Let one user click on all that was shown, half as often as all others together."""
    assert day.events
    clicks = day.events.slice(0, day.events.num_rows // 2)
    count = clicks.num_rows
    at = clicks.schema.get_field_index(USER_ID)
    clicks = clicks.set_column(at, USER_ID, pa.array(np.full(count, clicks[USER_ID][0].as_py())))
    clicks = clicks.set_column(clicks.schema.get_field_index(LABEL), LABEL, pa.array(np.ones(count, np.int8)))
    return replace(day, events=pa.concat_tables([day.events, clicks]))


def flipped_labels(day: Delivery) -> Delivery:
    """Exchange clicks and their absence."""
    return _events(day, LABEL, 1 - _column(day, LABEL))


def no_clicks(day: Delivery) -> Delivery:
    """Lose all clicks."""
    return _events(day, LABEL, np.zeros_like(_column(day, LABEL)))


def other_categories(day: Delivery) -> Delivery:
    """Give each item the category of another."""
    at = day.items.schema.get_field_index("category")
    wrong = np.random.default_rng(0).permutation(day.items["category"].to_numpy())
    return replace(day, items=day.items.set_column(at, "category", pa.array(wrong)))


def yesterday_again(day: Delivery) -> Delivery:
    """Deliver the day before again, under today's date."""
    times = day.before[TIMESTAMP].to_numpy() + _DAY_SECONDS
    return _events(replace(day, events=day.before), TIMESTAMP, times)


def shrunk(day: Delivery) -> Delivery:
    """Lose half of the day before, which has been fetched."""
    return replace(day, before=day.before.slice(0, day.before.num_rows // 2))


def renumbered(day: Delivery) -> Delivery:
    """Give users and items the ids of others."""
    return _events(_events(day, USER_ID, _others(day, USER_ID)), ITEM_ID, _others(day, ITEM_ID))


def late(day: Delivery) -> Delivery:
    """Deliver nothing yet."""
    return replace(day, events=None)


_IN_A_MONTH = 8
_FEWER_ROWS = {"fetch.shrunk_days": "accept"}

_DATA: dict[str, Fault] = {
    "milliseconds": Fault("times in milliseconds instead of seconds", milliseconds),
    "flood": Fault("one user clicks on everything, half as often as all others together", flood, accepted=_FEWER_ROWS),
    "labels": Fault("labels of the log flipped", flipped_labels),
    "categories": Fault("each item has the category of another", other_categories),
    "yesterday": Fault("the day before, delivered again as today", yesterday_again, accepted=_FEWER_ROWS),
    "late": Fault("the day arrives one day late", late),
    "shrunk": Fault("the day before has lost half of its rows", shrunk),
    "renumbered": Fault("each user has the id of another, and so has each item", renumbered),
    "cents": Fault("prices in cents", cents),
    "no_clicks": Fault("all labels 0", no_clicks),
    "half": Fault("the second half of the day is missing", half_a_day),
    "learning_rate": Fault("a learning rate of 0.5", params={"train.learning.learning_rate": 0.5}),
}
_LESSONS = (
    "rate_10",
    "flipped",
    "vocabulary",
    "shuffled",
    "sign",
    "ascent",
    "extremes",
    "shifted",
    "rate_20",
    "optimizer_scaled",
)
"""Each does much harm: see the table in docs/defects.md."""
_LEARNING = {name: Fault(PLANTS[name].what, lesson=name) for name in _LESSONS}


def _by_turns(*tables: Mapping[str, Fault]) -> dict[str, Fault]:
    """Return the faults of all tables, one of each by turns."""
    rows = zip_longest(*(table.items() for table in tables))
    return {name: fault for row in rows for name, fault in filter(None, row)}


FAULTS = _by_turns(_LEARNING, dict(islice(_DATA.items(), _IN_A_MONTH))) | _DATA
"""All faults. Thirty days have room for ten of learning and the first eight of the data."""


def planned(days: int, names: Sequence[str] = tuple(FAULTS)) -> dict[int, str]:
    """Return which fault is planted on which day, counted from 1. The first two days and the last one are sound.

    At most two bad days follow each other. If the days are too few for all faults, the last ones are left out.
    """
    span = days - 1 - _FIRST
    chosen = names[: max(1 + 2 * span // 3, 0)]
    gaps = max(len(chosen) - 1, 1)
    return {_FIRST + number * span // gaps: name for number, name in enumerate(chosen)}


def _column(day: Delivery, name: str) -> np.ndarray:
    assert day.events
    return day.events[name].to_numpy()


def _others(day: Delivery, name: str) -> np.ndarray:
    """Return a column in which each id is replaced by another of the day's."""
    distinct, place = np.unique(_column(day, name), return_inverse=True)
    return np.random.default_rng(0).permutation(distinct)[place]


def _events(day: Delivery, name: str, values: np.ndarray) -> Delivery:
    assert day.events
    at = day.events.schema.get_field_index(name)
    return replace(day, events=day.events.set_column(at, name, pa.array(values)))

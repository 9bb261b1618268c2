"""A small click log as a team would deliver it: events by day, items, users and earlier clicks, drawn from a seed.

Users are interested in two or three of ten categories, as their earlier clicks show, so a model that reads histories
beats popularity and a linear model. Volume follows the hour of the day and the weekday; items differ in popularity and
quality. All tables are pandas frames with the files' own column names, so that a defect is a few lines of pandas.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

START = 1_709_510_400  # 2024-03-04, a Monday, 00:00 UTC
HOUR = 3_600
DAY = 24 * HOUR
DELIVERY = "delivery"
FIELDS = {
    "user": {"user_id": "id", "age": {"kind": "numeric", "buckets": 5}, "gender": "categorical"},
    "item": {"category": "categorical", "tags": "multi", "price": "numeric"},
    "context": {"tab": "categorical", "position": "numeric", "device": "categorical"},
    "behaviour": {"play_time": "numeric"},
}
_HOURS = np.array([4, 2, 1, 1, 1, 2, 4, 7, 9, 9, 8, 9, 11, 11, 9, 8, 8, 9, 11, 14, 16, 15, 12, 8])
_WEEK = np.array([1.0, 0.97, 1.0, 1.02, 1.08, 1.25, 1.2])
_TABS = {"home": 0.0, "search": 0.5, "feed": -0.3}
_DEVICES = ("phone", "tablet", "web")

Damage = Callable[[Path], None]
Frame = Any
"""A pandas frame; by pandas' own types every selection of rows may also be a series."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """The size of a log, and its growth.

    Attributes:
        a_day: impressions on an ordinary Monday.
        prior: a user has up to this many clicks from before the log.
        growth: the factor of the volume from day to day.
        new_items, new_users: the share that appears in the course of the log.
        heavy: standard deviation of the logarithm of users' activity.
        base: the logit of a click without any interest.
        volumes: maps days to factors of their volume.
    """

    days: int = 12
    users: int = 600
    items: int = 200
    categories: int = 10
    a_day: int = 1_000
    prior: int = 25
    growth: float = 0.0
    new_items: float = 0.0
    new_users: float = 0.0
    heavy: float = 0.7
    base: float = -1.9
    volumes: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The form of the files.

    Attributes:
        form: the suffix of all files.
        events: one file, one a day, or two that each hold every second row.
    """

    form: Literal["csv", "csv.gz", "parquet", "jsonl"] = "csv"
    events: Literal["one", "day", "halves"] = "day"


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """A team's files before they are written, and the parameters that describe them.

    Attributes:
        items: the items, or None.
        users: the users, or None.
        history: earlier clicks, or None.
        settings: maps dotted keys of params.yaml to values.
        damage: changes to the written files; each gets the folder of the delivery.
    """

    events: Frame
    items: Frame
    users: Frame
    history: Frame
    layout: Layout = Layout()
    settings: Mapping[str, Any] = field(default_factory=dict)
    damage: tuple[Damage, ...] = ()

    def set(self, **settings: Any) -> "Delivery":
        """Change parameters; two underscores in a name mean a dot."""
        changed = {name.replace("__", "."): value for name, value in settings.items()}
        return replace(self, settings={**self.settings, **changed})

    def damaged(self, damage: Damage) -> "Delivery":
        """Damage the files after they are written."""
        return replace(self, damage=(*self.damage, damage))


def draw(seed: int = 0, size: Size | None = None) -> Delivery:
    """Draw a log; equal seeds and sizes give equal rows."""
    size = size or Size()
    rng = np.random.default_rng(seed)
    category = rng.permutation(np.arange(size.items) % size.categories)
    popularity = 1 / (10 + np.arange(size.items)) ** 0.8
    quality = rng.normal(size=size.items)
    taste = np.argsort(rng.random((size.users, size.categories)), axis=1)[:, :3]
    tastes = rng.integers(2, 4, size.users)
    mood = 0.3 * rng.normal(size=size.users)
    activity = np.exp(size.heavy * rng.normal(size=size.users))
    activity /= activity.sum()
    born = _first_days(rng, size.items, size.new_items, size.days)
    joined = _first_days(rng, size.users, size.new_users, size.days)

    trend = (1 + size.growth) ** np.arange(size.days) * _WEEK[np.arange(size.days) % 7]
    factors = np.array([size.volumes.get(day, 1.0) for day in range(size.days)])
    day = np.repeat(np.arange(size.days), rng.poisson(size.a_day * trend * factors))
    rows = len(day)
    hour = rng.choice(24, rows, p=_HOURS / _HOURS.sum())
    time = np.sort(START + day * DAY + hour * HOUR + rng.integers(0, HOUR, rows))
    user = _users_of(rng, activity, joined, day)
    wanted = taste[user, rng.integers(0, tastes[user])]
    liked = rng.random(rows) < 0.4
    item = _items(rng, popularity, category, np.where(liked, wanted, -1), born, day)
    to_taste = (taste[user] == category[item][:, None]) & (np.arange(3) < tastes[user][:, None])
    tab = rng.choice(len(_TABS), rows, p=[0.5, 0.2, 0.3])
    position = rng.integers(1, 11, rows)
    logit = size.base + 2.4 * to_taste.any(axis=1) + 0.4 * quality[item] + mood[user]
    logit += np.array(list(_TABS.values()))[tab] - 0.06 * position
    label = (rng.random(rows) < 1 / (1 + np.exp(-logit))).astype(int)
    events = pd.DataFrame(
        {
            "user_id": 10_001 + user,
            "item_id": 501 + item,
            "timestamp": time,
            "label": label,
            "tab": np.array(list(_TABS))[tab],
            "position": position,
            "device": np.array(_DEVICES)[rng.choice(3, rows, p=[0.7, 0.1, 0.2])],
            "play_time": np.round(np.where(label == 1, rng.lognormal(3.2, 0.7, rows), rng.exponential(3, rows)), 1),
        }
    )
    prior = np.repeat(np.arange(size.users), rng.integers(0, size.prior + 1, size.users))
    wanted = taste[prior, rng.integers(0, tastes[prior])]
    old = np.full(len(prior), -1)
    past = _items(rng, popularity, category, np.where(rng.random(len(prior)) < 0.85, wanted, -1), born, old + 1)
    history = pd.DataFrame(
        {
            "user_id": 10_001 + prior,
            "item_id": 501 + past,
            "timestamp": START - rng.integers(HOUR, 60 * DAY, len(prior)),
            "play_time": np.round(rng.lognormal(3.2, 0.7, len(prior)), 1),
        }
    ).sort_values("timestamp", ignore_index=True)
    return Delivery(events=events, items=_side(rng, category), users=_profiles(rng, size.users), history=history)


def write(delivery: Delivery, workspace: Path) -> dict[str, Any]:
    """Write the files below `delivery/` of a workspace, damage them, and return the settings that read them."""
    folder = workspace / DELIVERY
    form, events = delivery.layout.form, delivery.events
    time: Frame = pd.to_numeric(events["timestamp"], errors="coerce")
    day = time.fillna(START) // DAY
    groups: Any = {
        "one": np.zeros(len(events)),
        "day": day.to_numpy(),
        "halves": np.arange(len(events)) % 2,
    }[delivery.layout.events]
    (folder / "events").mkdir(parents=True)
    for number, (_, rows) in enumerate(events.groupby(groups, sort=True)):
        _write(rows, folder / "events" / f"{number:03d}.{form}")
    paths = {"fetch.table.events": f"{DELIVERY}/events/*.{form}"}
    for name in ("items", "users", "history"):
        table = getattr(delivery, name)
        if table is not None:
            _write(table, folder / f"{name}.{form}")
            paths[f"fetch.table.{name}"] = f"{DELIVERY}/{name}.{form}"
    for damage in delivery.damage:
        damage(folder)
    return {**paths, **delivery.settings}


def _first_days(rng: np.random.Generator, count: int, share: float, days: int) -> np.ndarray:
    """Return the first day of each of `count` things, which is 0 except for a share."""
    return np.where(rng.random(count) < share, rng.integers(0, days, count), 0)


def _users_of(rng: np.random.Generator, activity: np.ndarray, joined: np.ndarray, day: np.ndarray) -> np.ndarray:
    """Draw a user who has joined for each row, by activity."""
    users = np.empty(len(day), int)
    for today in np.unique(day):
        weight = activity * (joined <= today)
        users[day == today] = rng.choice(len(activity), int((day == today).sum()), p=weight / weight.sum())
    return users


def _items(
    rng: np.random.Generator,
    popularity: np.ndarray,
    category: np.ndarray,
    wanted: np.ndarray,
    born: np.ndarray,
    day: np.ndarray,
) -> np.ndarray:
    """Draw an item by popularity for each row from those that exist, of the wanted category if it is not negative."""
    items = np.empty(len(wanted), int)
    for value, today in np.unique(np.stack([wanted, day]), axis=1).T:
        rows = (wanted == value) & (day == today)
        weight = popularity * ((category == value) | (value < 0)) * (born <= today)
        if not weight.any():
            weight = popularity * (born <= today)
        items[rows] = rng.choice(len(category), int(rows.sum()), p=weight / weight.sum())
    return items


def _side(rng: np.random.Generator, category: np.ndarray) -> Frame:
    count = len(category)
    names = [f"c{number}" for number in category]
    second = rng.integers(0, 6, count)
    return pd.DataFrame(
        {
            "item_id": 501 + np.arange(count),
            "category": names,
            "tags": [f"{name}-{extra % 3}|t{extra}" for name, extra in zip(names, second, strict=True)],
            "price": np.round(rng.lognormal(2.5, 0.6, count), 2),
        }
    )


def _profiles(rng: np.random.Generator, count: int) -> Frame:
    age, gender = rng.integers(18, 71, count), rng.choice(["f", "m"], count)
    return pd.DataFrame({"user_id": 10_001 + np.arange(count), "age": age, "gender": gender})


def _write(table: Frame, path: Path) -> None:
    if path.suffix == ".parquet":
        table.to_parquet(path, index=False)
    elif path.suffix == ".jsonl":
        table.to_json(path, orient="records", lines=True)
    else:
        table.to_csv(path, index=False)

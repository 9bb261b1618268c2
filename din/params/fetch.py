"""The block `fetch`."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from din.params.blocks import Block


@dataclass(frozen=True, kw_only=True)
class Table(Block):
    """The source `table`: the user's own files."""

    events: str | None
    columns: dict[str, str]
    label: str
    timestamp_unit: Literal["s", "ms", "us", "ns", "iso"]
    utc_offset_hours: Annotated[int, Field(ge=-12, le=14)]
    keep: tuple[str, ...]
    items: str | None
    items_columns: dict[str, str]
    users: str | None
    users_columns: dict[str, str]
    history: str | None
    history_columns: dict[str, str]
    separators: dict[str, str]
    daily: bool


@dataclass(frozen=True, kw_only=True)
class Simulate(Block):
    """The source `simulate`: a log with planted interests."""

    users: PositiveInt
    impressions_per_user: PositiveInt
    items: PositiveInt
    categories: PositiveInt
    days: PositiveInt
    seed: NonNegativeInt


@dataclass(frozen=True, kw_only=True)
class Fetch(Block):
    """Where the click log comes from."""

    source: Literal["movielens-100k", "movielens", "amazon-reviews", "kuairand-pure", "taobao-ads", "table", "simulate"]
    path: str | None
    positive_rating: float
    random_exposure: bool
    behaviours: tuple[Literal["pv", "cart", "fav", "buy"], ...]
    behaviour_days: NonNegativeInt
    table: Table
    simulate: Simulate

"""The block `fetch`, with a block for each source."""

from collections.abc import Iterator
from dataclasses import dataclass
from operator import attrgetter
from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveInt
from typing_extensions import Doc

from din.params.blocks import Block, Conflict, Fraction, Paths

DATE = "{date}"
"""The place of a day, as YYYY-MM-DD, in a path."""
TimeForm = Annotated[str, Field(pattern="%"), Doc("A form of times, as `strptime` reads it, e.g. %d.%m.%Y %H:%M.")]
_NEEDED = {
    "movielens": "movielens.path",
    "amazon-reviews": "amazon_reviews.path",
    "kuairand-pure": "kuairand_pure.path",
    "taobao-ads": "taobao_ads.path",
    "table": "table.events",
}
"""The key that names a source's files. movielens-100k can download its files, and simulate has none."""


@dataclass(frozen=True, kw_only=True)
class MovieLens(Block):
    """The sources `movielens-100k` and `movielens`."""

    path: Paths | None
    positive_rating: float


@dataclass(frozen=True, kw_only=True)
class AmazonReviews(Block):
    """The source `amazon-reviews`."""

    path: Paths | None


@dataclass(frozen=True, kw_only=True)
class KuaiRandPure(Block):
    """The source `kuairand-pure`."""

    path: Paths | None
    random_exposure: bool


@dataclass(frozen=True, kw_only=True)
class TaobaoAds(Block):
    """The source `taobao-ads`."""

    path: Paths | None
    behaviours: tuple[Literal["pv", "cart", "fav", "buy"], ...]
    behaviour_days: NonNegativeInt


@dataclass(frozen=True, kw_only=True)
class Csv(Block):
    """How the text files of the source `table` are written."""

    delimiter: Literal[",", ";", "\t", "|"] | None
    names: tuple[str, ...]
    encoding: Literal["utf-8", "utf-16", "cp1252", "iso-8859-15", "cp1250", "cp1251", "gb18030", "shift_jis", "euc-kr"]
    decimal: Literal[".", ","]

    def conflicts(self) -> Iterator[Conflict]:
        """Report a comma with two meanings."""
        if self.decimal == "," and self.delimiter == ",":
            yield Conflict(("delimiter", "decimal"), "a comma can't end a cell and begin a fraction; change one")


@dataclass(frozen=True, kw_only=True)
class Table(Block):
    """The source `table`: your own files."""

    events: Paths | None
    columns: dict[str, str]
    label: str
    behaviour: str | None
    timestamp_unit: Literal["s", "ms", "us", "ns", "iso"] | TimeForm
    utc_offset_hours: Annotated[int, Field(ge=-12, le=14)]
    keep: tuple[str, ...]
    items: Paths | None
    items_columns: dict[str, str]
    items_from_events: tuple[str, ...]
    users: Paths | None
    users_columns: dict[str, str]
    history: Paths | None
    history_columns: dict[str, str]
    separators: dict[str, Annotated[str, Field(min_length=1)]]
    csv: Csv
    daily: bool
    sampled: Fraction | None

    def conflicts(self) -> Iterator[Conflict]:
        """Report days in the paths of tables that are read whole, and two tables of items."""
        for key in ("events", "history"):
            paths = (getattr(self, key) or "").split(",")
            if 0 < sum(DATE in path for path in paths) < len(paths):
                yield Conflict((key,), f"expected {DATE} in all of its paths or in none")
        for key in ("items", "users"):
            if DATE in (getattr(self, key) or ""):
                yield Conflict((key,), f"this table has no days, so its path can't have {DATE}; name its newest file")
        if self.items_from_events and self.items:
            yield Conflict(("items", "items_from_events"), "items come from one of them; empty the other")
        if self.items_from_events and DATE in (self.events or ""):
            keys = ("events", "items_from_events")
            yield Conflict(keys, "days are read one by one, so none knows all items; give an item table")


@dataclass(frozen=True, kw_only=True)
class Daily(Block):
    """A simulated log without end, which changes from day to day."""

    impressions: PositiveInt | None
    interest_days: PositiveInt | None
    item_days: PositiveInt | None
    fashion: Annotated[float, Field(ge=0, le=3)]
    fashion_days: PositiveInt | None
    weekly_traffic: Annotated[float, Field(ge=0, lt=1)]
    weekly_ctr: Annotated[float, Field(ge=0, le=3)]

    def conflicts(self) -> Iterator[Conflict]:
        """Report changes of a log that has an end, and the pace of a fashion that does not exist."""
        if self.impressions is None:
            changes = tuple(key for key, value in vars(self).items() if value)
            if changes:
                yield Conflict(("impressions", *changes), "only a log without end changes; set impressions for a day")
        elif self.fashion_days and not self.fashion:
            yield Conflict(("fashion", "fashion_days"), "there is no fashion that could wander; raise fashion")


@dataclass(frozen=True, kw_only=True)
class Simulate(Block):
    """The source `simulate`: a log with planted interests; din.sources.simulate determines its bounds."""

    users: PositiveInt
    impressions_per_user: Annotated[int, Field(ge=1, le=46)]
    items: PositiveInt
    categories: Annotated[int, Field(ge=5)]
    days: PositiveInt
    seed: NonNegativeInt
    daily: Daily

    def conflicts(self) -> Iterator[Conflict]:
        """Report categories without an item."""
        if self.items < self.categories:
            yield Conflict(("items", "categories"), "each category needs an item; raise items or lower categories")


@dataclass(frozen=True, kw_only=True)
class Fetch(Block):
    """The source of the click log."""

    source: Literal["movielens-100k", "movielens", "amazon-reviews", "kuairand-pure", "taobao-ads", "table", "simulate"]
    movielens: MovieLens
    amazon_reviews: AmazonReviews
    kuairand_pure: KuaiRandPure
    taobao_ads: TaobaoAds
    table: Table
    simulate: Simulate
    shrunk_days: Literal["refuse", "accept"]

    def conflicts(self) -> Iterator[Conflict]:
        """Report a source whose files are not named."""
        needed = _NEEDED.get(self.source)
        if needed and attrgetter(needed)(self) is None:
            page = "bring-your-own-log.md" if self.source == "table" else "public-logs.md"
            yield Conflict(("source", needed), f"the source reads files; give their path, see docs/{page}")

"""The block `fetch`, with a block each for the sources `table` and `simulate`."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field, PositiveInt
from typing_extensions import Doc

from din.base import documents
from din.params.blocks import Block, Conflict, Fraction, Paths, Seed

DATE = "{date}"
"""The placeholder of a day, as YYYY-MM-DD, in a path."""
ALL_ROWS = "all"
"""The value of `fetch.table.label` if each row is a click; of `behaviour` if each row enters the history."""
TimeForm = Annotated[str, Field(pattern="%"), Doc("A form of times, as `strptime` reads it, e.g. %d.%m.%Y %H:%M.")]
SINCE = r"(s|ms|us|ns|days) since (\d{4}-\d{2}-\d{2})"
"""The pattern of a `fetch.table.timestamp_unit` that counts from a day; its groups are the unit and the day."""
CountSince = Annotated[str, Field(pattern=f"^{SINCE}$"), Doc("A count since a day, such as days since 2000-01-01.")]


@dataclass(frozen=True, kw_only=True)
class Csv(Block):
    """How the text files of the source `table` are written."""

    delimiter: Annotated[
        Literal[",", ";", "\t", "|", " "] | None,
        Doc(', | ; | "\\t" | "|" | " " between two cells; null = a tab in .tsv, else a comma'),
    ] = None
    names: Annotated[
        tuple[str, ...], Doc("the columns of events files without a header; [] = the first line names them")
    ] = ()
    encoding: Annotated[
        Literal[
            "utf-8",
            "utf-16",
            "cp1252",
            "iso-8859-15",
            "cp1250",
            "cp1251",
            "koi8-r",
            "cp1253",
            "cp1254",
            "cp1255",
            "cp1256",
            "cp1257",
            "gb18030",
            "big5",
            "shift_jis",
            "euc-kr",
        ],
        Doc("utf-8 | utf-16 | cp1252 (Western European Windows) | gb18030 | …; the schema lists all"),
    ] = "utf-8"
    decimal: Annotated[Literal[".", ","], Doc(". | , in numbers")] = "."
    quote: Annotated[
        Literal['"'] | None, Doc("around cells that hold delimiters or line ends; null = quotes are part of the text")
    ] = '"'

    def conflicts(self) -> Iterator[Conflict]:
        """Report a comma with two meanings."""
        if self.decimal == "," and self.delimiter == ",":
            yield Conflict(("delimiter", "decimal"), "a comma can't end a cell and begin a fraction; change one")


@dataclass(frozen=True, kw_only=True)
class Table(Block):
    """The source `table`: your own files."""

    events: Annotated[
        Paths | None, Doc("path or glob: CSV, CSV.gz, Parquet, JSON-lines; local or s3://, gs://; with {date}, by day")
    ] = None
    columns: Annotated[dict[str, str], Doc("our name: their name, for user_id, item_id, timestamp, sequence")] = field(
        default_factory=dict
    )
    label: Annotated[str, Doc("a 0/1 column, a rule such as rating >= 4, or all: every row is a click")] = "label"
    behaviour: Annotated[
        str | None,
        Doc("rows that enter the user's history: all, a 0/1 column, or a rule such as rating >= 3; null = clicks"),
    ] = None
    timestamp_unit: Annotated[
        Literal["s", "ms", "us", "ns", "iso"] | CountSince | TimeForm,
        Doc('s | ms | us | ns | iso, a form of text such as "%d.%m.%Y %H:%M", or s, ms or days since 2000-01-01'),
    ] = "s"
    utc_offset_hours: Annotated[
        int, Field(ge=-12, le=14), Doc("how many hours the days of the log are ahead of UTC; added to times")
    ] = 0
    keep: Annotated[tuple[str, ...], Doc("further event columns to keep, for context and behaviour fields")] = ()
    explode: Annotated[
        dict[str, tuple[str, str]],
        Doc("column: [item, label], for a column whose cells list impressions such as N1-0 N2-1; each becomes a row"),
    ] = field(default_factory=dict)
    items: Annotated[Paths | None, Doc("path or glob of the item table")] = None
    items_columns: Annotated[dict[str, str], Doc("our name: their name, for item_id")] = field(default_factory=dict)
    items_from_events: Annotated[
        tuple[str, ...], Doc("columns of events that describe the item, for logs without an item table")
    ] = ()
    users: Annotated[Paths | None, Doc("path or glob of the user table")] = None
    users_columns: Annotated[dict[str, str], Doc("our name: their name, for user_id")] = field(default_factory=dict)
    history: Annotated[Paths | None, Doc("path or glob of behaviours that are not impressions")] = None
    history_columns: Annotated[
        dict[str, str], Doc("our name: their name, for user_id, item_id, timestamp, sequence")
    ] = field(default_factory=dict)
    separators: Annotated[
        dict[str, Annotated[str, Field(min_length=1)]],
        Doc("column: separator, for columns that hold lists as text (in any of the tables)"),
    ] = field(default_factory=dict)
    drop_duplicates: Annotated[
        bool, Doc("true: of events with the same user, item and time, only the first one counts")
    ] = False
    csv: Annotated[Csv, Doc("how text files are written")] = Csv()
    daily: Annotated[bool, Doc("true: every day is present and complete")] = False
    sampled: Annotated[
        Fraction | None, Doc("share of the impressions without a click that the log still holds; null = all of them")
    ] = None

    def conflicts(self) -> Iterator[Conflict]:
        """Report `{date}` in only some paths, or in paths of tables that are read whole, and two sources of items."""
        for key in ("events", "history"):
            paths = (getattr(self, key) or "").split(",")
            if 0 < sum(DATE in path for path in paths) < len(paths):
                yield Conflict((key,), f"expected {DATE} in all of its paths or in none")
        for key in ("items", "users"):
            if DATE in (getattr(self, key) or ""):
                yield Conflict((key,), f"this table has no days, so its path can't have {DATE}; name its newest file")
        if len(self.explode) > 1:
            yield Conflict(("explode",), "one column lists the impressions of a row; name one")
        if self.items_from_events and self.items:
            yield Conflict(("items", "items_from_events"), "items come from one of them; empty the other")
        if self.items_from_events and DATE in (self.events or ""):
            keys = ("events", "items_from_events")
            yield Conflict(keys, "days are read one by one, so none knows all items; give an item table")


@dataclass(frozen=True, kw_only=True)
class Daily:
    """A simulated log without end, which changes from day to day.

    Attributes:
        impressions: of a usual day.
        interest_days: days until a user's interest gives way to another; None: never.
        item_days: days until an item retires and a new one appears; None: never.
        fashion: the standard deviation, on the logit, of the appeal of a category.
        fashion_days: days until nothing is left of an appeal; None: it stays.
        weekly_traffic: how far impressions rise above the mean at the weekend; 0.2 = by a fifth.
        weekly_ctr: how far the logit of a click rises at the weekend.
    """

    __pydantic_config__ = documents.STRICT

    impressions: PositiveInt
    interest_days: PositiveInt | None = None
    item_days: PositiveInt | None = None
    fashion: Annotated[float, Field(ge=0, le=3)] = 0.0
    fashion_days: PositiveInt | None = None
    weekly_traffic: Annotated[float, Field(ge=0, lt=1)] = 0.0
    weekly_ctr: Annotated[float, Field(ge=0, le=3)] = 0.0


@dataclass(frozen=True, kw_only=True)
class Simulate(Block):
    """The source `simulate`: a log with planted interests; din_logs.simulate determines its bounds."""

    users: Annotated[PositiveInt, Doc("number of users; each has a prior history of 5 to 30 behaviours")] = 6000
    impressions_per_user: Annotated[int, Field(ge=1, le=46), Doc("at most 46")] = 20
    items: Annotated[PositiveInt, Doc("at least one in each category")] = 5000
    categories: Annotated[int, Field(ge=5), Doc("at least 5")] = 100
    days: Annotated[PositiveInt, Doc("days over which the impressions are spread")] = 20
    seed: Annotated[Seed, Doc("seeds the random draws")] = 7
    daily: Annotated[
        Daily | None, Doc("a log without end, e.g. {impressions: 20000}; docs/simulated-logs.md; null = of `days` days")
    ] = None

    def conflicts(self) -> Iterator[Conflict]:
        """Report categories without an item."""
        if self.items < self.categories:
            yield Conflict(("items", "categories"), "each category needs an item; raise items or lower categories")


@dataclass(frozen=True, kw_only=True)
class Fetch(Block):
    """The source of the click log."""

    source: Annotated[str, Doc("table, simulate, served, a public log of docs/public-logs.md, or a plugin's")] = (
        "movielens-100k"
    )
    options: Annotated[
        dict[str, Any], Doc("of all sources but table and simulate, e.g. {path: ml-20m.zip}; docs/public-logs.md")
    ] = field(default_factory=dict)
    table: Annotated[Table, Doc("for the source table; see docs/bring-your-own-log.md")] = Table()
    simulate: Annotated[
        Simulate, Doc("for the source simulate: a log with planted interests, whose best possible AUC is known")
    ] = Simulate()
    shrunk_days: Annotated[
        Literal["refuse", "accept"],
        Doc("refuse | accept: a day read by {date} that has fewer rows than at an earlier fetch"),
    ] = "refuse"

    @property
    def block(self) -> Block | None:
        """The block that has the source's name; a source without one reads `options`."""
        block = getattr(self, self.source, None)
        return block if isinstance(block, Block) else None

    def conflicts(self) -> Iterator[Conflict]:
        """Report a table whose files are not named."""
        if self.source == "table" and self.table.events is None:
            advice = "the source reads files; give their path, see docs/bring-your-own-log.md"
            yield Conflict(("source", "table.events"), advice)

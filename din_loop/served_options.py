"""The options of `fetch.source: served`: the log of a server, and the clicks on its answers."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from din.data import options
from din.params.fetch import Fetch, Table


@dataclass(frozen=True, kw_only=True)
class Served:
    """The log of a server, and the clicks on its answers.

    Attributes:
        path: the folder of `din serve --log`.
        clicks: a path or glob: CSV, Parquet or JSON-lines.
        clicks_columns: our name: their name, for request_id, user_id, item_id, timestamp.
        window_hours: how long after the answer a click still counts.
        shown: how many of a request's best candidates were shown; None: all.
        feedback: further columns of the clicks to keep.
        int_ids: the ids that are whole numbers, user_id or item_id; others are text.
        table: items, users, history, and how text files are written, with the keys of `fetch.table`.
        before: the earlier log that this one continues, with the keys of `fetch`.
    """

    path: str | None = None
    clicks: str | None = None
    clicks_columns: dict[str, str] = field(default_factory=dict)
    window_hours: Annotated[float, Field(gt=0)] = 24.0
    shown: PositiveInt | None = None
    feedback: tuple[str, ...] = ()
    int_ids: tuple[Literal["user_id", "item_id"], ...] = ()
    table: Table = field(default_factory=Table)
    before: Fetch | None = None


def options_of(fetch: Fetch) -> Served | None:
    """Return the options of this source, or None if the log comes from another one.

    Raises:
        InputError: an option is unknown or has a wrong type.
    """
    return options.options_of(fetch) if fetch.source == "served" else None

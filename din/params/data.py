"""The block `data`."""

from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any

from pydantic import Field
from typing_extensions import Doc

from din.params.blocks import MOST_DAYS, Block, Days


@dataclass(frozen=True, kw_only=True)
class Data(Block):
    """The part of the log that is used."""

    until: Annotated[date | None, Doc("last day (YYYY-MM-DD) to use; null = all days of the source")] = None
    window_days: Annotated[
        Days | None, Doc("days of impressions to learn and judge, counted back from the last day; null = all")
    ] = None
    history_days: Annotated[
        Annotated[int, Field(ge=0, le=MOST_DAYS)] | None,
        Doc("days before the window that are read as history, 0 = none; null = all"),
    ] = None

    def window(self) -> dict[str, Any]:
        """Return the keys that bound the days before `until`."""
        return {"window_days": self.window_days, "history_days": self.history_days}

"""The block `data`."""

from dataclasses import dataclass
from datetime import date
from typing import Any

from pydantic import NonNegativeInt, PositiveInt

from din.params.blocks import Block


@dataclass(frozen=True, kw_only=True)
class Data(Block):
    """The part of the log that is used."""

    until: date | None
    window_days: PositiveInt | None
    history_days: NonNegativeInt | None

    def window(self) -> dict[str, Any]:
        """Return the keys that bound the days before `until`."""
        return {"window_days": self.window_days, "history_days": self.history_days}

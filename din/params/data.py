"""The block `data`."""

from dataclasses import dataclass
from datetime import date

from din.params.blocks import Block


@dataclass(frozen=True, kw_only=True)
class Data(Block):
    """The part of the log that is used."""

    until: date | None

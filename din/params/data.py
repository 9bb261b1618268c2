"""The block `data`."""

from dataclasses import dataclass
from datetime import date

from din.params.blocks import Block


@dataclass(frozen=True, kw_only=True)
class Data(Block):
    """Which part of the log is used."""

    until: date | None

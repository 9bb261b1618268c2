"""The block `featurize`."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from din.params.blocks import Block, Conflict, Fraction


@dataclass(frozen=True, kw_only=True)
class Featurize(Block):
    """Fields, splits and histories."""

    fields: dict[str, dict[str, Any] | None] | None
    protocol: Literal["temporal", "leave_last_out", "by_user"] | None
    order: Literal["strict", "sequence"] | None
    weight: str | None
    keep_negatives: Annotated[float, Field(gt=0, le=1)]
    valid_days: PositiveInt
    test_days: PositiveInt
    valid_fraction: Fraction
    test_fraction: Fraction
    max_history: PositiveInt
    min_count: PositiveInt
    shards: Annotated[int, Field(gt=0, le=10_000)] | None
    memory_mb: PositiveInt
    seed: NonNegativeInt

    def conflicts(self) -> Iterator[Conflict]:
        """Report a split that leaves no user to train on."""
        if self.protocol == "by_user" and self.valid_fraction + self.test_fraction >= 1:
            yield Conflict(("valid_fraction", "test_fraction"), "no user is left to train on; lower one of them")

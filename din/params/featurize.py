"""The block `featurize`."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, PositiveInt
from typing_extensions import Doc

from din.params.blocks import Block, Conflict, Days, Fraction, Seed


@dataclass(frozen=True, kw_only=True)
class Featurize(Block):
    """Fields, splits and histories."""

    engine: Annotated[
        str,
        Doc("duckdb | spark; spark is for logs that one machine can't hold, see docs/spark.md"),
    ] = "duckdb"
    fields: Annotated[
        dict[str, dict[str, Any] | None] | None, Doc("group: {column: kind}; null = what the source declares")
    ] = None
    protocol: Annotated[
        Literal["temporal", "leave_last_out", "by_user"] | None,
        Doc("temporal | leave_last_out | by_user; null = what the source declares"),
    ] = None
    order: Annotated[
        Literal["strict", "sequence", "daily"] | None,
        Doc(
            "strict | sequence | daily (as of midnight); null = the source's, else sequence under leave_last_out, else "
            "strict"
        ),
    ] = None
    weight: Annotated[
        str | None, Doc("event column that weighs a row in the loss, at least 0; null = all rows count alike")
    ] = None
    keep_negatives: Annotated[
        float,
        Field(gt=0, le=1),
        Doc("share of the training rows without a click to keep; training corrects for the others"),
    ] = 1.0
    valid_days: Annotated[Days, Doc("days of the validation split, under temporal")] = 1
    test_days: Annotated[Days, Doc("days of the test split, under temporal")] = 2
    valid_fraction: Annotated[
        Fraction, Doc("share of users in the validation split, under by_user and leave_last_out")
    ] = 0.1
    test_fraction: Annotated[Fraction, Doc("share of users in the test split, under by_user")] = 0.25
    max_history: Annotated[PositiveInt, Doc("largest number of behaviours in a history; the newest are kept")] = 50
    min_count: Annotated[PositiveInt, Doc("ids seen less often in training become unknown")] = 2
    shards: Annotated[
        Annotated[int, Field(gt=0, le=10_000)] | None, Doc("number of shards; null = as the size of the log requires")
    ] = None
    memory_mb: Annotated[PositiveInt, Doc("memory of the whole process; larger data are spilled to disk")] = 2000
    seed: Annotated[Seed, Doc("seeds splits, shards and sampled negatives")] = 17

    def conflicts(self) -> Iterator[Conflict]:
        """Report a split that leaves no user to train on."""
        if self.protocol == "by_user" and self.valid_fraction + self.test_fraction >= 1:
            yield Conflict(("valid_fraction", "test_fraction"), "no user is left to train on; lower one of them")

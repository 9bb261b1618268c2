"""The ranges in which `din tune` looks for better values: notes in the type hints of parameters.

    learning_rate: Annotated[PositiveFloat, Between(3e-4, 3e-3, log=True), Doc("at the start of training")] = 0.001

The options of a plugin's model may have such notes too. A parameter without one is never changed.
"""

from dataclasses import dataclass
from typing import Any

from din.base.errors import InputError, shown


class Search:
    """The base of all searches."""


@dataclass(frozen=True)
class Between(Search):
    """Any number between two bounds, for a key with fractional values. With `log`, the logarithm is uniform.

    Raises:
        InputError: there is no number between the bounds, or no logarithm of the lower one.
    """

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        if not self.low < self.high or (self.log and self.low <= 0):
            least = " above 0" if self.log else ""
            raise InputError(f"{self}: expected a lower bound{least} that is below the upper one")


@dataclass(frozen=True)
class OneOf(Search):
    """One of at least two values.

    Raises:
        InputError: there are fewer than two.
    """

    values: tuple[Any, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.values, tuple) or len(self.values) < 2:
            raise InputError(f"OneOf({shown(self.values)}): expected a tuple of at least two values")

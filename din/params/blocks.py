"""The parts that all blocks of parameters share: base class, types of values, and conflicts between keys."""

from collections.abc import Iterable
from dataclasses import dataclass, fields, is_dataclass
from typing import Annotated, Any

from pydantic import Field, PositiveInt
from typing_extensions import Doc

from din import documents

Share = Annotated[float, Field(ge=0, le=1)]
Fraction = Annotated[float, Field(gt=0, lt=1)]
Scalar = str | int | float | bool | None
Values = Annotated[tuple[Scalar, ...], Field(min_length=1)]
Layers = Annotated[tuple[PositiveInt, ...], Field(min_length=1)]
Paths = Annotated[str, Doc("Paths or globs, separated by commas; relative ones start at the project's root.")]


@dataclass(frozen=True)
class Conflict:
    """Keys whose values do not fit together.

    Attributes:
        keys: dotted names below the block that reports the conflict.
        advice: why the values do not fit, and what to change.
    """

    keys: tuple[str, ...]
    advice: str


class Block:
    """A block of params.yaml: a frozen dataclass without defaults, so that the file holds every key."""

    __pydantic_config__ = documents.STRICT

    def conflicts(self) -> Iterable[Conflict]:
        """Return the conflicts between keys of this block. Nested blocks report their own."""
        return ()


def reversed_bounds(low: str, high: str) -> Conflict:
    """Return the conflict of a lower bound above its upper bound."""
    return Conflict((low, high), "nothing lies between them; lower the first or raise the second")


def types_of(block: Any) -> dict[str, Any]:
    """Return the type of every value below a class of blocks, by dotted key, in the order of the file."""
    found: dict[str, Any] = {}
    for field in fields(block):
        if is_dataclass(field.type):
            found |= {f"{field.name}.{key}": hint for key, hint in types_of(field.type).items()}
        else:
            found[field.name] = field.type
    return found

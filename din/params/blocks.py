"""The parts that all blocks of parameters share: base class, types of values, and conflicts between keys."""

from collections.abc import Iterable
from dataclasses import dataclass, is_dataclass
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from pydantic import Field, NonNegativeFloat, PositiveInt
from typing_extensions import Doc

from din.base import documents
from din.params.search import Search

Share = Annotated[float, Field(ge=0, le=1)]
Fraction = Annotated[float, Field(gt=0, lt=1)]
Seed = Annotated[int, Field(ge=0, le=2**63 - 1)]
MOST_DAYS = 36_500
"""A century, so that a day counted back from another one is in the calendar."""
Days = Annotated[int, Field(ge=1, le=MOST_DAYS)]
Range = tuple[NonNegativeFloat, NonNegativeFloat]
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
    """A block of params.yaml: a frozen dataclass that gives each key its type, one line of `Doc`, and a default.

    params.yaml, the JSON Schema and the page of parameters are written from these (`din_start.params.defaults`,
    `schema` and `reference`).
    """

    __pydantic_config__ = documents.STRICT

    def conflicts(self) -> Iterable[Conflict]:
        """Return the conflicts between keys of this block. Nested blocks report their own."""
        return ()


def reversed_range(block: Block, key: str) -> Iterable[Conflict]:
    """Yield the conflict of a range whose first bound is the larger one."""
    low, high = getattr(block, key)
    if low > high:
        yield Conflict((key,), "nothing lies between the bounds; write the smaller one first")


@dataclass(frozen=True)
class Parameter:
    """The type hint of a key, a line about its meaning, and the search of `din tune` for better values, if any."""

    hint: Any
    doc: str
    search: Search | None = None

    @property
    def block(self) -> type[Block] | None:
        """The class of the block that the key holds, if it holds one."""
        return self.hint if isinstance(self.hint, type) and issubclass(self.hint, Block) else None

    @property
    def optional_block(self) -> type[Any] | None:
        """The class of the block that the key holds unless it is null, if it is such a key."""
        kinds = [kind for kind in get_args(self.hint) if isinstance(kind, type)]
        return next(filter(is_dataclass, kinds), None)


def parameters(block: type[Any]) -> dict[str, Parameter]:
    """Return the keys of a class of blocks or options, in the order of the file; nested blocks are keys too."""
    found: dict[str, Parameter] = {}
    for name, hint in get_type_hints(block, include_extras=True).items():
        kind, *notes = get_args(hint) if get_origin(hint) is Annotated else (hint,)
        docs = [note.documentation for note in notes if isinstance(note, Doc)]
        searches = [note for note in notes if isinstance(note, Search)]
        bounds = [note for note in notes if not isinstance(note, Doc | Search)]
        hint = Annotated[kind, *bounds] if bounds else kind
        found[name] = Parameter(hint, docs[-1] if docs else "", searches[-1] if searches else None)
    return found


def leaves(block: type[Any], prefix: str = "") -> dict[str, Parameter]:
    """Return the keys below a class of blocks or options that hold values, dotted, in the order of the file."""
    found: dict[str, Parameter] = {}
    for name, one in parameters(block).items():
        if one.block:
            found |= leaves(one.block, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = one
    return found

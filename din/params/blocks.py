"""The parts that all blocks of parameters share: base class, types of values, and conflicts between keys."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, is_dataclass
from operator import attrgetter
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

from pydantic import Field, NonNegativeFloat, PositiveInt
from typing_extensions import Doc

from din.base import documents
from din.base.errors import InputError, shown
from din.params.search import Search

Share = Annotated[float, Field(ge=0, le=1)]
Fraction = Annotated[float, Field(gt=0, lt=1)]
Seed = Annotated[int, Field(ge=0, le=2**63 - 1)]
MOST_DAYS = 36_500
"""A century, so that a day counted back from another one is in the calendar."""
Days = Annotated[int, Field(ge=1, le=MOST_DAYS)]
Range = tuple[NonNegativeFloat, NonNegativeFloat]
Layers = Annotated[tuple[PositiveInt, ...], Field(min_length=1)]
Paths = Annotated[str, Doc("Paths or globs, separated by commas; relative ones start at the project's root.")]

T = TypeVar("T", bound="Block")


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
    keys: dict[str, Parameter] = {}
    for name, hint in get_type_hints(block, include_extras=True).items():
        kind, *notes = get_args(hint) if get_origin(hint) is Annotated else (hint,)
        docs = [note.documentation for note in notes if isinstance(note, Doc)]
        searches = [note for note in notes if isinstance(note, Search)]
        bounds = [note for note in notes if not isinstance(note, Doc | Search)]
        hint = Annotated[kind, *bounds] if bounds else kind
        keys[name] = Parameter(hint, docs[-1] if docs else "", searches[-1] if searches else None)
    return keys


def leaves(block: type[Any], prefix: str = "") -> dict[str, Parameter]:
    """Return the keys below a class of blocks or options that hold values, dotted, in the order of the file."""
    values: dict[str, Parameter] = {}
    for name, parameter in parameters(block).items():
        if parameter.block:
            values |= leaves(parameter.block, f"{prefix}{name}.")
        else:
            values[f"{prefix}{name}"] = parameter
    return values


def parse(block: type[T], value: Any, where: object) -> T:
    """Turn plain values into a block, or into all blocks; `where` names their source in errors.

    Raises:
        InputError: a key is unknown, missing or of a wrong type, or the values of two keys contradict each other.
    """
    parsed = documents.check(block, value, str(where))
    if problems := list(_missing(block, value)) or list(_conflicts(parsed)):
        raise InputError(f"{where}: {'; '.join(problems)}")
    return parsed


def to_json(block: Any) -> dict[str, Any]:
    """Return a block as plain JSON values, for manifests and facts."""
    return json.loads(json.dumps(asdict(block), default=str))


def _missing(block: type[Block], value: Mapping[str, Any], place: tuple[str, ...] = ()) -> Iterator[str]:
    """Describe the keys that values of the right types lack, which would otherwise get their defaults."""
    keys = parameters(block)
    if lacking := [name for name in keys if name not in value]:
        yield documents.lacks(place, lacking, list(keys))
    for name, parameter in keys.items():
        if parameter.block and name in value:
            yield from _missing(parameter.block, value[name], (*place, name))


def _conflicts(block: Block, prefix: str = "") -> Iterator[str]:
    """Describe each conflict below a block: its keys, their values, and what to do."""
    for conflict in block.conflicts():
        yield described(conflict, block, prefix)
    for name, part in vars(block).items():
        if isinstance(part, Block):
            yield from _conflicts(part, f"{prefix}{name}.")


def described(conflict: Conflict, block: Block, prefix: str) -> str:
    """Describe a conflict below a block: its keys, their values, and what to do."""
    values = [f"{prefix}{key} is {_written(attrgetter(key)(block))}" for key in conflict.keys]
    return f"{' and '.join(values)}: {conflict.advice}"


def _written(value: Any) -> str:
    """Write a value as params.yaml has it."""
    return shown(json.dumps(value, default=str), quotes=False) if isinstance(value, bool | None) else shown(value)

"""Read JSON from outside this process strictly: files, objects of a store, and requests.

A document is refused if it is larger than its limit, is not UTF-8 or JSON, is nested deeper than `DEPTH` levels, names
a key twice, or holds NaN. It must also be of the expected type, without unknown, missing or mistyped keys. Every
refusal is one `InputError` that names the place, the key, and the value, cut so that a hostile value can't flood a log.

Types are subclasses of `Document`, which are also checked when a writer creates one, or dataclasses and TypedDicts
marked with `STRICT`. Parsing takes three passes over the text, about 20 ms per megabyte, and holds the whole document
in memory.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, fields, is_dataclass
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from pydantic_core import from_json

from din.base.errors import InputError, shown

STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
MOST_BYTES = 16 << 20
DEPTH = 200
"""The deepest nesting that the JSON parser of pydantic reads."""
REPRO = "run `dvc repro`"
_ERRORS_SHOWN = 5

T = TypeVar("T")


class Document(BaseModel):
    """A JSON document, or an object in one.

    A key with a default may be left out by the writer, and is then missing in the file.
    """

    model_config = STRICT | ConfigDict(frozen=True)


def read(expected: type[T], path: Path, advice: str = "") -> T:
    """Read a file as a document of a type.

    Args:
        expected: a subclass of `Document`, or another type as above.
        advice: the next step if the file is missing or of another type, e.g. the command that writes it.

    Raises:
        InputError: the file is missing or unreadable, or not a document of this type.
    """
    content = read_bytes(path, missing=advice or REPRO)
    try:
        return parse(expected, content, str(path))
    except InputError as error:
        raise InputError(f"{error}; {advice}" if advice else str(error)) from None


def read_bytes(path: Path, most: int = MOST_BYTES, missing: str = REPRO) -> bytes:
    """Read a document's file.

    Args:
        most: the largest number of bytes.
        missing: the next step if there is no such file.

    Raises:
        InputError: the file is missing, unreadable or too large.
    """
    try:
        if path.exists() and not path.is_file():  # a pipe would block
            raise InputError(f"{path}: not a plain file; expected a readable JSON file")
        with path.open("rb") as file:
            content = file.read(most + 1)
    except FileNotFoundError:
        raise InputError(f"{path}: not found; {missing}") from None
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; expected a readable JSON file") from None
    _check_size(content, str(path), most)
    return content


def parse(expected: type[T], content: bytes, at: str, most: int = MOST_BYTES) -> T:
    """Parse bytes as a document of a type.

    Args:
        expected: a subclass of `Document`, or another type as above.
        at: their place, for messages.
        most: the largest number of bytes.

    Raises:
        InputError: they are not a document of this type.
    """
    decode(content, at, most)
    try:
        return _adapter(expected).validate_json(content)
    except ValidationError as error:
        raise InputError(_problems(error, expected, at)) from None


def check(expected: type[T], value: Any, at: str) -> T:
    """Check plain values that were read elsewhere, e.g. from YAML, by the same rules.

    Raises:
        InputError: they are not of the type.
    """
    check_plain(value, at)
    return parse(expected, json.dumps(value, default=str).encode(), at)


def decode(content: bytes | str, at: str, most: int = MOST_BYTES) -> Any:
    """Decode any JSON.

    Raises:
        InputError: the text is too large, nested too deeply, not UTF-8 or not JSON, names a key twice, or holds NaN.
    """
    content = content.encode(errors="surrogatepass") if isinstance(content, str) else content
    _check_size(content, at, most)
    try:
        from_json(content, allow_inf_nan=False)
    except ValueError as error:
        raise InputError(f"{at}: not a JSON document: {_syntax(error)}; correct it, or write it again") from None
    try:
        return json.loads(content, object_pairs_hook=_unique, parse_float=_finite)
    except _Refused as error:
        raise InputError(f"{at}: {error}") from None


def dump(value: Any) -> bytes:
    """Return a document, a dataclass or a plain value as JSON text with sorted keys, without NaN."""
    return (json.dumps(value, indent=2, sort_keys=True, allow_nan=False, default=_plain) + "\n").encode()


def _plain(value: Any) -> Any:
    if isinstance(value, Document):
        return value.model_dump(mode="json", exclude_unset=True)
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    raise TypeError(f"{type(value).__name__} is not JSON")


class _Refused(Exception):
    """A key or a number that JSON permits and documents don't."""


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise _Refused(f"{shown(text, quotes=False)} is beyond the range of numbers; correct it")
    return number


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in mapping if keys.count(key) > 1)
        raise _Refused(f"key {shown(twice)} appears twice; keep one")
    return mapping


def check_plain(value: Any, at: str) -> None:
    """Raise InputError for values that YAML can hold and JSON can't: infinite numbers, and keys that are not text."""
    waiting: list[tuple[tuple[str | int, ...], Any]] = [((), value)]
    while waiting:
        path, item = waiting.pop()
        if isinstance(item, float) and not math.isfinite(item):
            raise InputError(f"{at}: {_place(path)}: {item} is not a finite number; correct it")
        if isinstance(item, list | tuple):
            waiting += [((*path, index), part) for index, part in enumerate(item)]
        if isinstance(item, dict):
            if odd := [key for key in item if not isinstance(key, str | int)]:
                raise InputError(f"{at}: key {shown(odd[0])} in {_place(path)} is not text; put it in quotes")
            waiting += [((*path, str(key)), part) for key, part in item.items()]


def lacks(place: Sequence[str | int], keys: Sequence[str | int], valid: Sequence[str]) -> str:
    """Describe the keys that the block at a place of a document lacks."""
    verb = "key {} is" if len(keys) == 1 else "keys {} are"
    named = verb.format(", ".join(map(shown, keys)))
    return f"{named} missing in {_place(place)}; valid keys: {', '.join(valid)}"


def _check_size(content: bytes, at: str, most: int) -> None:
    if len(content) > most:
        raise InputError(f"{at}: larger than {most:,} bytes, the limit for such a document")


def _syntax(error: ValueError) -> str:
    message = str(error)
    if message.startswith("recursion limit exceeded"):
        return f"nested deeper than {DEPTH} levels"
    return message


@cache
def _adapter(expected: type) -> TypeAdapter[Any]:
    return TypeAdapter(expected)


def _problems(error: ValidationError, expected: type, at: str) -> str:
    """Describe all problems in one line, with the missing keys of a block together."""
    details = error.errors(include_url=False)
    missing: dict[tuple[str | int, ...], list[str | int]] = {}
    for detail in details:
        if detail["type"] == "missing":
            missing.setdefault(detail["loc"][:-1], []).append(detail["loc"][-1])
    problems = [lacks(block, keys, _keys(expected, block)) for block, keys in missing.items()]
    problems += [_problem(detail, expected) for detail in details if detail["type"] != "missing"]
    more = [f"and {len(problems) - _ERRORS_SHOWN} more"] if len(problems) > _ERRORS_SHOWN else []
    return f"{at}: {'; '.join(problems[:_ERRORS_SHOWN] + more)}"


def _problem(error: Any, expected: type) -> str:
    path = error["loc"]
    if error["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        valid = _keys(expected, path[:-1])
        hint = f"; valid keys: {', '.join(valid)}" if valid else ""
        return f"key {shown(path[-1])} is unknown in {_place(path[:-1])}{hint}"
    message = shown(error["msg"].removeprefix("Value error, "), quotes=False)
    needs_quotes = error["type"] == "string_type" and isinstance(error["input"], int | float)
    advice = "; put it in quotes" if needs_quotes else ""
    return f"{_place(path)}: {message}, got {shown(error['input'])}{advice}"


def _place(path: Sequence[str | int]) -> str:
    return ".".join(shown(part, quotes=False) for part in path) or "the document"


def _keys(expected: Any, path: Sequence[str | int]) -> list[str]:
    """Return the keys of the block at `path` of a type, or none if the type does not declare them."""
    for part in path:
        expected = _fields(expected).get(str(part))
    return list(_fields(expected))


def _fields(expected: Any) -> dict[str, Any]:
    while get_origin(expected) in (Annotated, UnionType):  # a block that may be null is a union
        expected = get_args(expected)[0]
    if is_dataclass(expected):
        return {field.name: field.type for field in fields(expected)}
    if isinstance(expected, type) and issubclass(expected, Document):
        return {name: field.annotation for name, field in expected.model_fields.items()}
    return getattr(expected, "__annotations__", {}) if isinstance(expected, type) else {}

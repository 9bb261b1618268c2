"""Hypothesis strategies: sound documents of any form, faulty bytes made of a document, and requests.

    documents(Evaluation)     plain values that parse as this form
    faulty(value)             bytes that differ from it: a key, a type, a depth, a number, an encoding, an end
    REQUESTS                  requests of clients: sound ones, and objects with any value anywhere

Documents follow the form's own type hints, so a new key is covered once it is declared. Only hints that forms use are
supported.
"""

import json
from collections.abc import Mapping
from dataclasses import is_dataclass
from datetime import date, datetime, timedelta, timezone
from enum import StrEnum
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NotRequired, Union, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Le, Lt, MinLen
from hypothesis import strategies as st
from pydantic import StringConstraints
from pydantic.fields import FieldInfo
from typing_extensions import is_typeddict

from din.base.documents import Document
from din.base.names import Commit, Day, Digest, FileName, Line, Moment, Name
from din.contracts.manifests import FieldRecord, PlacedField

Plain = Any
"""A value of JSON."""
_MOST = 3
"""The largest number of entries of a list or an object."""
_EXTREME = 1e12

_HEX = st.text("0123456789abcdef", min_size=64, max_size=64)
_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
_REVERSING = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
_LINE = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"], exclude_characters=_REVERSING), max_size=30)
_SEGMENT = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,12}", fullmatch=True)
_FILE = st.lists(_SEGMENT, min_size=1, max_size=3).map("/".join)
_FLOAT = st.floats(-_EXTREME, _EXTREME)
_ZONE = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
PLAIN: st.SearchStrategy[Plain] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | _FLOAT | _TEXT,
    lambda inner: st.lists(inner, max_size=_MOST) | st.dictionaries(_TEXT, inner, max_size=_MOST),
    max_leaves=5,
)


@cache
def documents(form: Any) -> st.SearchStrategy[Plain]:
    """Draw plain values that parse as a form: the type hint of a document or of a part of one."""
    known = {
        Moment: st.datetimes(datetime(1970, 1, 2), datetime(2200, 1, 1), timezones=_ZONE).map(datetime.isoformat),
        Day: st.dates().map(date.isoformat),
        Line: _LINE,
        FieldRecord: _field(FieldRecord),
        PlacedField: _field(PlacedField),
    }
    for hint, strategy in known.items():
        if form == hint:
            return strategy
    if isinstance(form, type) and issubclass(form, Document):
        fields = form.model_fields
        return _object_of(
            {name: _hint(field) for name, field in fields.items() if field.is_required()},
            {name: _hint(field) for name, field in fields.items() if not field.is_required()},
        )
    if is_typeddict(form) or is_dataclass(form):
        return _object(form)
    if isinstance(form, type) and issubclass(form, Name):
        return _HEX if issubclass(form, (Digest, Commit)) else _FILE if form is FileName else _SEGMENT
    if isinstance(form, type) and issubclass(form, StrEnum):
        return st.sampled_from([member.value for member in form])
    if form in _SCALARS:
        return _SCALARS[form]
    return _generic(get_origin(form), get_args(form))


_SCALARS: dict[Any, st.SearchStrategy[Plain]] = {
    Any: PLAIN,
    NoneType: st.none(),
    bool: st.booleans(),
    int: st.integers(-(2**60), 2**60),
    float: _FLOAT,
    str: _TEXT,
    date: st.dates().map(date.isoformat),
}


def _generic(origin: Any, arguments: tuple[Any, ...]) -> st.SearchStrategy[Plain]:
    if origin is Annotated:
        return _constrained(arguments[0], list(arguments[1:]))
    if origin is Literal:
        return st.sampled_from(arguments)
    if origin in (Union, UnionType):
        return st.one_of([documents(argument) for argument in arguments])
    if origin is list or arguments[-1] is Ellipsis:
        return st.lists(documents(arguments[0]), max_size=_MOST)
    if origin is tuple:
        return st.tuples(*map(documents, arguments)).map(list)
    if origin in (dict, Mapping):
        return st.dictionaries(documents(arguments[0]), documents(arguments[1]), max_size=_MOST)
    raise NotImplementedError(f"no strategy for {origin}[{arguments}]")


def _constrained(base: Any, rules: list[Any]) -> st.SearchStrategy[Plain]:
    """Draw values of a type with bounds, a pattern or a least length."""
    rules = [rule for one in rules for rule in (one.metadata if isinstance(one, FieldInfo) else [one])]
    low = next((rule.ge if isinstance(rule, Ge) else rule.gt for rule in rules if isinstance(rule, Ge | Gt)), None)
    high = next((rule.le if isinstance(rule, Le) else rule.lt for rule in rules if isinstance(rule, Le | Lt)), None)
    pattern = next((pattern for rule in rules if (pattern := getattr(rule, "pattern", None))), None)
    if pattern:
        longest = next((rule.max_length for rule in rules if isinstance(rule, StringConstraints)), None)
        return st.from_regex(pattern, fullmatch=True, alphabet=st.characters(exclude_categories=["Cs"])).filter(
            lambda text: longest is None or len(text) <= longest
        )
    if base is int:
        least = None if low is None else low + any(isinstance(rule, Gt) for rule in rules)
        return st.integers(least, 2**60 if high is None else high)
    if base is float:
        return st.floats(
            -_EXTREME if low is None else low,
            _EXTREME if high is None else high,
            exclude_min=any(isinstance(rule, Gt) for rule in rules),
            exclude_max=any(isinstance(rule, Lt) for rule in rules),
        )
    fewest = next((rule.min_length for rule in rules if isinstance(rule, MinLen)), 0)
    return documents(base).filter(lambda value: len(value) >= fewest) if fewest else documents(base)


def _object(form: Any) -> st.SearchStrategy[Plain]:
    hints = get_type_hints(form, include_extras=True)
    optional = {name: get_args(hint)[0] for name, hint in hints.items() if get_origin(hint) is NotRequired}
    required = {name: hint for name, hint in hints.items() if name not in optional and not name.startswith("_")}
    return _object_of(required, optional)


def _hint(field: FieldInfo) -> Any:
    """Return the type hint of a document's key, with its bounds."""
    return Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation


def _object_of(required: Mapping[str, Any], optional: Mapping[str, Any]) -> st.SearchStrategy[Plain]:
    return st.deferred(
        lambda: st.fixed_dictionaries(
            {name: documents(hint) for name, hint in required.items()},
            optional={name: documents(hint) for name, hint in optional.items()},
        )
    )


def _field(form: Any) -> st.SearchStrategy[Plain]:
    """Draw a field's record: a name that can be a file's, and all that its form may have learned."""
    learned = {"edges": [0.0], "mean": 0.0, "std": 1.0, "length": 3}
    named = st.builds(lambda record, name: record | {"name": name}, _object(form), _SEGMENT)
    return named.map(lambda record: record | learned)


class _Raw(str):
    """JSON text that represents a value as it is."""

    __slots__ = ()


_NUMBERS = ["NaN", "Infinity", "-Infinity", "1" + "0" * 400, "1" + "0" * 5_000, "1e999", "-0", "1.5", "01", "1."]
_DEEP = ["[" * 150 + "]" * 150, "[" * 10_000 + "]" * 10_000, '{"a":' * 10_000 + "1" + "}" * 10_000]
_STRINGS = ['"\\ud800"', '"\\u0000"', '"\t"', json.dumps("x" * 100_000), json.dumps("\x1b[31m\n\r\x9b\u2028")]
_WORDS = ["undefined", "", "'x'", "{}", "[]", "null", "true", "None"]
_RAW = st.sampled_from([*_NUMBERS, *_DEEP, *_STRINGS, *_WORDS]).map(_Raw)
_BYTES = ["as it is"] * 4 + ["cut", "garbage", "not UTF-8", "a mark first", "UTF-16", "key twice"]
_KEYS = st.sampled_from(["", "x" * 100_000, "\x1b[2J\n", "__class__", "..", "\u202e", "1"]) | _TEXT


@st.composite
def faulty(draw: st.DrawFn, value: Plain) -> bytes:
    """Draw bytes of a document with one to three faults inside, or with a fault of the bytes themselves."""
    for _ in range(draw(st.integers(0, 3))):
        value = draw(_changed(value))
    content = _encode(value).encode(errors="surrogatepass")
    kind = draw(st.sampled_from(_BYTES))
    at = draw(st.integers(0, len(content)))
    return {
        "as it is": content,
        "cut": content[:at],
        "garbage": content + draw(st.binary(min_size=1, max_size=8)),
        "not UTF-8": content[:at] + b"\xff\xc0" + content[at:],
        "a mark first": b"\xef\xbb\xbf" + content,
        "UTF-16": content.decode(errors="replace").encode("utf-16"),
        "key twice": content.replace(b"{", b'{"twice": 1, "twice": 2, ', 1),
    }[kind]


@st.composite
def _changed(draw: st.DrawFn, value: Plain) -> Plain:
    """Draw a value with one part replaced, or one key dropped, added or renamed."""
    if isinstance(value, dict) and value and draw(st.integers(0, 2)):
        key = draw(st.sampled_from(sorted(value)))
        rest = {name: part for name, part in value.items() if name != key}
        change = draw(st.sampled_from(["inside", "inside", "drop", "rename", "add"]))
        if change == "drop":
            return rest
        if change == "rename":
            return rest | {draw(_KEYS): value[key]}
        if change == "add":
            return value | {draw(_KEYS): draw(PLAIN)}
        return value | {key: draw(_changed(value[key]))}
    if isinstance(value, list) and value and draw(st.booleans()):
        at = draw(st.integers(0, len(value) - 1))
        return [*value[:at], draw(_changed(value[at])), *value[at + 1 :]]
    return draw(st.one_of(_RAW, PLAIN, st.just([value]), st.just({"value": value})))


def _encode(value: Plain) -> str:
    if isinstance(value, _Raw):
        return str(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)}: {_encode(part)}" for key, part in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_encode, value)) + "]"
    return json.dumps(value)


_ID = st.none() | st.integers(-2, 50) | st.integers(-2, 34).map("i{}".format) | _TEXT
_ENTRY = _ID | st.fixed_dictionaries(
    {}, optional={"item_id": _ID, "category": _ID, "tags": st.none() | st.lists(_ID, max_size=_MOST), "price": _FLOAT}
)
REQUESTS: st.SearchStrategy[Plain] = st.fixed_dictionaries(
    {"candidates": st.lists(_ENTRY, max_size=4)},
    optional={
        "user": st.none() | st.fixed_dictionaries({}, optional={"user_id": _ID, "age": _FLOAT, "likes": PLAIN}),
        "history": st.none() | st.lists(_ENTRY, max_size=8),
        "context": st.none() | st.fixed_dictionaries({}, optional={"tab": _ID, "hour": _FLOAT, "marks": PLAIN}),
    },
)
"""Requests to the small bundle of tests/din/bundle, sound but for lists that may hold anything."""

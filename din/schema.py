"""Names every part agrees on: columns, id spaces, field groups and kinds.

A *field* is one column that becomes an embedding. Its group says whose property it is; its kind says how raw values
become rows of its embedding table. Row 0 of every table means "unknown": missing, rare, or never seen in training.
"""

import math
import unicodedata
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal, TypeVar, get_args

import numpy as np

from din.errors import InputError, shown

E = TypeVar("E", bound=StrEnum)

UNKNOWN = 0

USER_ID = "user_id"
ITEM_ID = "item_id"
TIMESTAMP = "timestamp"
SEQUENCE = "sequence"
LABEL = "label"
BEHAVIOUR = "behaviour"
EVENT_COLUMNS = (USER_ID, ITEM_ID, TIMESTAMP, SEQUENCE, LABEL, BEHAVIOUR)
HISTORY_COLUMNS = (USER_ID, ITEM_ID, TIMESTAMP, SEQUENCE)

SplitName = Literal["train", "valid", "test"]
SPLITS: tuple[SplitName, ...] = get_args(SplitName)

MAX_NAME_BYTES = 200  # a file system's 255 less what the vocabulary's file adds
_CONTROL = ("Cc", "Cs", "Zl", "Zp")  # Unicode categories: control characters, surrogates, line and paragraph ends
_SUFFIXES = (".owners", ".weights")  # of further inputs of the graphs, see din.serve.inputs


class Group(StrEnum):
    """The paper's feature groups; `behaviour` fields belong to the past row and only its history may use them."""

    USER = "user"
    ITEM = "item"
    CONTEXT = "context"
    BEHAVIOUR = "behaviour"


class Kind(StrEnum):
    """How raw values become rows of an embedding table.

    id: a vocabulary, cut at `min_count`. categorical: a vocabulary, uncut. multi: several values, their mean.
    numeric: quantile buckets where `buckets` is set, else standardised (row 1 scaled by the value, row 0 = missing).
    """

    ID = "id"
    CATEGORICAL = "categorical"
    MULTI = "multi"
    NUMERIC = "numeric"


@dataclass(frozen=True)
class Field:
    """One embedded column. Names are unique over all groups: a name is also its vocabulary's file name."""

    name: str
    group: Group
    kind: Kind
    buckets: int | None = None

    @property
    def standardised(self) -> bool:
        """True where the field's value is a float that scales one embedding row."""
        return self.kind is Kind.NUMERIC and self.buckets is None

    def to_json(self) -> dict[str, Any]:
        """The form `parse_field` reads back."""
        return {"name": self.name, "group": str(self.group), "kind": str(self.kind), "buckets": self.buckets}


ITEM_FIELD = Field(ITEM_ID, Group.ITEM, Kind.ID)


def parse_fields(declared: Mapping[str, Mapping[str, Any]], where: str = "featurize.fields") -> tuple[Field, ...]:
    """`{group: {column: kind | {kind, buckets}}}` to fields, `item_id` first, then in the order declared.

    Raises:
        InputError: an unknown group or kind, a name used twice or reserved, buckets where they mean nothing.
    """
    fields = [ITEM_FIELD]
    for group_name, columns in declared.items():
        group = _choice(Group, group_name, where)
        for name, spec in (columns or {}).items():
            at = f"{where}.{group_name}.{name}"
            spec = spec if isinstance(spec, Mapping) else {"kind": spec}
            if problem := name_problem(name):
                raise InputError(f"{where}.{group_name}: column {shown(name)}: {problem}; rename it at fetch")
            if unknown := set(spec) - {"kind", "buckets"}:
                raise InputError(f"{at}: unknown key {sorted(unknown)[0]!r}; valid keys are 'kind' and 'buckets'")
            kind, buckets = _choice(Kind, spec.get("kind"), at), spec.get("buckets")
            if buckets is not None and (kind is not Kind.NUMERIC or not isinstance(buckets, int) or buckets < 2):
                raise InputError(f"{at}: buckets={buckets!r}; expected an integer >= 2, on a numeric field only")
            if name in (TIMESTAMP, SEQUENCE, LABEL, ITEM_ID) or (name == USER_ID and group is not Group.USER):
                raise InputError(f"{at}: {name!r} is a column of the log itself, not a field; choose another column")
            if any(field.name == name for field in fields):
                raise InputError(f"{at}: the name {name!r} is used twice; rename one column at fetch")
            fields.append(Field(name, group, kind, buckets))
    return tuple(fields)


def parse_field(record: Mapping[str, Any]) -> Field:
    """The inverse of `Field.to_json`; other keys of the record are ignored.

    Raises:
        InputError: a name that no field may have.
    """
    if problem := name_problem(record["name"]):
        raise InputError(f"field {shown(record['name'])}: {problem}; expected the name of a column that fetch took")
    return Field(record["name"], Group(record["group"]), Kind(record["kind"]), record.get("buckets"))


def name_problem(name: str) -> str | None:
    """Say why a column can't be a field, or return None: its name also names a file and inputs of the ONNX graphs."""
    if not name.strip():
        return "the name is blank"
    if len(name.encode()) > MAX_NAME_BYTES:
        return f"the name has {len(name.encode())} bytes, more than {MAX_NAME_BYTES}"
    if name.startswith("."):
        return "the name begins with a dot"
    if forbidden := [letter for letter in name if letter in "/\\" or unicodedata.category(letter) in _CONTROL]:
        return f"the name holds {forbidden[0]!r}"
    if name.endswith(_SUFFIXES):
        return f"the name ends in one of {', '.join(_SUFFIXES)}"
    return None


def text(value: object) -> str | None:
    """The form in which values are compared: 7, 7.0 and "7" are one; None and NaN are no value.

    Raises:
        InputError: a list, an object, or an integer of more than 4,300 digits.
    """
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, int):
        try:
            return str(value)
        except ValueError:  # Python writes no integer of more than 4,300 digits
            raise InputError(f"{shown(value)}; expected a shorter number, or text") from None
    if isinstance(value, float | np.floating):
        if math.isnan(value):
            return None
        return str(int(value)) if float(value).is_integer() else repr(float(value))
    if isinstance(value, Collection):
        raise InputError(f"{shown(value)} is not one value; expected a number or text")
    return str(value)


def _choice(enum: type[E], value: Any, where: str) -> E:
    try:
        return enum(value)
    except ValueError:
        raise InputError(f"{where}: {value!r} is not one of {', '.join(enum)}") from None

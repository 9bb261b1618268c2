"""Names that all packages share: columns, splits, fields and their groups.

A *field* is one column that becomes an embedding. Its group says what it describes, and its kind (`din.kinds`) says how
raw values become rows of its embedding table. Row 0 of every table means "unknown": missing, rare, or never seen in
training.
"""

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Literal, get_args

from din.base.errors import InputError, shown
from din.kinds import KINDS, FieldForm, form_of

USER_ID = "user_id"
ITEM_ID = "item_id"
TIMESTAMP = "timestamp"
SEQUENCE = "sequence"
LABEL = "label"
BEHAVIOUR = "behaviour"
WEIGHT = "weight"
EVENT_COLUMNS = (USER_ID, ITEM_ID, TIMESTAMP, SEQUENCE, LABEL, BEHAVIOUR)
HISTORY_COLUMNS = (USER_ID, ITEM_ID, TIMESTAMP, SEQUENCE)

DAY_US = 86_400_000_000
"""Microseconds of a day."""
UNKNOWN_TIME = -(2**62)
"""The timestamp of a behaviour without a time: earlier than all others, and differences don't overflow."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
"""The origin of all time columns."""

SplitName = Literal["train", "valid", "test"]
SPLITS: tuple[SplitName, ...] = get_args(SplitName)

MAX_NAME_BYTES = 200  # file systems allow 255, and the vocabulary's file adds a suffix
_CONTROL = ("Cc", "Cs", "Zl", "Zp")  # Unicode categories: control characters, surrogates, line and paragraph ends
_SUFFIXES = (".owners", ".weights")  # reserved for inputs of the ONNX graphs, see din.bundle.graph_inputs


class Group(StrEnum):
    """The paper's feature groups; `behaviour` fields describe past rows, so only histories may use them."""

    USER = "user"
    ITEM = "item"
    CONTEXT = "context"
    BEHAVIOUR = "behaviour"


@dataclass(frozen=True)
class Field:
    """One embedded column. Names are unique over all groups: a name is also its vocabulary's file name.

    Attributes:
        kind: the name of one of `KINDS`.
        length: the length of a vector's values. None until the log has been read, and for other kinds.
    """

    name: str
    group: Group
    kind: str
    buckets: int | None = None
    length: int | None = None

    @property
    def form(self) -> FieldForm:
        """The storage form of its values."""
        return form_of(self.kind, self.buckets, self.length)

    def to_json(self) -> dict[str, Any]:
        """Return the record that `parse_field` reads."""
        record = {"name": self.name, "group": str(self.group), "kind": self.kind, "buckets": self.buckets}
        return record if self.length is None else record | {"length": self.length}


ITEM_FIELD = Field(ITEM_ID, Group.ITEM, "id")


def parse_fields(
    declared: Mapping[Any, Mapping[str, Any] | None], where: str = "featurize.fields"
) -> tuple[Field, ...]:
    """Parse `{group: {column: kind | {kind, buckets}}}` into fields, `item_id` first, then in the order declared.

    Raises:
        InputError: a group or kind is unknown, a name is reserved or used twice, or buckets are not an integer of a
            numeric field.
    """
    fields = [ITEM_FIELD]
    for group_name, columns in declared.items():
        if group_name not in tuple(Group):
            raise InputError(f"{where}: {group_name!r} is not one of {', '.join(Group)}")
        group = Group(group_name)
        for name, spec in (columns or {}).items():
            at = f"{where}.{group_name}.{name}"
            spec = spec if isinstance(spec, Mapping) else {"kind": spec}
            if problem := name_problem(name):
                raise InputError(f"{where}.{group_name}: column {shown(name)}: {problem}; rename it at fetch")
            if unknown := set(spec) - {"kind", "buckets"}:
                raise InputError(f"{at}: unknown key {sorted(unknown)[0]!r}; valid keys are 'kind' and 'buckets'")
            kind = spec.get("kind")
            if kind not in tuple(KINDS):
                raise InputError(f"{at}: {KINDS.unknown(kind)}")
            buckets = spec.get("buckets")
            bucketed = [name for name in KINDS if KINDS[name].thing.bucketed]
            if buckets is not None and (kind not in bucketed or not isinstance(buckets, int) or buckets < 2):
                only = " or ".join(bucketed)
                raise InputError(f"{at}: buckets={buckets!r}; expected an integer >= 2, on a {only} field only")
            if name in (TIMESTAMP, SEQUENCE, LABEL, ITEM_ID) or (name == USER_ID and group is not Group.USER):
                raise InputError(f"{at}: {name!r} is a column of the log itself, not a field; choose another column")
            if any(field.name == name for field in fields):
                raise InputError(f"{at}: the name {name!r} is used twice; rename one column at fetch")
            fields.append(Field(name, group, kind, buckets))
    return tuple(fields)


def parse_field(record: Mapping[str, Any]) -> Field:
    """Return the field of a record: the inverse of `Field.to_json`. Other keys of the record are ignored.

    Raises:
        InputError: a field can't have this name, or no plugin that is loaded registers its kind.
    """
    if problem := name_problem(record["name"]):
        raise InputError(f"field {shown(record['name'])}: {problem}; expected the name of a column that fetch accepts")
    if record["kind"] not in tuple(KINDS):
        raise InputError(f"field {shown(record['name'])}: {KINDS.unknown(record['kind'])}")
    return Field(record["name"], Group(record["group"]), record["kind"], record.get("buckets"), record.get("length"))


RESERVED = {"user", "item", "value", "history_start", "history_end", "sampled", "file_row_number"}
"""Columns of the feature files, and the one that DuckDB adds when validation reads them: names of no field."""


def name_problem(name: str) -> str | None:
    """Return why a name can't name a field, or None. It also names a file and inputs of the ONNX graphs."""
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

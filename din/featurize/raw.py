"""Open `data/raw/`: which fields, which protocol, and the tables with typed field columns.

Field columns are renamed `field_<name>` (a log's own `position` or `rank` never meets ours), numbers become float64
and NaN, ±inf become null. Reads footers and one pass over labels and declared contexts; everything else is lazy.
"""

# Ibis knows a column's type at run time only, so its operators and methods look missing to a type checker.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false, reportOperatorIssue=false

from dataclasses import dataclass
from pathlib import Path

import ibis
import ibis.expr.types as ir

from din import documents
from din.artifacts import MANIFEST
from din.errors import InputError, listed
from din.featurize.engine import Session, epoch_us
from din.forms import RawManifest
from din.params import Featurize
from din.schema import (
    BEHAVIOUR,
    EVENT_COLUMNS,
    HISTORY_COLUMNS,
    ITEM_ID,
    LABEL,
    TIMESTAMP,
    USER_ID,
    Field,
    Group,
    Kind,
    parse_fields,
)

BEFORE_ALL = -(
    2**62
)  # timestamp of a behaviour whose time is unknown: earlier than any, and differences don't overflow
_RESERVED = {"user", "item", "value", "history_start", "history_end", "sampled"}  # columns of the feature files


@dataclass(frozen=True)
class Raw:
    """An opened log.

    root: its directory.
    events, history: keys, timestamp (int64 µs), and `field_*` columns; items, users: key and `field_*` columns.
    """

    root: Path
    fields: tuple[Field, ...]
    protocol: str
    order: str
    until: str | None
    events: ir.Table
    history: ir.Table | None
    items: ir.Table | None
    users: ir.Table | None

    def of(self, *groups: Group) -> tuple[Field, ...]:
        """The fields of some groups, in the order declared."""
        return tuple(field for field in self.fields if field.group in groups)


def column(field: Field) -> str:
    """The field's column in every intermediate table."""
    return f"field_{field.name}"


def load(session: Session, root: Path, params: Featurize) -> Raw:
    """Open the log and check the declared fields against its columns.

    Raises:
        InputError: no log; a declared column is missing, of another type than its kind needs, reserved, or is the
            feedback itself; an unknown format.
    """
    manifest = documents.read(RawManifest, root / MANIFEST, "run `din fetch` again")
    protocol = params.protocol or manifest["protocol"]
    order = params.order or manifest["order"] or ("sequence" if protocol == "leave_last_out" else "strict")
    declared, where = params.fields, "featurize.fields"
    if declared is None:
        declared, where = manifest["fields"], f"{root / MANIFEST}: fields"
    fields = parse_fields({group: columns or {} for group, columns in declared.items()}, where)
    _check_names(fields, where)

    def table(path: str, keys: tuple[str, ...], *groups: Group, absent: bool = False) -> ir.Table | None:
        wanted = [field for field in fields if field.group in groups and field.name not in (USER_ID, ITEM_ID)]
        if not (path == "events" or (root / path).exists()):
            if wanted and not absent:
                raise InputError(
                    f"{root / path}: not found, but {where} declares {wanted[0].name!r} ({wanted[0].group}); "
                    "give fetch that table, or take the field out"
                )
            return None
        glob = str(root / "events/*/*.parquet") if path == "events" else str(root / path)
        source = session.con.read_parquet(glob, table_name=f"raw_{Path(path).stem}", hive_partitioning=False)
        wanted = [field for field in wanted if not absent or field.name in source.columns]
        selected = {key: source[key] for key in keys}
        if TIMESTAMP in selected:
            selected[TIMESTAMP] = epoch_us(source[TIMESTAMP]).fill_null(BEFORE_ALL)
        return source.select(**selected, **{column(field): _typed(source, field, root / path) for field in wanted})

    events = table("events", EVENT_COLUMNS, Group.CONTEXT, Group.BEHAVIOUR)
    history = table("history.parquet", HISTORY_COLUMNS, Group.BEHAVIOUR, absent=True)
    items = table("items.parquet", (ITEM_ID,), Group.ITEM)
    users = table("users.parquet", (USER_ID,), Group.USER)
    assert events is not None
    _check_feedback(session, events, [field for field in fields if field.group is Group.CONTEXT], where)
    return Raw(root, fields, protocol, order, manifest["until"], events, history, items, users)


def _check_names(fields: tuple[Field, ...], where: str) -> None:
    seen: dict[str, str] = {}
    for field in fields:
        at, name = f"{where}.{field.group}.{field.name}", field.name.lower()
        if name in _RESERVED:
            raise InputError(f"{at}: {field.name!r} is a column of the feature files; rename the column at fetch")
        if name in seen:
            raise InputError(f"{at}: differs from {seen[name]!r} by case only; rename one column at fetch")
        if field.group is Group.CONTEXT and name == BEHAVIOUR:
            raise InputError(f"{at}: {BEHAVIOUR!r} is feedback on the impression itself; take it out, it leaks")
        seen[name] = field.name


def _typed(table: ir.Table, field: Field, path: Path) -> ir.Value:
    """The field's values with the type its kind needs, null where missing."""
    if field.name not in table.columns:
        raise InputError(
            f"{path}: no column {field.name!r}, which featurize.fields.{field.group} declares; "
            f"it has {listed(table.columns)}"
        )
    values, kind = table[field.name], field.kind
    dtype = values.type()
    found = f"{path}: column {field.name!r} is {dtype}"
    if kind is Kind.MULTI and not dtype.is_array():
        raise InputError(f"{found}, but multi needs lists; name its separator in fetch.table.separators")
    if kind is not Kind.MULTI and dtype.is_nested():
        raise InputError(f"{found}; only multi fields hold lists: declare it multi")
    if kind is Kind.NUMERIC:
        if not (dtype.is_numeric() or dtype.is_boolean()):
            raise InputError(f"{found}, but numeric needs numbers; declare it categorical, or correct the source")
        values = values.cast("float64")
    if values.type().is_floating():
        values = ibis.ifelse(values.isnan() | values.isinf(), ibis.null(values.type()), values)
    return values


def _check_feedback(session: Session, events: ir.Table, contexts: list[Field], where: str) -> None:
    """Refuse a context whose values are the label or the behaviour flag under another name."""
    numbers = [field for field in contexts if events[column(field)].type().is_numeric()]
    flags = (LABEL, BEHAVIOUR)
    equal = {
        (field, flag): ((events[column(field)] == events[flag]).all() & (events[flag].nunique() > 1)).name(str(n))
        for n, (field, flag) in enumerate((field, flag) for field in numbers for flag in flags)
    }
    if not equal:
        return
    found = session.scalars(events.aggregate(list(equal.values())))
    for n, (field, flag) in enumerate(equal):
        if found[str(n)]:
            raise InputError(
                f"{where}.context.{field.name}: equals {flag} on every row, so it is the answer, not a context; "
                "take it out, or declare it under behaviour, where only past rows use it"
            )

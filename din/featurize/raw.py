"""Open `data/raw/`: its fields, its protocol, and its tables with typed field columns.

Field columns are renamed `field_<name>`, so that a log's own `position` or `rank` can't collide with ours. Numbers
become float64, and NaN and ±inf become null. Opening reads the footers, and passes over labels, declared contexts,
vectors and weights to check them; the rest is lazy. Days before the history that is used are not opened.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import ibis.expr.types as ir
import pyarrow as pa
import pyarrow.parquet as pq

from din.base import documents
from din.base.artifacts import MANIFEST
from din.base.errors import InputError, listed
from din.contracts.manifests import RawManifest
from din.featurize.calendar import Calendar, calendar, start_us
from din.featurize.coders import coder_of, column
from din.featurize.engine import Session
from din.params.reading import Params
from din.schema import (
    BEHAVIOUR,
    EVENT_COLUMNS,
    HISTORY_COLUMNS,
    ITEM_ID,
    LABEL,
    RESERVED,
    SEQUENCE,
    TIMESTAMP,
    UNKNOWN_TIME,
    USER_ID,
    WEIGHT,
    Field,
    Group,
    parse_fields,
)


@dataclass(frozen=True)
class Raw:
    """An opened log.

    Attributes:
        root: its directory.
        fields: the fields, in the order declared.
        protocol: the split.
        order: the rule for ties.
        until: the last day to use, or None.
        calendar: the days that are used.
        sampled: the share of the impressions without a click that the log holds.
        weighted: whether the events have weights.
        events: keys, timestamp (int64 µs), `weight` (float64) if they have one, and `field_*` columns.
        history: the same columns as events without weights, or None.
        items: key and `field_*` columns, or None.
        users: key and `field_*` columns, or None.
    """

    root: Path
    fields: tuple[Field, ...]
    protocol: str
    order: str
    until: str | None
    calendar: Calendar
    sampled: float
    weighted: bool
    events: ir.Table
    history: ir.Table | None
    items: ir.Table | None
    users: ir.Table | None

    def of(self, *groups: Group) -> tuple[Field, ...]:
        """Return the fields of `groups`, in the order declared."""
        return tuple(field for field in self.fields if field.group in groups)


def load(session: Session, root: Path, params: Params) -> Raw:
    """Open the log and check the declared fields against its columns.

    Raises:
        InputError: there is no log, or its format is unknown; a declared column is missing, has a reserved name or
            another type than its kind needs, or holds the feedback itself; vectors differ in length; a weight is
            missing, negative or not finite; no day is left to train on.
    """
    manifest = documents.read(RawManifest, root / MANIFEST, "run `din fetch` again")
    block = params.featurize
    protocol = block.protocol or manifest.protocol
    order = block.order or manifest.order or ("sequence" if protocol == "leave_last_out" else "strict")
    days = calendar(manifest.days, manifest.until, protocol, params.data, block, root / "events")
    declared = block.fields
    where = "featurize.fields"
    if declared is None:
        declared = manifest.fields
        where = f"{root / MANIFEST}: fields"
    fields = parse_fields(declared, where)
    _check_names(fields, where)
    _check_weight_name(block.weight, fields, where)
    sampled = manifest.sampled
    if block.keep_negatives < 1 and (protocol == "leave_last_out" or sampled < 1):
        sampler = f"the log holds {sampled} of them" if sampled < 1 else "the protocol leave_last_out samples them"
        raise InputError(
            f"featurize.keep_negatives={block.keep_negatives}, but negatives are already sampled: {sampler}; set "
            "keep_negatives to 1"
        )

    def table(path: str, keys: tuple[str, ...], *groups: Group, absent: bool = False) -> ir.Table | None:
        wanted = [field for field in fields if field.group in groups and field.name not in (USER_ID, ITEM_ID)]
        if not (path == "events" or (root / path).exists()):
            if wanted and not absent:
                raise InputError(
                    f"{root / path}: not found, but {where} declares {wanted[0].name!r} ({wanted[0].group}); "
                    "give fetch that table, or take the field out"
                )
            return None
        files = _event_files(root, manifest.days, days) if path == "events" else [root / path]
        _check_columns(files, {*keys, block.weight, *(field.name for field in wanted)})
        source = session.read(files, f"raw_{Path(path).stem}")
        wanted = [field for field in wanted if not absent or field.name in source.columns]
        selected = {key: source[key] for key in keys}
        if TIMESTAMP in selected:
            selected[TIMESTAMP] = session.epoch_us(source[TIMESTAMP]).fill_null(UNKNOWN_TIME)
        if path == "events" and block.weight is not None:
            selected[WEIGHT] = _weight(source, block.weight, root / path)
        return source.select(**selected, **{column(field): _typed(source, field, root / path) for field in wanted})

    events = table("events", EVENT_COLUMNS, Group.CONTEXT, Group.BEHAVIOUR)
    history = table("history.parquet", HISTORY_COLUMNS, Group.BEHAVIOUR, absent=True)
    if history is not None and days.history_from is not None:
        time = history[TIMESTAMP]
        history = history.filter((time >= start_us(days.history_from)) | (time == UNKNOWN_TIME))
    items = table("items.parquet", (ITEM_ID,), Group.ITEM)
    users = table("users.parquet", (USER_ID,), Group.USER)
    assert events is not None
    tables = {Group.ITEM: [items], Group.USER: [users], Group.CONTEXT: [events], Group.BEHAVIOUR: [events, history]}
    fields = tuple(_completed(session, field, tables[field.group], where) for field in fields)
    _check_feedback(session, events, [field for field in fields if field.group is Group.CONTEXT], where)
    if block.weight is not None:
        _check_weights(session, events, block.weight)
    return Raw(
        root=root,
        fields=fields,
        protocol=protocol,
        order=order,
        until=manifest.until,
        calendar=days,
        sampled=1.0 if protocol == "leave_last_out" else sampled,  # leave_last_out draws negatives anyway
        weighted=block.weight is not None,
        events=events,
        history=history,
        items=items,
        users=users,
    )


def _event_files(root: Path, days: Sequence[str], used: Calendar) -> list[Path]:
    """Return the files of the days that are used, given all days that have events.

    Raises:
        InputError: a day has no file.
    """
    first = "" if used.history_from is None else used.history_from.isoformat()
    files = []
    for day in days:
        if day >= first:
            folder = root / "events" / f"date={day}"
            day_files = sorted(folder.glob("*.parquet"))
            if not day_files:
                raise InputError(
                    f"{folder}: no Parquet file, but {root / MANIFEST} lists this day; run `din fetch` again"
                )
            files += day_files
    return files


def _check_columns(files: Sequence[Path], names: Collection[str | None]) -> None:
    """Check that these columns have the same types in all files, or are missing from all.

    Raises:
        InputError: they are not, or a file is not Parquet.
    """
    all_types = [_types(file, names) for file in files]
    for file, types in zip(files, all_types, strict=True):
        for name in sorted(types.keys() | all_types[0].keys()):
            kind, first = (file_types.get(name, "missing") for file_types in (types, all_types[0]))
            if kind != first:
                raise InputError(
                    f"{file}: column {name!r} is {kind}, but {first} in {files[0]}; correct the source, so that each "
                    "day has the same columns, of the same types"
                )


def _types(file: Path, names: Collection[str | None]) -> dict[str, pa.DataType]:
    try:
        return {column.name: column.type for column in pq.read_schema(file) if column.name in names}
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(f"{file}: can't be read as Parquet ({error}); run `din fetch` again") from None


def _check_names(fields: tuple[Field, ...], where: str) -> None:
    seen: dict[str, str] = {}
    for field in fields:
        at = f"{where}.{field.group}.{field.name}"
        name = field.name.lower()
        if name in RESERVED:
            raise InputError(f"{at}: {field.name!r} is a column of the feature files; rename the column at fetch")
        if name in seen:
            raise InputError(f"{at}: differs from {seen[name]!r} by case only; rename one column at fetch")
        if field.group is Group.CONTEXT and name == BEHAVIOUR:
            raise InputError(f"{at}: {BEHAVIOUR!r} is feedback on the impression itself; take it out, it leaks")
        seen[name] = field.name


def _check_weight_name(weight: str | None, fields: tuple[Field, ...], where: str) -> None:
    if weight is None:
        return
    if weight in EVENT_COLUMNS:
        raise InputError(f"featurize.weight: {weight!r} is a column of the log itself; choose a column of weights")
    for field in fields:
        if field.group is Group.CONTEXT and field.name == weight:
            raise InputError(
                f"featurize.weight: {weight!r} is also declared in {where}.context. A weight may follow from feedback, "
                "which a context must not; take it out there"
            )
        if field.group is Group.CONTEXT and field.name.lower() == WEIGHT:
            raise InputError(
                f"{where}.context.{field.name}: with featurize.weight, {WEIGHT!r} is a column of the feature files; "
                "rename the column at fetch"
            )


def _weight(events: ir.Table, name: str, path: Path) -> ir.Value:
    if name not in events.columns:
        raise InputError(
            f"{path}: no column {name!r}, which featurize.weight names; it has {listed(events.columns)}. Under "
            "fetch.source table, list it in fetch.table.keep"
        )
    values = events[name]
    if not values.type().is_numeric():
        raise InputError(f"{path}: column {name!r} is {values.type()}, but featurize.weight needs numbers")
    return values.cast("float64")


def _check_weights(session: Session, events: ir.Table, name: str) -> None:
    weight = events[WEIGHT]
    wrong = events.filter(weight.isnull() | weight.isnan() | weight.isinf() | (weight < 0))
    first = session.rows(wrong.order_by(SEQUENCE).limit(1).select(USER_ID, SEQUENCE, WEIGHT))
    if first:
        count = session.size(wrong)
        raise InputError(
            f"featurize.weight: {count:,} events have no usable {name!r}, the first is {first[0][WEIGHT]} of user "
            f"{first[0][USER_ID]!r} (sequence {first[0][SEQUENCE]}); expected a finite number of at least 0 in each row"
        )


def _typed(table: ir.Table, field: Field, path: Path) -> ir.Value:
    """Return the field's values in the type that its kind needs, null where missing."""
    if field.name not in table.columns:
        raise InputError(
            f"{path}: no column {field.name!r}, which featurize.fields.{field.group} declares; "
            f"it has {listed(table.columns)}"
        )
    values = table[field.name]
    return coder_of(field).typed(values, f"{path}: column {field.name!r} is {values.type()}")


def _completed(session: Session, field: Field, tables: Sequence[ir.Table | None], where: str) -> Field:
    """Return the field, completed by properties of all its values; see `Coder.completed`."""
    columns = [table[column(field)] for table in tables if table is not None and column(field) in table.columns]
    return coder_of(field).completed(session, field, columns, f"{where}.{field.group}.{field.name}")


def _check_feedback(session: Session, events: ir.Table, contexts: list[Field], where: str) -> None:
    """Raise InputError if a context's values are the label or the behaviour flag under another name."""
    numbers = [field for field in contexts if events[column(field)].type().is_numeric()]
    pairs = list(product(numbers, (LABEL, BEHAVIOUR)))
    if not pairs:
        return
    equal = []
    for n, (field, flag) in enumerate(pairs):
        same = (events[column(field)] == events[flag]).all()
        varies = events[flag].nunique() > 1
        equal.append((same & varies).name(str(n)))
    is_equal = session.scalars(events.aggregate(equal))
    for n, (field, flag) in enumerate(pairs):
        if is_equal[str(n)]:
            raise InputError(
                f"{where}.context.{field.name}: equals {flag} on every row, so it is the answer, not a context; "
                "take it out, or declare it under behaviour, where only past rows use it"
            )

"""Write the feature files: the tables of items and users, then the behaviours and splits of each shard.

din/features/FORMAT.md describes them. Rows are ordered within a shard only, so each file takes one sort of one shard.
"""

from pathlib import Path

import ibis
import ibis.expr.types as ir

from din.featurize.coding import Coder, column, encode
from din.featurize.engine import Session
from din.featurize.timeline import ORDER
from din.field_forms import UNKNOWN
from din.schema import SEQUENCE, SPLITS, TIMESTAMP, WEIGHT, Group


def place(entities: ir.Table, key: str, identity: Coder | None) -> ir.Table:
    """Add `row`, the place in the file: unknown first, then the ids of training in their order, then others by raw id.

    So held-out rows do not change the order of the rows that training sees.

    Args:
        entities: users or items with encoded columns.
        key: user | item.
        identity: the coder of the raw id itself, if that is a field.
    """
    order = [entities[key]]
    if identity is not None:
        code = entities[column(identity.field)]
        own = ibis.ifelse(code < identity.rows, code, UNKNOWN)
        order = [entities[key] > UNKNOWN, own == UNKNOWN, own, entities[key]]
    return entities.mutate(row=ibis.row_number().over(order_by=order).cast("int32"))


def write_entities(session: Session, placed: ir.Table, coders: list[Coder], path: Path) -> None:
    """Write items.parquet or users.parquet: value and the encoded fields, in the order of `row`."""
    fields = {coder.field.name: column(coder.field) for coder in coders}
    session.write(_renamed(placed.order_by("row"), {"value": "value"} | fields), path)


def offsets(users: ir.Table, behaviours: ir.Table) -> ir.Table:
    """Add `offset` to placed users: the row of the shard's file where a user's behaviours begin."""
    sizes = behaviours.group_by("user").aggregate(size=ibis._.count())
    users = users.left_join(sizes, "user").drop("user_right")
    before = ibis.window(group_by="shard", order_by="row", preceding=(None, 1))
    return users.mutate(offset=users["size"].sum().over(before).fill_null(0).cast("int32"))


def write_shard(
    session: Session,
    folder: Path,
    behaviours: ir.Table,
    impressions: ir.Table,
    users: ir.Table,
    items: ir.Table,
    coders: list[Coder],
) -> None:
    """Write one shard's four files.

    Args:
        session: the engine.
        folder: the shard's folder.
        behaviours: the shard's behaviours, with users and items as codes.
        impressions: the shard's impressions, with users and items as codes. Histories count from the user's first
            behaviour.
        users: user, row, offset.
        items: item, row.
        coders: the coders of context and behaviour fields.
    """
    people = users.select("user", "offset", user_row="row")
    goods = items.select("item", item_row="row")

    def placed(rows: ir.Table, group: Group) -> tuple[ir.Table, dict[str, str]]:
        rows = rows.join(people, "user").join(goods, "item")
        own = [coder for coder in coders if coder.field.group is group]
        rows = encode(session, f"encoded_{group}", rows, own)
        return rows, {coder.field.name: column(coder.field) for coder in own}

    rows, fields = placed(behaviours, Group.BEHAVIOUR)
    rows = rows.order_by("user_row", *ORDER)
    columns = {"user": "user_row", "item": "item_row", TIMESTAMP: TIMESTAMP, SEQUENCE: SEQUENCE}
    session.write(_renamed(rows, columns | fields), folder / "behaviours.parquet")

    rows, fields = placed(impressions, Group.CONTEXT)
    rows = rows.mutate(
        history_start=(rows.history_start + rows.offset).cast("int32"),
        history_end=(rows.history_end + rows.offset).cast("int32"),
    ).order_by("user_row", TIMESTAMP, SEQUENCE, "sampled", "item_row")
    names = ["label", "history_start", "history_end", TIMESTAMP, SEQUENCE, "sampled"]
    if WEIGHT in impressions.columns:
        names.append(WEIGHT)
    columns = {"user": "user_row", "item": "item_row"} | {name: name for name in names}
    for number, split in enumerate(SPLITS):
        session.write(_renamed(rows.filter(rows.split == number), columns | fields), folder / f"{split}.parquet")


def _renamed(rows: ir.Table, columns: dict[str, str]) -> ir.Table:
    """Select `columns`, which maps new names to old ones; new names may be any text."""
    return rows.select([rows[old].name(new) for new, old in columns.items()])

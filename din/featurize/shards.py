"""Write the feature files: the tables of items and users, then the behaviours and splits of each shard.

din/features/FORMAT.md describes them. Rows are ordered within a shard only, so each file takes one sort of one shard.
"""

from pathlib import Path

import ibis
import ibis.expr.types as ir

from din.featurize.coders import Coder, column, encode
from din.featurize.engine import Contents, Session
from din.featurize.timeline import ORDER
from din.kinds import UNKNOWN
from din.schema import SEQUENCE, SPLITS, TIMESTAMP, WEIGHT, Group


def place(entities: ir.Table, key: str, identity: Coder | None) -> ir.Table:
    """Add `row`, the place in the file: unknown first, then the ids of training in their order, then others by raw id.

    This way, held-out rows do not change the order of the rows that training sees.

    Args:
        entities: users or items with encoded columns.
        key: user | item.
        identity: the coder of the raw id itself, if that is a field.
    """
    order = [entities[key]]
    if identity is not None:
        code = entities[column(identity.field)]
        training_code = ibis.ifelse(code < identity.rows, code, UNKNOWN)
        order = [entities[key] > UNKNOWN, training_code == UNKNOWN, training_code, entities[key]]
    return entities.mutate(row=ibis.row_number().over(order_by=order).cast("int32"))


def write_entities(session: Session, placed: ir.Table, coders: list[Coder], path: Path) -> None:
    """Write items.parquet or users.parquet: value and the encoded fields, in the order of `row`."""
    fields = {coder.field.name: column(coder.field) for coder in coders}
    session.write(Contents(placed, ["row"], {"value": "value"} | fields), path)


def offsets(users: ir.Table, behaviours: ir.Table) -> ir.Table:
    """Add `offset` to placed users: the row of the shard's file where a user's behaviours begin."""
    sizes = behaviours.group_by("user").aggregate(size=ibis._.count())
    users = users.left_join(sizes, "user").drop("user_right")
    before = ibis.window(group_by="shard", order_by="row", preceding=(None, 1))
    return users.mutate(offset=users["size"].sum().over(before).fill_null(0).cast("int32"))


def write_shards(
    session: Session,
    root: Path,
    part: range,
    behaviours: ir.Table,
    impressions: ir.Table,
    users: ir.Table,
    items: ir.Table,
    coders: list[Coder],
) -> None:
    """Write the four files of each shard in `part`.

    Args:
        root: the folder of the shards.
        behaviours: their behaviours, with users and items as codes.
        impressions: their impressions, with users and items as codes. Histories count from the user's first behaviour.
        users: user, row, offset.
        items: item, row.
        coders: the coders of context and behaviour fields.
    """
    people = users.select("user", "offset", user_row="row")
    goods = items.select("item", item_row="row")
    keys = {"user": "user_row", "item": "item_row"}

    def placed(rows: ir.Table, group: Group) -> tuple[ir.Table, dict[str, str]]:
        rows = rows.join(people, "user").join(goods, "item")
        group_coders = [coder for coder in coders if coder.field.group is group]
        rows = encode(session, f"encoded_{group}", rows, group_coders)
        return rows, {coder.field.name: column(coder.field) for coder in group_coders}

    rows, fields = placed(behaviours, Group.BEHAVIOUR)
    columns = keys | {TIMESTAMP: TIMESTAMP, SEQUENCE: SEQUENCE} | fields
    contents = Contents(rows, ["user_row", *ORDER], columns)
    session.write_part(contents, part, root, {"behaviours": ibis.literal(True)})

    rows, fields = placed(impressions, Group.CONTEXT)
    rows = rows.mutate(
        history_start=(rows.history_start + rows.offset).cast("int32"),
        history_end=(rows.history_end + rows.offset).cast("int32"),
    )
    names = ["label", "history_start", "history_end", TIMESTAMP, SEQUENCE, "sampled"]
    if WEIGHT in impressions.columns:
        names.append(WEIGHT)
    splits = {split: ibis._.split == number for number, split in enumerate(SPLITS)}
    order = ["user_row", TIMESTAMP, SEQUENCE, "sampled", "item_row"]
    contents = Contents(rows, order, keys | {name: name for name in names} | fields)
    session.write_part(contents, part, root, splits)

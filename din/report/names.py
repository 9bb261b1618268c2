"""Users and items as a reader knows them: by the names that the log has for them, else by their raw ids."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from din.errors import shown
from din.features.reader import Features
from din.schema import ITEM_ID, Group, Kind
from din.workspace import Workspace

_TITLES = ("title", "name", "item_title", "item_name", "product_title", "product_name", "headline", "description")


def user_name(features: Features, row: int) -> str:
    """Return the raw id of a row of the users."""
    return _text(features.raw_users()[row].as_py())


def item_names(workspace: Workspace, features: Features, rows: Sequence[int]) -> list[str]:
    """Return a name for each row of the items: its title or its id, followed by its first category."""
    path = workspace.raw / "items.parquet"
    raw = features.raw_items()
    ids = [raw[int(row)].as_py() for row in rows]
    if not path.exists():
        return [_text(one) for one in ids]
    columns = pq.read_schema(path).names
    title = next((column for column in _TITLES if column in columns), ITEM_ID)
    kinds = (Kind.CATEGORICAL, Kind.MULTI)
    fields = [field.name for kind in kinds for field in features.of(Group.ITEM) if field.kind is kind]
    category = next((column for column in fields if column in columns), None)
    table = pq.read_table(path, columns=[*dict.fromkeys(filter(None, (ITEM_ID, title, category)))])
    table = table.filter(pc.is_in(table[ITEM_ID], value_set=pa.array(ids, table[ITEM_ID].type)))
    names = {}
    for row in table.to_pylist():
        called = _text(row[ITEM_ID] if row[title] is None else row[title])
        of = row[category] if category else None
        several = of if isinstance(of, list) else [of]
        names[row[ITEM_ID]] = called if of is None else f"{called} · {', '.join(map(_text, several[:3]))}"
    return [names.get(one, _text(one)) for one in ids]


def _text(value: Any) -> str:
    return "unknown item" if value is None else shown(str(value), quotes=False)

"""Users and items as a reader knows them: by the names that the log has for them, else by their raw ids."""

from collections.abc import Sequence
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from din.base.errors import shown
from din.base.workspace import Workspace
from din.features.reader import Features
from din.schema import ITEM_ID

_TITLES = ("title", "name", "item_title", "item_name", "product_title", "product_name", "headline", "description")


def user_name(features: Features, row: int) -> str:
    """Return the raw id of a row of the users."""
    return _text(features.raw_users()[row].as_py())


def item_names(workspace: Workspace, features: Features, rows: Sequence[int]) -> list[str]:
    """Return the title of each row of the items, or its raw id if the log has no titles."""
    raw = features.raw_items()
    ids = [raw[int(row)].as_py() for row in rows]
    path = workspace.raw / "items.parquet"
    columns = pq.read_schema(path).names if path.exists() else []
    title = next((column for column in _TITLES if column in columns), None)
    if title is None:
        return [_text(raw_id) for raw_id in ids]
    table = pq.read_table(path, columns=[ITEM_ID, title], filters=pc.field(ITEM_ID).isin(ids))
    names = {row[ITEM_ID]: row[title] for row in table.to_pylist() if row[title] is not None}
    return [_text(names.get(raw_id, raw_id)) for raw_id in ids]


def _text(value: Any) -> str:
    return "unknown item" if value is None else shown(str(value), quotes=False)

"""The places of a log's files in plain parameters."""

from copy import deepcopy
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

from din.params import path_keys

TABLES = ("events", "items", "users", "history")


def absolute(params: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return the parameters with relative paths that start at a folder; URLs stay as they are."""
    changed = deepcopy(params)
    for key in path_keys():
        *parents, name = key.split(".")
        block = reduce(getitem, parents, changed)
        if block[name] and "://" not in block[name]:
            block[name] = str(folder.resolve() / block[name])
    return changed


def below(params: dict[str, Any], data: Path) -> dict[str, Any]:
    """Return the parameters with the tables of `fetch.table` in DATA/LOG/FILE, whatever lies above LOG/FILE in them."""
    changed = deepcopy(params)
    table = changed["fetch"]["table"]
    for key in TABLES:
        if table[key]:
            table[key] = str(data.resolve().joinpath(*Path(table[key]).parts[-2:]))
    return changed

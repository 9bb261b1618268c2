"""Plain parameters of a log: the places of its files, and settings KEY=VALUE."""

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from din.errors import InputError
from din.params.overlays import make_paths_absolute, nested, overlaid

TABLES = ("events", "items", "users", "history")


def absolute(params: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return the parameters with relative paths that start at a folder; URLs stay as they are."""
    changed = deepcopy(params)
    make_paths_absolute(changed, str(folder.resolve()))
    return changed


def below(params: dict[str, Any], data: Path) -> dict[str, Any]:
    """Return the parameters with the tables of `fetch.table` in DATA/LOG/FILE, whatever lies above LOG/FILE in them."""
    changed = deepcopy(params)
    table = changed["fetch"]["table"]
    for key in TABLES:
        if table[key]:
            table[key] = str(data.resolve().joinpath(*Path(table[key]).parts[-2:]))
    return changed


def with_settings(params: dict[str, Any], settings: Sequence[str], block: str = "") -> dict[str, Any]:
    """Return the parameters with settings KEY=VALUE. KEY is dotted, below a block such as `train.`; VALUE is YAML.

    Raises:
        InputError: a setting has another form, or its key is unknown.
    """
    for setting in settings:
        key, separator, value = setting.partition("=")
        if not separator:
            raise InputError(f"--set {setting}: expected KEY=VALUE, such as data.window_days=14")
        overlay = nested({f"{block}{key}": YAML(typ="safe").load(value)})
        params = overlaid(params, overlay, f"--set {setting}")
    return params

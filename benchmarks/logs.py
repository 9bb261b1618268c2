"""The parameters of a log: the defaults with an overlay, further values, and the paths of the files."""

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from benchmarks.environments import ROOT
from din.params.blocks import parse, to_json
from din.params.overlays import make_paths_absolute, nested, overlaid, read_overlay
from din.params.reading import Params

TABLES = ("events", "items", "users", "history")
MONTH = ROOT / "docs/examples/month.yaml"


def read_log(log: Path, data: Path | None = None, values: Mapping[str, Any] | None = None) -> Params:
    """Return the defaults with an overlay and with values by dotted key.

    The tables of the log are expected in `data`. Without it, relative paths are relative to the repository.

    Raises:
        InputError: the overlay or a value can't be read, or the parameters contradict each other.
    """
    params = overlaid(to_json(Params()), read_overlay(log), log)
    params = overlaid(params, nested(dict(values or {})), "the given values")
    if data:
        params = below(params, data)
    else:
        make_paths_absolute(params, str(ROOT.resolve()))
    return parse(Params, params, log)


def below(params: dict[str, Any], data: Path) -> dict[str, Any]:
    """Return the parameters with every path in `fetch.table` changed to DATA/LOG/FILE, keeping its last two parts."""
    changed = deepcopy(params)
    table = changed["fetch"]["table"]
    for key in TABLES:
        if table[key]:
            table[key] = str(data.resolve().joinpath(*Path(table[key]).parts[-2:]))
    return changed

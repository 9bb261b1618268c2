"""Parameters of featurize, and features read as plain values."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from din.base.artifacts import read_json
from din.base.workspace import Workspace
from din.params.reading import Params, load

PARAMS = load(Path(__file__).parents[3] / "params.yaml")


def block(window_days: int | None = None, history_days: int | None = None, **changes: Any) -> Params:
    """Return the project's params with keys of `data` and `featurize.<key>` changed."""
    data = replace(PARAMS.data, window_days=window_days, history_days=history_days)
    return replace(PARAMS, data=data, featurize=replace(PARAMS.featurize, **changes))


class Built:
    """A feature directory decoded to raw values, as a reader of FORMAT.md would decode it."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.root = root = workspace.features
        self.manifest = read_json(root / "manifest.json")
        self.rows = {record["name"]: record["rows"] for record in self.manifest["fields"]}
        self.items, self.users = (plain(root / f"{name}.parquet") for name in ("items", "users"))

    def impressions(self) -> list[dict[str, Any]]:
        """Return every impression with split, raw ids, and its history as (raw item, sequence, behaviour fields, …)."""
        rows = []
        for folder in sorted((self.root / "shards").iterdir()):
            behaviours = plain(folder / "behaviours.parquet")
            for split in ("train", "valid", "test"):
                for row in plain(folder / f"{split}.parquet"):
                    seen = behaviours[row.pop("history_start") : row.pop("history_end")]
                    assert all(behaviour["user"] == row["user"] for behaviour in seen)
                    history = [self._past(behaviour) for behaviour in seen]
                    user, item = self.users[row["user"]]["value"], self.items[row["item"]]["value"]
                    rows.append({**row, "split": split, "user": user, "item": item, "history": history})
        return sorted(rows, key=lambda row: (row["sequence"], row["sampled"]))

    def vocabulary(self, name: str) -> list[dict[str, Any]]:
        return plain(self.root / "vocab" / f"{name}.parquet")

    def _past(self, behaviour: dict[str, Any]) -> dict[str, Any]:
        return {k: v for k, v in behaviour.items() if k != "user"} | {"item": self.items[behaviour["item"]]["value"]}


def plain(path: Path) -> list[dict[str, Any]]:
    return [{name: comparable(value) for name, value in row.items()} for row in pq.read_table(path).to_pylist()]


def comparable(value: Any) -> Any:
    """NaN as the string "nan", floats of 5 significant digits; what differs from 0 by rounding alone is 0."""
    if isinstance(value, list):
        return [comparable(part) for part in value]
    if not isinstance(value, float):
        return value
    if math.isnan(value):
        return "nan"
    return 0.0 if abs(value) < 1e-6 else float(f"{value:.5g}")

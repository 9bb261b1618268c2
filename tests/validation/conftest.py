"""A sound workspace for each protocol, built once by the pipeline's own stages; each test changes its own copy."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from din.base.artifacts import write_json
from din.data.fetch import fetch
from din.featurize.build import featurize
from din.params.reading import Params
from tests.factories import documents_of
from tests.helpers.made_once import made_once
from tests.validation import planting

FIELDS = {
    "user": {"user_id": "id", "age": {"kind": "numeric", "buckets": 4}},
    "item": {"category": "categorical", "tags": "multi", "price": "numeric", "embedding": "vector"},
    "context": {"tab": "categorical", "hour": "numeric", "place": "vector"},
    "behaviour": {"watched": "numeric"},
}
EARLY = "1970-01-01T00:00:00+00:00"  # before all rows

Build = Callable[..., tuple[Path, Params]]


@pytest.fixture(scope="session")
def small(params: Params) -> Params:
    """Return the parameters of a log of 3,600 events on six days, with all field kinds and three shards."""
    simulate = replace(params.fetch.simulate, users=180, impressions_per_user=20, items=120, categories=12, days=6)
    return replace(
        params,
        fetch=replace(params.fetch, source="simulate", simulate=simulate),
        featurize=replace(params.featurize, fields=FIELDS, max_history=8, min_count=1, shards=planting.SHARDS),
        validate_features=replace(params.validate_features, min_rows=50),
    )


@pytest.fixture(scope="session")
def build(small: Params, tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Build, once, the workspace of a protocol, a seed and keys of `featurize`: raw log, features, and predictions."""

    def built(protocol: str, seed: int = 7, **featurizing: Any) -> tuple[Path, Params]:
        fetching = replace(small.fetch, simulate=replace(small.fetch.simulate, seed=seed))
        own = replace(small, fetch=fetching, featurize=replace(small.featurize, protocol=protocol, **featurizing))

        def make(root: Path) -> None:
            root.mkdir()
            with pytest.MonkeyPatch.context() as patch:
                patch.chdir(root)
                fetch(planting.HERE, own)
                _enrich(seed)
                featurize(planting.HERE, own)
                _predict()

        name = "-".join(["validated", *map(str, (protocol, seed, *featurizing.values()))])
        return made_once(tmp_path_factory, name, make), own

    return built


@pytest.fixture
def workspace(build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Params]:
    """Copy a protocol's workspace, make it the current directory and return its parameters."""

    def enter(protocol: str = "temporal", seed: int = 7, **featurizing: Any) -> Params:
        root, params = build(protocol, seed, **featurizing)
        shutil.copytree(root, tmp_path / "workspace")
        monkeypatch.chdir(tmp_path / "workspace")
        return params

    return enter


def _enrich(seed: int) -> None:
    """Give the simulated log contexts, weights, more side fields, users, and some without prior history."""
    random, of_vectors, of_weights = (np.random.default_rng(seed + n) for n in range(3))
    tags = [f"t{number}" for number in range(9)]

    def more(**columns: Callable[[int], list | np.ndarray]) -> Callable[[pa.Table], pa.Table]:
        def change(table: pa.Table) -> pa.Table:
            for name, draw in columns.items():
                table = table.append_column(name, pa.array(draw(table.num_rows)))
            return table

        return change

    def numbers(n: int) -> np.ndarray:
        return random.normal(size=n)

    def vectors(n: int) -> list[list[float] | None]:
        return [row.tolist() if row[0] < 1 else None for row in of_vectors.normal(size=(n, 4))]

    def lists(n: int) -> list[list[str]]:
        return [random.choice(tags, random.integers(0, 4)).tolist() for _ in range(n)]

    drawn = {"tab": lambda n: random.integers(0, 3, n), "hour": numbers, "watched": numbers, "place": vectors}
    drawn["worth"] = lambda n: of_weights.choice([0.0, 1.0, 2.5], n)
    for path in planting.events():
        planting.edit(path, more(**drawn))
    planting.edit(planting.RAW / "history.parquet", lambda t: t.filter(pa.array(t["user_id"].to_numpy() % 3 > 0)))
    planting.edit(planting.RAW / "items.parquet", more(tags=lists, price=numbers, embedding=vectors))
    users = np.unique(pa.concat_tables(map(pq.read_table, planting.events()))["user_id"].to_numpy())
    pq.write_table(
        pa.table({"user_id": users, "age": random.integers(18, 80, len(users))}), planting.RAW / "users.parquet"
    )
    planting.seal(planting.RAW)


def _predict() -> None:
    """Predict the observed CTR, a little more for clicks, which is calibrated and better than a constant."""
    planting.PREDICTIONS.mkdir(parents=True)
    for split in ("valid", "test"):
        rows = pa.concat_tables(map(pq.read_table, planting.shards(split)))
        label = rows["label"].to_numpy()
        scores = label.mean() + 0.1 * (label - label.mean())
        length = rows["history_end"].to_numpy() - rows["history_start"].to_numpy()
        columns = ("user", "item", "label", "sequence", "timestamp", "sampled")
        floors = {"popularity": scores, "lr": scores} if split == "test" else {}
        table = pa.table(
            {name: rows[name] for name in columns} | {"history_length": length, "prediction": scores} | floors
        )
        pq.write_table(table, planting.PREDICTIONS / f"{split}.parquet")
    write_json(planting.HERE.evaluation, documents_of.evaluation(learned_until=dict.fromkeys(("valid", "test"), EARLY)))

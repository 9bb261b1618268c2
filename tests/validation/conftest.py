"""A sound workspace for each protocol, built once by the pipeline's own stages; each test changes its own copy."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import planting
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from din.artifacts import MANIFEST, read_json, write_json
from din.featurize.build import featurize
from din.params import Params
from din.sources.fetch import fetch
from tests.factories import documents_of

FIELDS = {
    "user": {"user_id": "id", "age": {"kind": "numeric", "buckets": 4}},
    "item": {"category": "categorical", "tags": "multi", "price": "numeric", "embedding": "vector"},
    "context": {"tab": "categorical", "hour": "numeric", "place": "vector"},
    "behaviour": {"watched": "numeric"},
}

Build = Callable[..., tuple[Path, Params]]


@pytest.fixture(scope="session")
def small(params: Params) -> Params:
    """Return the parameters of a log of 3,600 events on six days, with all field kinds and three shards."""
    simulate = replace(params.fetch.simulate, users=180, impressions_per_user=20, items=120, categories=12, days=6)
    return replace(
        params,
        fetch=replace(params.fetch, source="simulate", simulate=simulate),
        featurize=replace(params.featurize, fields=FIELDS, max_history=8, min_count=1, shards=3),
        validate_features=replace(params.validate_features, min_rows=50),
    )


@pytest.fixture(scope="session")
def build(small: Params, tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Build, once, the workspace of a protocol and a seed: raw log, features, and predictions."""
    done: dict[tuple[str, int], tuple[Path, Params]] = {}

    def built(protocol: str, seed: int = 7) -> tuple[Path, Params]:
        if (protocol, seed) not in done:
            simulate = replace(small.fetch.simulate, seed=seed)
            fetch_block = replace(small.fetch, simulate=simulate)
            own = replace(small, fetch=fetch_block, featurize=replace(small.featurize, protocol=protocol))
            root = tmp_path_factory.mktemp(protocol)
            with pytest.MonkeyPatch.context() as patch:
                patch.chdir(root)
                fetch(planting.HERE, own)
                _enrich(seed)
                featurize(planting.HERE, own)
                _predict()
            done[protocol, seed] = root, own
        return done[protocol, seed]

    return built


@pytest.fixture
def workspace(build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Params]:
    """Copy a protocol's workspace, make it the current directory and return its parameters."""

    def enter(protocol: str = "temporal", seed: int = 7) -> Params:
        root, params = build(protocol, seed)
        shutil.copytree(root, tmp_path / "workspace")
        monkeypatch.chdir(tmp_path / "workspace")
        return params

    return enter


def _enrich(seed: int) -> None:
    """Give the simulated log contexts, behaviour fields, more side fields, users, and some without prior history."""
    random, other = np.random.default_rng(seed), np.random.default_rng(seed + 1)

    def more(**columns: Callable[[int], list | np.ndarray]) -> Callable[[pa.Table], pa.Table]:
        def change(table: pa.Table) -> pa.Table:
            for name, draw in columns.items():
                table = table.append_column(name, pa.array(draw(table.num_rows)))
            return table

        return change

    def numbers(n: int) -> np.ndarray:
        return random.normal(size=n)

    def vectors(n: int) -> list[list[float] | None]:
        return [row.tolist() if row[0] < 1 else None for row in other.normal(size=(n, 4))]

    for path in sorted(planting.RAW.glob("events/*/*.parquet")):
        drawn = {"tab": lambda n: random.integers(0, 3, n), "hour": numbers, "watched": numbers, "place": vectors}
        planting.edit(path, more(**drawn))
    planting.edit(planting.RAW / "history.parquet", lambda t: t.filter(pa.array(t["user_id"].to_numpy() % 3 > 0)))
    tags = [f"t{number}" for number in range(9)]
    planting.edit(
        planting.RAW / "items.parquet",
        more(tags=lambda n: [random.choice(tags, random.integers(0, 4)).tolist() for _ in range(n)], price=numbers),
    )
    planting.edit(
        planting.RAW / "items.parquet",
        more(embedding=vectors),
    )
    events = pa.concat_tables(map(pq.read_table, planting.RAW.glob("events/*/*.parquet")))
    users = np.unique(events["user_id"].to_numpy())
    pq.write_table(
        pa.table({"user_id": users, "age": random.integers(18, 80, len(users))}), planting.RAW / "users.parquet"
    )
    planting.seal(planting.RAW)
    assert read_json(planting.RAW / MANIFEST)["rows"] == events.num_rows


EARLY = "1970-01-01T00:00:00+00:00"  # before all rows


def _predict() -> None:
    """Predict the observed CTR, a little more for clicks, which is calibrated and better than a constant."""
    shards = read_json(planting.FEATURES / MANIFEST)["shards"]
    planting.PREDICTIONS.mkdir(parents=True)
    for split in ("valid", "test"):
        paths = [planting.FEATURES / "shards" / f"{shard:05d}" / f"{split}.parquet" for shard in range(shards)]
        rows = pa.concat_tables([pq.read_table(path) for path in paths])
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

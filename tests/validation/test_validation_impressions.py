"""Weights of other rows, and negatives that are missing where they should not be."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import planting
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from planting import FEATURES, HERE, edit, failed, judge, put, seal
from shard_edits import replace_column, shard

from din.artifacts import MANIFEST, read_json
from din.featurize.build import featurize
from din.params import Params

Enter = Callable[..., Params]
Build = Callable[[str], tuple[Path, Params]]
KEPT = 0.5


@pytest.fixture(scope="module")
def built(build: Callable[..., tuple[Path, Params]], tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Build, once for each protocol, a workspace with weights whose training keeps half of the negatives."""

    @cache
    def make(protocol: str) -> tuple[Path, Params]:
        sound, params = build(protocol)
        root = tmp_path_factory.mktemp("counting") / protocol
        shutil.copytree(sound, root)
        random = np.random.default_rng(8)
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(root)
            for path in planting.RAW.glob("events/*/*.parquet"):
                weights = random.choice([0.0, 1.0, 2.5], pq.read_metadata(path).num_rows)
                edit(path, lambda table, weights=weights: table.append_column("worth", pa.array(weights)))
            seal(planting.RAW)
            params = replace(params, featurize=replace(params.featurize, weight="worth", keep_negatives=KEPT))
            featurize(HERE, params)
        return root, params

    return make


@pytest.fixture(params=["temporal", "by_user"])
def counting(built: Build, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    """Copy the workspace of a protocol, make it the current directory and return its parameters."""
    root, params = built(request.param)
    shutil.copytree(root, tmp_path / "workspace")
    monkeypatch.chdir(tmp_path / "workspace")
    return params


def rows(split: str, number: int = 0) -> pa.Table:
    """Return a split of a shard."""
    return pq.read_table(shard(split, number))


def first(split: str, label: int) -> int:
    """Return the first row of shard 0 with a label."""
    return pc.call_function("index", [rows(split)["label"]], pc.IndexOptions(pa.scalar(label, pa.int8()))).as_py()


def without(split: str, row: int) -> None:
    """Take a row out of a split of shard 0, and out of the manifest's counts."""
    edit(shard(split), lambda table: pa.concat_tables([table.slice(0, row), table.slice(row + 1)]))
    counts = read_json(FEATURES / MANIFEST)["rows"]
    fewer = counts | {split: counts[split] - 1}
    seal(FEATURES, rows=fewer, impressions=fewer["train"])


def a_row_off() -> None:
    """Give each row of a shard the weight of the row before it."""
    replace_column(shard("train"), "weight", np.roll(rows("train")["weight"].to_numpy(), 1))


DEFECTS: dict[str, tuple[Callable[[], None], set[str]]] = {
    "weights of the rows before": (a_row_off, {"weights_of_the_log"}),
    "a negative weight": (lambda: put(shard("test"), "weight", 3, -1.0), {"weights_of_the_log"}),
    "a weight of NaN": (lambda: put(shard("train"), "weight", 3, float("nan")), {"weights_of_the_log"}),
    "a weight of null": (lambda: put(shard("train"), "weight", 3, None), {"weights_of_the_log"}),
    "weights lost": (lambda: edit(shard("valid"), lambda table: table.drop_columns("weight")), {"columns"}),
    "a click less in training": (lambda: without("train", first("train", 1)), {"negatives_kept"}),
    "a negative less in training": (lambda: without("train", first("train", 0)), {"negatives_kept"}),
    "a negative less in validation": (lambda: without("valid", first("valid", 0)), {"held_out_rows_whole"}),
    "a negative less in test": (lambda: without("test", first("test", 0)), {"held_out_rows_whole"}),
    "a share that is told wrong": (
        lambda: seal(FEATURES, negatives={"log": 1.0, "training": KEPT}),
        {"negatives_told"},
    ),
}


def test_sound_weights_and_kept_negatives_are_open(counting: Params) -> None:
    """All four expectations are judged, and none fails, nor do the others."""
    report = judge("features", counting)
    judged = {"weights_of_the_log", "negatives_kept", "held_out_rows_whole", "negatives_told"}
    assert judged <= {entry["name"] for entry in report["expectations"]}
    assert not failed(report)


@pytest.mark.parametrize("counting", ["temporal"], indirect=True)
@pytest.mark.parametrize("defect", DEFECTS)
def test_each_defect_closes_exactly_its_expectation(defect: str, counting: Params) -> None:
    """The named expectations fail, all others hold, and each failure shows an example."""
    plant, expected = DEFECTS[defect]
    plant()
    seal(FEATURES)
    found = failed(judge("features", counting))
    assert found.keys() == expected
    assert all(entry["sample"] for entry in found.values())


@pytest.mark.parametrize("counting", ["by_user"], indirect=True)
def test_a_negative_less_of_a_held_out_user(counting: Params) -> None:
    """The rows of users who are held out are whole, and the rows of the others are not mistaken for theirs."""
    without("test", first("test", 0))
    found = failed(judge("features", counting))
    assert found.keys() == {"held_out_rows_whole"}
    assert found["held_out_rows_whole"]["observed"] == 1


def test_rows_that_count_alike_are_not_recounted(workspace: Enter) -> None:
    """Without weights and with all negatives, the log is not read again."""
    names = {entry["name"] for entry in judge("features", workspace("temporal"))["expectations"]}
    assert not names & {"weights_of_the_log", "negatives_kept", "held_out_rows_whole", "negatives_told"}

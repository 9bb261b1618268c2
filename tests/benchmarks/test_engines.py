"""The cost of featurize on an engine is that of all its processes."""

import shutil
from pathlib import Path

import pytest

from benchmarks.engines import cost_of_featurize
from benchmarks.size import cost_of_stage
from tests.helpers.spark_processes import needs_java, needs_spark

SPARK = pytest.param("spark", marks=[pytest.mark.slow, pytest.mark.timeout(600), needs_spark, needs_java])


@pytest.mark.parametrize("engine", [pytest.param("duckdb", marks=pytest.mark.slow), SPARK])
def test_the_cost_is_that_of_all_processes(engine: str, tmp_path: Path) -> None:
    """Each engine builds features of its own from the same log. Java alone takes more than DuckDB."""
    cost_of_stage(tmp_path / "fetch.json", 4_000, "fetch", "digest")
    cost = cost_of_featurize(tmp_path / "engine.json", 4_000, engine, "digest")
    assert cost.wall > 0 and cost.cpu > (10 if engine == "spark" else 0)
    assert cost.memory_gb > (0.4 if engine == "spark" else 0.05)
    assert cost.disk_gb["data/features"] > 0
    shutil.rmtree(tmp_path / engine)
    assert (tmp_path / "workspace/data/raw/manifest.json").exists()

"""The cost of featurize on an engine is that of all its processes."""

import shutil
from pathlib import Path

import pytest

from benchmarks.engines import cost_of_featurize, engine_table
from benchmarks.size import Cost, cost_of_stage
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


def test_the_table_holds_both_engines() -> None:
    cost = Cost(12.3, 24.6, 1.25, {"data/features": 0.25})
    text = engine_table(10_000, {"duckdb": cost, "spark": cost})
    assert "| 10,000 impressions | CPU, s |" in text
    assert "| DuckDB | 25 | 12 | 1.2 | 0.25 |" in text and "| Spark, `local[2]` | 25 |" in text

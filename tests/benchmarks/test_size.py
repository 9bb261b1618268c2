"""A stage's cost is that of its own process, and the tables hold every stage."""

from pathlib import Path

import pytest

from benchmarks.size import COMMANDS, DAYS, Cost, cost_of_stage, cost_table, extrapolated, fetch_of_csv


def test_the_cost_of_a_stage_is_that_of_its_process(tmp_path: Path) -> None:
    """The workspace of the first stage is new, and its log has the size that was asked for."""
    cost = cost_of_stage(tmp_path / "fetch.json", 4_000, "fetch", "digest")
    assert cost.wall > 0 and cost.cpu > 0 and 0.05 < cost.memory_gb < 2 and cost.disk_gb["data/raw"] > 0
    assert len(list((tmp_path / "workspace/data/raw/events").glob("date=*"))) == DAYS


@pytest.mark.slow
def test_a_csv_file_is_fetched_whole(tmp_path: Path) -> None:
    fetch_of_csv(tmp_path / "fetch.json", 4_000, "digest")
    assert "fetch: 4,000 rows of 20 days" in (tmp_path / "output.txt").read_text()


def test_the_tables_hold_every_stage() -> None:
    cost = Cost(12.3, 24.6, 1.25, {"data/raw": 0.5, "data/features": 0.25, "models": 0.0})
    text = cost_table({size: dict.fromkeys(COMMANDS, cost) for size in (1_000, 2_000)})
    assert "| Wall time, s | 1,000 impressions | 2,000 impressions |" in text
    assert text.count("| 12 | 12 |") == text.count("| 25 | 25 |") == len(COMMANDS)


def test_a_larger_log_costs_in_proportion() -> None:
    cost = Cost(12.3, 36.0, 1.25, {"data/raw": 0.5, "data/features": 0.25, "models": 0.0})
    assert "| 100,000,000 | 4.0 | 1.0 | 2.0 | 75.0 |" in extrapolated(1_000_000, dict.fromkeys(COMMANDS, cost))

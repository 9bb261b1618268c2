"""A stage's cost is that of its own process."""

from pathlib import Path

import pytest

from benchmarks.size import COMMANDS, DAYS, Cost, cost_of_stage, extrapolated


def test_the_cost_of_a_stage_is_that_of_its_process(tmp_path: Path) -> None:
    """The workspace of the first stage is new, and its log has the size that was asked for."""
    cost = cost_of_stage(tmp_path / "fetch.json", 4_000, "fetch", "digest")
    assert cost.wall > 0 and cost.cpu > 0 and 0.05 < cost.memory_gb < 2 and cost.disk_gb["data/raw"] > 0
    assert len(list((tmp_path / "workspace/data/raw/events").glob("date=*"))) == DAYS


@pytest.mark.slow
@pytest.mark.parametrize("impressions", [10**5, 10**6, 10**7])
def test_a_sound_log_of_any_size_opens_the_suites(impressions: int, tmp_path: Path) -> None:
    """The detectors' limits suit ten million rows as well; a closed suite is an error."""
    for stage in ("fetch", "validate_raw", "featurize", "validate_features"):
        cost_of_stage(tmp_path / f"{stage}.json", impressions, stage, "digest")
    for suite in ("raw", "features"):
        assert (tmp_path / f"workspace/reports/validation/{suite}.verdict").read_text() == "open\n"


def test_a_larger_log_costs_in_proportion() -> None:
    cost = Cost(12.3, 36.0, 1.25, {"data/raw": 0.5, "data/features": 0.25, "models": 0.0})
    assert "| 100,000,000 | 4.0 | 1.0 | 2.0 | 75.0 |" in extrapolated(1_000_000, dict.fromkeys(COMMANDS, cost))

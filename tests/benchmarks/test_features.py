"""The features of the logs of a study."""

from dataclasses import replace
from pathlib import Path

from benchmarks.features import made
from din.params.reading import Params


def test_equal_features_lie_in_one_place(params: Params, tmp_path: Path) -> None:
    """So a change of code that leaves a log's features as they were costs no training."""
    simulate = replace(params.fetch.simulate, users=50, items=20, categories=5)
    log = replace(params, fetch=replace(params.fetch, source="simulate", simulate=simulate))
    before = made(tmp_path / "before.json", log, [])
    stamp = (before / "manifest.json").read_bytes()
    assert made(tmp_path / "after.json", log, []) == before
    assert (before / "manifest.json").read_bytes() == stamp
    other = replace(log, fetch=replace(log.fetch, simulate=replace(simulate, seed=simulate.seed + 1)))
    assert made(tmp_path / "other.json", other, []) != before

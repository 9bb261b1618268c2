"""`make quality` and `make paper`: the arithmetic of their tables, and runs that resume."""

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.environments import ROOT
from benchmarks.quality import features_of, read, result_of
from din.params import Params, parse
from din.sources.tabular import TableSource
from din.workspace import Workspace


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_attention_pays_on_the_simulated_log(tmp_path: Path) -> None:
    """With the defaults, DIN reaches at least 95 % of the oracle's lift, and BaseModel at most 80 %."""
    logs, every = read(ROOT / "benchmarks/quality.yaml", tmp_path)
    bars = {"DIN", "BaseModel", "BaseModel as published"}
    rows = [row for row in every if row.log == "simulate" and row.name in bars]
    features = features_of([logs["simulate"]], tmp_path)["simulate"]
    tests = {row.name: result_of(replace(row, tries=()), 1, features, 2, tmp_path).runs[0]["test"] for row in rows}
    lift = {name: (test["auc"] - 0.5) / (test["oracle"]["auc"] - 0.5) for name, test in tests.items()}
    assert lift["DIN"] >= 0.95
    assert max(lift["BaseModel"], lift["BaseModel as published"]) <= 0.8


@pytest.mark.parametrize("name", ["quality", "paper", "attention"])
def test_configuration_files_are_valid(name: str, tmp_path: Path) -> None:
    """Every row can be parsed, names an existing log and base, and has its own name; sources take their parameters."""
    logs, rows = read(ROOT / f"benchmarks/{name}.yaml", tmp_path)
    assert len({(row.log, row.name) for row in rows}) == len(rows)
    assert {row.log for row in rows} == set(logs)
    assert all(any(other.is_base_of(row) for other in rows) for row in rows)
    fetches = [parse(Params, log.params, Path(log.name)).fetch for log in logs.values()]
    given = [fetch.table for fetch in fetches if fetch.source == "table"]
    for table in given:
        TableSource(Workspace(tmp_path), table, None)
    assert all(str(table.events).startswith(str(tmp_path)) for table in given)

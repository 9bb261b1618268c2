"""`make quality` and `make paper`: the arithmetic of their tables, and runs that resume."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from random_features import write_features
from settings import changed

from benchmarks.environments import ROOT
from benchmarks.quality import Log, Result, Row, features_of, main, read, result_of, tables
from din.params import Params, Train, load, parse, to_json
from din.params.overlays import overlaid
from din.sources.tabular import TableSource
from din.workspace import Workspace

KEYS = [("random", "BaseModel"), ("random", "DIN")]


@pytest.fixture
def rows(params: Params) -> list[Row]:
    """Two small rows of one log; the second is compared with the first."""
    train = changed(params.train, epochs=1, batch_size=64, attention_hidden=(4,), hidden=(4,), metric="auc")
    base = Row("random", "BaseModel", "BaseModel", changed(train, name="base"))
    return [base, Row("random", "DIN", "BaseModel", train)]


def figure(auc: float, valid: float = 0.6) -> dict[str, Any]:
    test = {"auc": auc, "gauc": auc - 0.05, "log_loss": 0.5, "rows": 1234, "users": 56}
    return {"valid": {"auc": valid}, "test": test, "epoch": 2}


def predictions(path: Path, *probabilities: float) -> str:
    """Write test predictions of a clicked row and one without a click."""
    pq.write_table(pa.table({"label": [1, 0], "prediction": probabilities}), path)
    return str(path)


def test_table_compares_means_with_the_base(rows: list[Row], tmp_path: Path) -> None:
    """RelaImpr (Eq. 11) compares with the base row of the same log and seed, and averages over seeds."""
    wrong = {"predictions": predictions(tmp_path / "wrong", 0.4, 0.5)}
    right = {"predictions": predictions(tmp_path / "right", 0.9, 0.1)}
    runs = ([figure(0.6) | wrong, figure(0.7) | wrong], [figure(0.7) | wrong, figure(0.74) | right])
    results = [Result(row, own, []) for row, own in zip(rows, runs, strict=True)]
    header, _, _, _, base, din = tables(results, KEYS).splitlines()
    assert header == "**random**: 1,234 test rows of 56 users"
    valid, loss = "0.6000 ± 0.0000", "0.5000 ± 0.0000"
    assert base == f"| BaseModel | {valid} | 0.6500 ± 0.0707 | 0.6000 ± 0.0707 | {loss} | – | – | 0.0000 | 2.0 | 2 |"
    gains = "+60.0 ± 56.6 % | +113.3 ± 122.6 %"  # AUC 0.2/0.1 and 0.24/0.2, GAUC 0.15/0.05 and 0.19/0.15, each − 1
    assert din == f"| DIN | {valid} | 0.7200 ± 0.0283 | 0.6700 ± 0.0283 | {loss} | {gains} | 1.0000 | 2.0 | 2 |"


def test_the_share_of_the_oracles_lift(rows: list[Row]) -> None:
    """The share is (AUC − 0.5) divided by the same of the true probabilities, if they are known."""
    known = figure(0.7)
    known["test"] |= {"oracle": {"auc": 0.75}}
    assert tables([Result(rows[0], [known], [])], KEYS[:1]).endswith("| – | 80.0 % | 2.0 | 1 |\n")


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


def test_features_are_those_of_the_log(tmp_path: Path) -> None:
    """A derived table is a query over the log's files, and a changed file makes other features."""
    params = to_json(load(ROOT / "params.yaml"))
    events = tmp_path / "events.csv"
    events.write_text(
        "user_id,item_id,timestamp,label\n"
        + "".join(f"{n % 7},{n % 5},{1_704_844_800 + 43_200 * n},{n % 3 % 2}\n" for n in range(30))
    )
    table = {"events": str(events), "behaviour": "shown"}
    overlay = {"fetch": {"source": "table", "table": table}, "featurize": {"fields": {}, "protocol": "temporal"}}
    log = Log("mine", overlaid(params, overlay, "the test"), {"events": "SELECT *, 1 AS shown FROM events"})
    first = features_of([log], tmp_path)["mine"]
    assert features_of([log], tmp_path)["mine"] == first
    assert pq.read_metadata(first / "shards/00000/behaviours.parquet").num_rows == 30
    events.write_text(events.read_text().replace("6,", "8,"))
    assert features_of([log], tmp_path)["mine"] != first


def test_the_oracle_of_a_log_by_days(rows: list[Row], tmp_path: Path) -> None:
    """The true probabilities are found in the file of each day, as a simulated log without end has them."""
    here = Workspace(tmp_path / "log")
    features = write_features(here.features)
    for split, day in (("valid", "2024-01-01"), ("test", "2024-01-02")):
        sequence = np.concatenate([shard.impressions.sequence for shard in features.shards(split)])
        path = here.truth / f"date={day}" / "part-0.parquet"
        path.parent.mkdir(parents=True)
        pq.write_table(pa.table({"sequence": sequence, "probability": np.full(len(sequence), 0.3)}), path)
    (found,) = result_of(rows[0], 1, here.features, store=tmp_path).runs
    assert found["test"]["oracle"] == {"auc": 0.5}  # all probabilities are equal


@pytest.mark.slow
def test_the_best_try_on_validation_is_chosen(rows: list[Row], tmp_path: Path) -> None:
    """Tries see no test row, and the best fifth of them are rerun to choose the best mean of three seeds."""
    features = write_features(tmp_path / "features").root

    def valid(train: Train, seeds: int) -> float:
        found = result_of(replace(rows[0], train=train), seeds, features, store=tmp_path).runs
        return sum(record["valid"]["auc"] for record in found) / seeds

    many = tuple(changed(rows[0].train, learning_rate=rate) for rate in (0.001, 0.005, 0.01, 0.02, 0.05, 0.1))
    few = many[1:4]
    of_many, of_few = (result_of(replace(rows[0], tries=tries), 1, features, store=tmp_path) for tries in (many, few))
    finalists = sorted(many, key=lambda train: -valid(train, 1))[:2]
    assert of_many.row.train == max(finalists, key=lambda train: valid(train, 3))
    assert of_few.row.train == max(few, key=lambda train: valid(train, 1))
    page = tables([of_few], KEYS[:1])
    assert "3 configurations tried" in page
    for train, name in zip(few, ("nothing", "learning_rate 0.01", "learning_rate 0.02"), strict=True):
        assert (f"| **{name}** |" if train == of_few.row.train else f"| {name} |") in page


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


def test_unknown_rows_are_named(monkeypatch, capsys) -> None:
    """If no row fits `--only`, the command ends as bad input and lists the rows."""
    monkeypatch.setattr("sys.argv", ["quality", "quality", "--only", "kuairand/FM"])
    assert main() == 2
    assert "'kuairand/FM' is not contained in any of amazon-beauty/LR, kuairand-pure/LR" in capsys.readouterr().err

"""The task `roll_back`: its rules, and a real run."""

import json
from datetime import date
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
import pytest
from airflow.sdk.exceptions import AirflowSkipException

from dags import din_pipeline, pinned_run
from dags.worker import refusal
from din.base.artifacts import hash_files, write_json
from din.release.registry.registry import Registry
from tests.dags.daily_log import FIRST, DailyLog, days
from tests.dags.local_airflow import Airflow
from tests.factories.bundles import crown

RUN = {"run_id": "r", "commit": "c", "until": "2026-01-01", "params": {}, "source": "s"}


@pytest.mark.parametrize(("gate", "undone"), [(None, True), (1, True), (2, True), (3, False)])
def test_nothing_is_undone_without_harm(gate: int | None, undone: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a closed gate can have found harm, and most closed gates have not."""
    pulled = {"open_run": RUN, "gate": None if gate is None else {"exit_code": gate}}
    monkeypatch.setattr(pinned_run, "ask", lambda run, action: undone)
    task: Any = din_pipeline.din_ctr.get_task("roll_back")
    with pytest.raises(AirflowSkipException):
        task.python_callable(ti=SimpleNamespace(xcom_pull=lambda task_ids, **_: pulled[task_ids]))


@pytest.mark.parametrize(
    ("evaluated", "harm", "undone", "refused"),
    [(True, None, None, True), (False, None, None, False), (True, 2, None, False), (False, 2, 2, True)],
)
def test_a_person_looks_unless_the_gate_only_refused(
    evaluated: bool, harm: int | None, undone: int | None, refused: bool
) -> None:
    """A gate that could not be evaluated, and harm that nothing undoes by itself, are red."""
    report: Any = SimpleNamespace(harm=harm, harm_to_undo=undone, gates=[SimpleNamespace(evaluated=evaluated)])
    why = refusal(report, "gate: closed\ntable\ngate: closed; the champion stays\n")
    assert why == ("closed; the champion stays" if refused else None)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_harmful_champion_is_undone_the_next_day(tmp_path_factory: pytest.TempPathFactory) -> None:
    """If a champion whose items are exchanged gets into the registry, Airflow goes back by itself."""
    log = DailyLog(tmp_path_factory.mktemp("log"), 10)
    for day in (dates := days(FIRST, 10)):
        log.land(day)
    daily = {"featurize.protocol": "temporal", "featurize.test_days": 1, "train.start": "champion"}
    airflow = Airflow(tmp_path_factory.mktemp("home"), log.repository(tmp_path_factory.mktemp("it"), daily).root)
    airflow.prepare()

    def run(day: date, **overrides: object) -> int:
        conf = json.dumps({"until": str(day), "overrides": overrides})
        return airflow.run("dags", "test", "din_ctr", "--conf", conf).returncode

    assert run(dates[-2]) == 0
    registry = Registry(str(airflow.repository / "registry"), "table")
    (first,) = registry.history()
    spoiled = registry.fetch(first.version, tmp_path_factory.mktemp("spoiled") / "bundle")
    items = pq.read_table(spoiled / "items.parquet")
    exchanged = items["value"].take([0, *range(len(items) - 1, 0, -1)])
    at = items.schema.get_field_index("value")
    pq.write_table(items.set_column(at, items.schema.field(at), exchanged), spoiled / "items.parquet")
    (spoiled / "manifest.json").unlink()
    write_json(spoiled / "manifest.json", {"files": hash_files(spoiled)})
    crown(registry, spoiled)
    assert run(dates[-1], **{"promote.on_harm": "rollback", "gate.margin": 0.02}) == 0
    back = registry.history()[2]
    assert (back.action, back.version) == ("rollback", first.version)
    assert f"record 2 against record 1, which it replaced, on {dates[-1]}: AUC -0." in back.reason
    ((run_id,),) = airflow.rows("select run_id from dag_run order by id desc limit 1")
    states = airflow.states(run_id)
    assert [states[name] for name in ("gate", "promote", "roll_back", "close_run")] == [
        "skipped", "skipped", "success", "success",
    ]  # fmt: skip
    assert airflow.rows("select source_task_id from asset_event order by id") == [("promote",), ("roll_back",)]

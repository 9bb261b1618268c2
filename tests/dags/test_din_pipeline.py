"""The rendered DAG and how its tasks end, without a scheduler."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import airflow.timetables.trigger as trigger
import jsonschema
import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException
from airflow.serialization.serialized_objects import DagSerialization
from airflow.timetables.base import TimeRestriction
from pendulum import parse
from ruamel.yaml import YAML

from dags import airflow_dag, din_pipeline, pinned_run
from dags.notes import REFUSAL
from din.base import documents
from din.base.errors import InputError, Unavailable
from din.stages import pipeline

ROOT = Path(__file__).parent.parent.parent
OURS = {"open_run", "promote", "roll_back", "close_run"}


def edges(dag: Any) -> dict[str, set[str]]:
    """Return the edges between stages."""
    return {task.task_id: task.upstream_task_ids - OURS for task in dag.tasks if task.task_id not in OURS}


def test_the_dag_has_the_edges_of_dvc_yaml() -> None:
    """Each stage of the committed file is a task of one group, with exactly the file's edges and description."""
    stages = pipeline.read(ROOT / "dvc.yaml")
    assert edges(din_pipeline.din_ctr) == {name: set(stage.upstream) for name, stage in stages.items()}
    assert set(din_pipeline.din_ctr.task_group.children["stages"].children) == set(stages)
    for stage in stages.values():
        assert stage.desc in din_pipeline.din_ctr.get_task(stage.name).doc_md


def test_our_tasks_surround_the_stages() -> None:
    """`open_run` is before all others, the candidate is judged by all stages, and `close_run` waits for every task.

    It is a teardown, so the leaf that decides a run's state is `promote`.
    """
    task = din_pipeline.din_ctr.get_task
    names = set(pipeline.read(ROOT / "dvc.yaml"))
    assert task("open_run").get_flat_relative_ids(upstream=False) == names | OURS - {"open_run"}
    assert task("promote").get_flat_relative_ids(upstream=True) == names | {"open_run"}
    assert task("promote").downstream_task_ids == {"close_run"}
    assert task("open_run").is_setup and task("close_run").is_teardown
    assert not task("close_run").on_failure_fail_dagrun
    assert task("roll_back").upstream_task_ids == {"gate"}
    assert task("close_run").upstream_task_ids == names | OURS - {"close_run"}


def test_the_form_may_be_left_empty() -> None:
    """Each text field may be null: Airflow's form demands a value where a type forbids it, and blocks its button."""
    params = din_pipeline.din_ctr.params
    texts = [name for name in params if params.get_param(name).schema["type"] != "object"]
    assert set(params) - set(texts) == {"overrides"}
    for name in texts:
        assert params[name] is None, name
        assert "null" in params.get_param(name).schema["type"], name


@pytest.mark.parametrize("reason", ["two\nlines", "long" * 300])
def test_a_reason_is_checked_before_the_run(reason: str) -> None:
    """The registry's log takes one line of text, and a run can't be given another reason later."""
    schema = din_pipeline.din_ctr.params.get_param("reason").schema
    jsonschema.validate("because", schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(reason, schema)


@pytest.mark.parametrize("schedule", ["0 3 * * 1", "0 */6 * * *", "30 2 * * 1-5", "@hourly", "60 3 * * *"])
def test_a_run_is_about_the_day_before_it(schedule: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So a schedule that is not a time of every day is refused."""
    monkeypatch.setattr(airflow_dag, "SCHEDULE", schedule)
    with pytest.raises(InputError, match=rf"DIN_SCHEDULE is '{re.escape(schedule)}'; expected a minute and an hour"):
        rendered(tmp_path, "{a: {cmd: x}}")


def rendered(folder: Path, stages: str) -> Any:
    """Return the DAG of a dvc.yaml with these stages."""
    (folder / "dvc.yaml").write_text(f"stages: {stages}")
    return airflow_dag.render(folder / "dvc.yaml")


def test_meta_airflow_becomes_settings_of_the_task(tmp_path: Path) -> None:
    """Given settings apply, and missing ones are the DAG's defaults; only Kubernetes' client can express resources."""
    resources = "{requests: {cpu: 4, memory: 16Gi}, limits: {nvidia.com/gpu: 1}}"
    settings = f"{{airflow: {{retries: 0, pool: gpu, timeout_minutes: 5, queue: big, resources: {resources}}}}}"
    dag = rendered(tmp_path, f"{{a: {{cmd: x, meta: {settings}}}, b: {{cmd: y}}}}")
    a, b = dag.get_task("a"), dag.get_task("b")
    assert (a.retries, a.pool, a.queue, a.execution_timeout) == (0, "gpu", "big", timedelta(minutes=5))
    assert (b.retries, b.pool, b.queue) == (2, "default_pool", "default")
    assert b.execution_timeout > timedelta(0)
    assert b.retry_exponential_backoff > 1
    assert (b.executor_config, "pod_override" in a.executor_config) == ({}, find_spec("kubernetes") is not None)
    kept = documents.check(airflow_dag.Resources, YAML(typ="safe").load(resources), "here").amounts()
    assert kept == {"requests": {"cpu": "4", "memory": "16Gi"}, "limits": {"nvidia.com/gpu": "1"}}


def test_wrong_settings_of_a_task_are_named(tmp_path: Path) -> None:
    """The message holds the stage, the key, the value, and the expectation."""
    with pytest.raises(InputError, match=r"stage 'a': meta\.airflow.*timeout_minutes: .*valid integer.*'1h'"):
        rendered(tmp_path, "{a: {cmd: x, meta: {airflow: {timeout_minutes: 1h}}}}")
    with pytest.raises(InputError, match=r"'retry' is unknown.*retries, pool, timeout_minutes"):
        rendered(tmp_path, "{a: {cmd: x, meta: {airflow: {retry: 1}}}}")


def test_a_new_champion_is_emitted() -> None:
    """A promotion and a rollback emit the asset, and no other task has an outlet."""
    outlets = {task.task_id: [asset.name for asset in task.outlets] for task in din_pipeline.din_ctr.tasks}
    champion = ["din_ctr/champion"]
    assert {task: names for task, names in outlets.items() if names} == {"promote": champion, "roll_back": champion}


def test_a_repository_can_page_on_failures_and_refusals() -> None:
    """The functions given to `render` are called for every task, and for the stages."""
    failed: list[str] = []
    refused: list[str] = []
    dag = airflow_dag.render(ROOT / "dvc.yaml", on_failure=failed.append, on_refusal=refused.append)
    for task in dag.tasks:
        for page in (*task.on_failure_callback, *task.on_skipped_callback):
            page(task.task_id)
    assert set(failed) == set(dag.task_ids)
    assert set(refused) == set(dag.task_ids) - {"open_run", "promote", "roll_back", "close_run"}


def test_markets_have_dags_of_their_own(tmp_path: Path) -> None:
    """Each has its id, its asset and its parameters, and an overlay without a champion is refused."""
    overlay = tmp_path / "de.yaml"
    overlay.write_text("{promote: {model_name: de}, featurize: {fields: {item: {category: categorical}}}}")
    dag = airflow_dag.render(ROOT / "dvc.yaml", dag_id="din_de", overlay=overlay)
    assert (dag.dag_id, dag.get_task("promote").outlets[0].name) == ("din_de", "din_de/champion")
    values = {"promote.model_name": "de", "featurize.fields": {"item": {"category": "categorical"}}}
    assert dag.get_task("open_run").overlay == values
    overlay.write_text("{train: {start: champion}}")
    with pytest.raises(InputError, match=r"de\.yaml: promote\.model_name is missing; name the champion of din_de"):
        airflow_dag.render(ROOT / "dvc.yaml", dag_id="din_de", overlay=overlay)


@pytest.mark.parametrize(
    ("others", "waits"),
    [
        ({"b": ("success", None, "running")}, True),
        ({"b": ("success", "running", "running")}, True),
        ({"b": ("success", "success", "running")}, False),
        ({"b": ("running", None, "running")}, False),
        ({"b": ("success", None, "failed")}, False),
        ({}, False),
    ],
)
def test_a_run_waits_for_an_open_one(others: dict[str, tuple[str, str | None, str]], waits: bool) -> None:
    """A run is open from the end of `open_run` to the end of `close_run`, unless it was ended by hand."""
    states = {run: {"open_run": first, "close_run": last} for run, (first, last, _) in others.items()}
    ti = SimpleNamespace(
        get_task_states=lambda dag_id, task_ids: {"a": {"open_run": "running"}} | states,
        get_dagrun_state=lambda dag_id, run_id: others[run_id][2],
    )
    assert airflow_dag.another_open_run(SimpleNamespace(dag_id="d", run_id="a"), ti) == ("b" if waits else None)


def test_a_scheduled_run_gets_the_day_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """The partition key is the day that ended when the run starts, and unpausing the DAG at noon starts no run."""
    timetable = DagSerialization.from_dict(DagSerialization.to_dict(din_pipeline.din_ctr)).timetable
    monkeypatch.setattr(trigger, "utcnow", lambda: parse("2026-02-28T12:00"))
    info = timetable.next_dagrun_info_v2(
        last_dagrun_info=None, restriction=TimeRestriction(earliest=None, latest=None, catchup=False)
    )
    assert (info.run_after, info.partition_key) == (parse("2026-03-01T00:00"), "2026-02-28")
    assert timetable.resolve_partition_date("2026-02-28") == info.partition_date


def test_parsing_is_light() -> None:
    """Parsing loads no library of a stage, and of din only light modules."""
    code = "import json, sys, dags.din_pipeline; print(json.dumps(list(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    modules = [name.split(".") for name in json.loads(done.stdout.splitlines()[-1])]
    light = {module[1] for module in modules if module[0] == "din" and len(module) > 1}
    assert light == {"base", "neighbours", "params", "plugins", "stages"}
    heavy = {"torch", "pandas", "great_expectations", "dvc", "duckdb", "onnx", "numpy", "pyarrow", "validation"}
    assert heavy & {module[0] for module in modules} == set()


@pytest.mark.parametrize(
    ("code", "error", "told"),
    [
        (2, AirflowFailException, "train exited 2: correct what its message names"),
        (3, AirflowFailException, "train exited 3: the end of its log says why"),
        (1, AirflowException, "train exited 1"),
        (None, AirflowException, r"train left no outcome \(killed\?\)"),
    ],
)
def test_only_bad_input_and_closed_gates_are_final(code: int | None, error: type[Exception], told: str) -> None:
    """Exit codes 2 and 3 fail at once, and a bug, a kill or a missing outcome is retried; the outcome is kept first."""
    kept: dict[str, Any] = {}
    ti = SimpleNamespace(xcom_push=kept.__setitem__)
    with pytest.raises(AirflowException, match=told) as raised:
        airflow_dag.settle(pinned_run.TaskOutcome("train", code, "reports/x.json", "table"), ti)
    assert type(raised.value) is error
    about = {"stage": "train", "exit_code": code, "report": "reports/x.json", "table": "table", "refusal": None}
    assert kept["outcome"] == about
    airflow_dag.settle(pinned_run.TaskOutcome("train", 0, None, ""), ti)
    assert kept["outcome"]["exit_code"] == 0


def test_a_refused_candidate_is_no_failure() -> None:
    """The task is skipped, and the run's note gets the lines below the table. A closed gate without them is red."""
    kept: dict[str, Any] = {}
    ti = SimpleNamespace(xcom_push=kept.__setitem__)
    refused = pinned_run.TaskOutcome("gate", 3, None, "table", "closed; the champion stays")
    with pytest.raises(AirflowSkipException, match="refused"):
        airflow_dag.settle(refused, ti)
    assert (kept[REFUSAL], kept["outcome"]["exit_code"]) == ("closed; the champion stays", 3)
    with pytest.raises(AirflowFailException, match="the end of its log says why"):
        airflow_dag.settle(replace(refused, refusal=None), ti)


def test_a_run_that_cannot_be_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wrong settings of a worker fail the last task at once too."""
    monkeypatch.setenv("DIN_REPOSITORY", "https://example.com/ctr.git")
    monkeypatch.delenv("DIN_HOME", raising=False)
    run = {"run_id": "r", "commit": "0" * 40, "until": "", "params": {}, "source": ""}
    task: Any = din_pipeline.din_ctr.get_task("close_run")
    with pytest.raises(AirflowFailException, match="set DIN_HOME to a folder of this worker"):
        task.python_callable(ti=SimpleNamespace(xcom_pull=lambda task_ids: run))


def test_bad_input_outside_a_stage_is_final() -> None:
    """An unknown parameter in the form, say, fails the task at once; what may pass is left to retries."""
    with pytest.raises(AirflowFailException, match=r"'train\.epoch' is unknown"), airflow_dag.final():
        raise InputError("parameter 'train.epoch' is unknown")
    with pytest.raises(Unavailable), airflow_dag.final():
        raise Unavailable("no network")

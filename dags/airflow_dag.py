"""The Airflow DAG `din_ctr`: open_run, the stages of dvc.yaml with DVC's edges, promote, close_run.

Each task asks `dags.pinned_run` to work in the run's isolated checkout, and ends according to the outcome's exit code.
A run's day is its partition key. Parsing loads no training code, because stages run as commands.

Runs of the DAG never overlap, whoever started them: `open_run` waits until no other run is open.

A gate that refuses the candidate is skipped, and so is `promote`: nothing is broken, and the champion stays. Failures
are checks of data and export that fail, gates that could not be evaluated, and harm that waits for a person. If the
gate found that the champion's last step harmed, `roll_back` goes back to the champion before, where
`promote.on_harm` says so.

`close_run` is a teardown: it runs even if the run failed, and it doesn't count for the run's state. Clearing a task
clears `open_run` and `close_run` too, so that a cleared task finds a workspace. `dags.monitor` is a DAG of its own.
"""

import json
import os
import re
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from threading import Event, Thread
from typing import Annotated, Any

from airflow.sdk import (
    DAG,
    Asset,
    BaseSensorOperator,
    CronPartitionTimetable,
    Param,
    PokeReturnValue,
    TaskGroup,
    TriggerRule,
    task,
)
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException
from pydantic import Field, NonNegativeInt, PositiveInt, TypeAdapter

from dags import pinned_run
from dags.notes import REFUSAL
from din.base import documents
from din.base.errors import GateClosed, InputError
from din.base.names import Line
from din.params.overlays import read_overlay
from din.params.train import WEEKDAYS
from din.stages import pipeline
from din.stages.pipeline import Stage

SCHEDULE = os.environ.get("DIN_SCHEDULE", "0 0 * * *")  # cron, UTC, once a day; a run's data day is the day before it
RETRY_SECONDS = float(os.environ.get("DIN_RETRY_SECONDS", "60"))  # before the first retry; doubles up to half an hour
NEXT_STEPS: dict[int | None, str] = {
    InputError.exit_code: "correct what its message names, then clear this task; a corrected log needs a new run",
    GateClosed.exit_code: "the end of its log says why, and what can be done; all reports are in the record of the run",
}
"""The next step after each failure that a retry would only repeat. Any other failure is retried."""


def _text(description: str, **schema: Any) -> Param:
    """Return a field that may stay empty: null in its type, or the form would demand a value."""
    return Param(None, type=["null", "string"], description=description, **schema)


def _choice(description: str, options: Sequence[str]) -> Param:
    return _text(description, enum=[None, *options], values_display={"null": "as params.yaml says"})


_LINE = TypeAdapter(Line).json_schema()
LINE: Any = {key: _LINE[key] for key in ("maxLength", "pattern")}  # the registry's log takes nothing else
FORM: Any = {  # a ParamsDict to the type checker; DAG makes it one
    "until": _text("Last data day; empty: data.until, or else the newest day of the log.", format="date"),
    "commit": _text("Branch, tag or full commit id to run; empty: the DAG's own, else HEAD."),
    "start": _choice("Learn by epochs, or continue the champion.", ["scratch", "champion"]),
    "scratch_day": _choice("With champion: the weekday of a challenger from scratch.", WEEKDAYS),
    "overrides": Param({}, type="object", description='Keys of params.yaml, such as {"train.learning.epochs": 3}.'),
    "reason": _text("Why, for the registry's log; empty: gate open.", **LINE),
}
Text = Annotated[str, Field(min_length=1)]
Callback = Callable[[Mapping[str, Any]], object]


def settle(outcome: pinned_run.TaskOutcome, ti: Any) -> None:
    """Keep the outcome in XCom, and end the task accordingly.

    Raises:
        AirflowSkipException: the candidate is refused.
        AirflowFailException: bad input or a failed check, which fails the task at once.
        AirflowException: any other failure, which Airflow retries.
    """
    ti.xcom_push("outcome", asdict(outcome))
    if outcome.refusal:
        ti.xcom_push(REFUSAL, outcome.refusal)
        raise AirflowSkipException("the gate refused the candidate; the lines above say why")
    if next_step := NEXT_STEPS.get(outcome.exit_code):
        raise AirflowFailException(f"{outcome.stage} exited {outcome.exit_code}: {next_step}")
    if outcome.exit_code != 0:
        how = "left no outcome (killed?)" if outcome.exit_code is None else f"exited {outcome.exit_code}"
        raise AirflowException(f"{outcome.stage} {how}")


@contextmanager
def final() -> Iterator[None]:
    """Fail the task at once where no retry can cure it: on bad input or a closed gate; retry network, disk and git.

    If Airflow's supervisor of the task is killed, the task ends too, since nobody would learn what becomes of it.
    """
    ended = Event()
    supervisor = os.getppid()

    def watch() -> None:
        while not ended.wait(1):
            if os.getppid() != supervisor:
                os.kill(os.getpid(), signal.SIGKILL)

    Thread(target=watch, daemon=True).start()
    try:
        yield
    except (InputError, GateClosed) as error:
        raise AirflowFailException(str(error)) from None
    finally:
        ended.set()


def opened(ti: Any) -> pinned_run.PinnedRun:
    """Pull the run that `open_run` pinned; as an argument, it would add edges that dvc.yaml doesn't have."""
    return pinned_run.PinnedRun(**ti.xcom_pull(task_ids="open_run"))


def another_open_run(run: Any, ti: Any) -> str | None:
    """Return the id of another run of this DAG that is between `open_run` and `close_run`, or None."""
    states = ti.get_task_states(run.dag_id, task_ids=["open_run", "close_run"])
    for run_id, state in states.items():
        is_open = state.get("open_run") == "success" and state.get("close_run") != "success"
        if is_open and run_id != run.run_id and ti.get_dagrun_state(run.dag_id, run_id) == "running":
            return run_id
    return None


class OpenRun(BaseSensorOperator):
    """Wait until no other run is open; pin day, commit, parameters and the source's fingerprint for all tasks.

    Args:
        overlay: the DAG's values for params.yaml, by dotted key.
    """

    def __init__(self, *, overlay: Mapping[str, Any], **settings: Any) -> None:
        super().__init__(**settings)
        self.overlay = overlay

    def poke(self, context: Any) -> PokeReturnValue:
        """Open the run, unless another one is open."""
        params, dag_run, ti = context["params"], context["dag_run"], context["ti"]
        if other := another_open_run(dag_run, ti):
            self.log.info("waiting until run %s is closed, since the champion that it leaves is the one to beat", other)
            return PokeReturnValue(is_done=False)
        until = dag_run.partition_key or params["until"]
        bundle = getattr(ti, "bundle_instance", None)  # missing under `airflow dags test`
        commit = params["commit"] or (bundle and bundle.version)  # of a Git bundle: the commit of these tasks
        schedule = {f"train.{name}": params[name] for name in ("start", "scratch_day") if params[name]}
        run_id = f"{dag_run.dag_id}.{dag_run.run_id}"  # other DAGs have runs of the same id
        with final():
            values = {**self.overlay, **pinned_run.dotted(params["overrides"]), **schedule}
            run = pinned_run.open_run(run_id, until=until, params=values, commit=commit)
        return PokeReturnValue(is_done=True, xcom_value=asdict(run))


@task
def run_stage(stage: str, ti: Any = None) -> None:
    """Run one stage of dvc.yaml."""
    with final():
        settle(pinned_run.run_stages(opened(ti), [stage]), ti)


@task
def promote(params: Any = None, dag_run: Any = None, ti: Any = None) -> None:
    """Make the bundle the champion if the gate is open for exactly this bundle, and emit the asset of the champion."""
    with final():
        settle(pinned_run.promote(opened(ti), params["reason"] or "", user=dag_run.triggering_user_name), ti)


@task(trigger_rule=TriggerRule.ALL_SKIPPED)
def roll_back(dag_run: Any = None, ti: Any = None) -> None:
    """Undo the proven harm of the champion's last step, and emit the asset of the champion.

    The task is skipped without such harm, and with `promote.on_harm: ask`: the log of the gate has the command.
    """
    closed = (ti.xcom_pull(task_ids="gate", key="outcome") or {}).get("exit_code") == GateClosed.exit_code
    with final():
        if not (closed and pinned_run.ask(opened(ti), "undoes_harm")):
            raise AirflowSkipException("no gate has found harm of the champion's last step that is undone by itself")
        settle(pinned_run.promote(opened(ti), reason="", user=dag_run.triggering_user_name), ti)


@task
def close_run(ti: Any = None) -> None:
    """Keep lock and parameters in the run's record, and remove the workspace."""
    with final():
        pinned_run.ask(opened(ti), "close")


@dataclass(frozen=True)
class Resources:
    """The resources of a pod, as Kubernetes writes them."""

    __pydantic_config__ = documents.STRICT

    requests: dict[str, str | int | float] = field(default_factory=dict)
    limits: dict[str, str | int | float] = field(default_factory=dict)

    def amounts(self) -> dict[str, dict[str, str]]:
        """Return requests and limits as text, which is what Kubernetes' client takes."""
        return {kind: {name: str(amount) for name, amount in of.items()} for kind, of in asdict(self).items()}

    def executor_config(self) -> dict[str, Any]:
        """Return them for the KubernetesExecutor; nothing without its client, which every other executor can lack."""
        if find_spec("kubernetes") is None:
            return {}
        client = import_module("kubernetes.client")
        container = client.V1Container(name="base", resources=client.V1ResourceRequirements(**self.amounts()))
        return {"pod_override": client.V1Pod(spec=client.V1PodSpec(containers=[container]))}


@dataclass(frozen=True)
class TaskSettings:
    """`meta.airflow` of a stage; None means the DAG's default."""

    __pydantic_config__ = documents.STRICT

    retries: NonNegativeInt | None = None
    pool: Text | None = None
    timeout_minutes: PositiveInt | None = None
    queue: Text | None = None
    resources: Resources | None = None

    def of_task(self) -> dict[str, Any]:
        """Return the arguments of Airflow's task."""
        values: dict[str, Any] = {"retries": self.retries, "pool": self.pool, "queue": self.queue}
        if self.timeout_minutes:
            values["execution_timeout"] = timedelta(minutes=self.timeout_minutes)
        if self.resources:
            values["executor_config"] = self.resources.executor_config()
        return {name: value for name, value in values.items() if value is not None}


def render(
    dvc_yaml: Path,
    on_failure: Callback | None = None,
    on_refusal: Callback | None = None,
    dag_id: str = "din_ctr",
    overlay: Path | None = None,
) -> DAG:
    """Return the DAG of the stages of a dvc.yaml, with its edges.

    `close_run` waits for every task, because it removes the workspace that they use.

    Args:
        dvc_yaml: the file.
        on_failure: is called with Airflow's context for each task that failed for good, e.g. to page.
        on_refusal: is called with Airflow's context of `gate` if it refused the candidate.
        dag_id: the DAG's id, which is also part of the names of its runs in the registry, and of its asset.
        overlay: parameters of this DAG, for one of several markets in one repository. They replace those of
            params.yaml, and name a champion (`promote.model_name`).

    Raises:
        InputError: the file is unreadable or malformed; see `din.stages.pipeline.parse`. `meta.airflow` of a stage
            holds an unknown key or a wrong value. `DIN_SCHEDULE` is not a time of every day. The overlay can't be read,
            names no champion, or sets what may not differ by market.
    """
    if not re.fullmatch(r"[0-5]?\d ([01]?\d|2[0-3]) \* \* \*", SCHEDULE):
        raise InputError(
            f"DIN_SCHEDULE is {SCHEDULE!r}; expected a minute and an hour of every day, such as 30 2 * * *: each run "
            "learns the day before it"
        )
    stages = pipeline.read(dvc_yaml).values()
    params = pinned_run.dotted(json.loads(json.dumps(read_overlay(overlay), default=str))) if overlay else {}
    if overlay and "promote.model_name" not in params:
        raise InputError(f"{overlay}: promote.model_name is missing; name the champion of {dag_id}, which is its own")
    for key in params:
        if pinned_run.not_for_a_run(key):
            raise InputError(f"{overlay}: {key} can't differ by market; set it in params.yaml")
    champion = [Asset(name=f"{dag_id}/champion")]
    with DAG(
        dag_id,
        description="Retrain the CTR model on one more day; promote it if every gate is open.",
        doc_md=__doc__,
        schedule=CronPartitionTimetable(SCHEDULE, timezone="UTC", run_offset=-1, key_format="%Y-%m-%d"),
        catchup=False,
        max_active_runs=1,  # Airflow counts backfills apart, so `open_run` waits too
        rerun_with_latest_version=False,  # a cleared run or a backfill keeps its bundle version
        params=FORM,
        default_args={
            "owner": "din-ctr",
            "retries": 2,
            "retry_delay": timedelta(seconds=RETRY_SECONDS),
            "retry_exponential_backoff": 2.0,
            "max_retry_delay": timedelta(minutes=30),
            "execution_timeout": timedelta(hours=1),
            "on_failure_callback": on_failure,
        },
        tags={"ctr", "din"},
    ) as dag:
        first: Any = OpenRun(
            task_id="open_run",
            overlay=params,
            mode="reschedule",
            poke_interval=60,  # when it is a few seconds, Airflow confuses one try with the next
            max_active_tis_per_dag=1,  # or two runs might find each other closed
            execution_timeout=timedelta(hours=2),  # like `fetch`, since the fingerprint may need the whole log
        )
        promotion: Any = promote.override(outlets=champion)()
        back: Any = roll_back.override(outlets=champion)()
        with TaskGroup("stages", prefix_group_id=False):
            tasks = {stage.name: render_stage(stage, on_refusal) for stage in stages}
        for stage in stages:
            tasks[stage.name].set_upstream([tasks[name] for name in stage.upstream] or first)
        awaited = {name for stage in stages for name in stage.upstream}
        last = [tasks[name] for name in tasks if name not in awaited]
        back.set_upstream(tasks.get("gate", last))
        promotion.set_upstream(last)
        close_run().as_teardown(setups=first).set_upstream([*tasks.values(), promotion, back])
    return dag


def render_stage(stage: Stage, on_refusal: Callback | None) -> Any:
    """Return a stage as a task."""
    where = f"dvc.yaml: stage {stage.name!r}: meta.airflow"
    settings = documents.check(TaskSettings, stage.meta.get("airflow") or {}, where).of_task()
    text = f"{stage.desc}\n\n`{stage.command}`"
    return run_stage.override(task_id=stage.name, doc_md=text, on_skipped_callback=on_refusal, **settings)(stage.name)

"""The Airflow DAG `din_ctr`: open_run, the stages of dvc.yaml with DVC's edges, promote, close_run.

Each task asks `dags.pinned_run` to work in the run's isolated checkout, and ends according to the outcome's exit code.
A run's day is its partition key. Parsing loads no training code, because stages run as commands.

`roll_back` is skipped unless the gate has failed. If the gate found that the champion's last step harmed, the task goes
back to the champion before, where `promote.on_harm` says so. The run stays failed.

`close_run` is a teardown: it runs even if the run failed, and it doesn't count for the run's state. Clearing a task
clears `open_run` and `close_run` too, so that a cleared task finds a workspace. `dags.monitor` is a DAG of its own.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

from airflow.sdk import DAG, Asset, CronPartitionTimetable, Param, TaskGroup, TriggerRule, task
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException
from pydantic import Field, NonNegativeInt, PositiveInt, TypeAdapter

from dags import pinned_run
from din.base import documents
from din.base.errors import GateClosed, InputError
from din.base.names import Line
from din.params.train import WEEKDAYS
from din.stages import pipeline
from din.stages.pipeline import Stage

SCHEDULE = os.environ.get("DIN_SCHEDULE", "0 0 * * *")  # cron, UTC, once a day; a run's data day is the day before it
RETRY_SECONDS = float(os.environ.get("DIN_RETRY_SECONDS", "60"))  # before the first retry; doubles up to half an hour
CHAMPION = Asset(name="din/champion")
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


def settle(outcome: pinned_run.TaskOutcome, ti: Any) -> None:
    """Keep the outcome in XCom, and end the task accordingly.

    Raises:
        AirflowFailException: bad input or a closed gate, which fails the task at once.
        AirflowException: any other failure, which Airflow retries.
    """
    ti.xcom_push("outcome", asdict(outcome))
    if next_step := NEXT_STEPS.get(outcome.exit_code):
        raise AirflowFailException(f"{outcome.stage} exited {outcome.exit_code}: {next_step}")
    if outcome.exit_code != 0:
        how = "left no outcome (killed?)" if outcome.exit_code is None else f"exited {outcome.exit_code}"
        raise AirflowException(f"{outcome.stage} {how}")


@contextmanager
def final() -> Iterator[None]:
    """Fail the task at once where no retry can cure it: on bad input or a closed gate; retry network, disk and git."""
    try:
        yield
    except (InputError, GateClosed) as error:
        raise AirflowFailException(str(error)) from None


def opened(ti: Any) -> pinned_run.PinnedRun:
    """Pull the run that `open_run` pinned; as an argument, it would add edges that dvc.yaml doesn't have."""
    return pinned_run.PinnedRun(**ti.xcom_pull(task_ids="open_run"))


@task(execution_timeout=timedelta(hours=2))  # like `fetch`, since the fingerprint may need the whole log
def open_run(params: Any = None, dag_run: Any = None, ti: Any = None) -> dict[str, Any]:
    """Pin day, commit, parameters and the source's fingerprint for all tasks of this run."""
    until = dag_run.partition_key or params["until"]
    bundle = getattr(ti, "bundle_instance", None)  # missing under `airflow dags test`
    commit = params["commit"] or (bundle and bundle.version)  # the version of a Git bundle is the commit of these tasks
    schedule = {f"train.{name}": params[name] for name in ("start", "scratch_day") if params[name]}
    with final():
        run = pinned_run.open_run(dag_run.run_id, until=until, params=params["overrides"] | schedule, commit=commit)
    return asdict(run)


@task
def run_stage(stage: str, ti: Any = None) -> None:
    """Run one stage of dvc.yaml."""
    with final():
        settle(pinned_run.run_stages(opened(ti), [stage]), ti)


@task(outlets=[CHAMPION])
def promote(params: Any = None, dag_run: Any = None, ti: Any = None) -> None:
    """Make the bundle the champion if the gate is open for exactly this bundle, and emit the asset `din/champion`."""
    with final():
        settle(pinned_run.promote(opened(ti), params["reason"] or "", user=dag_run.triggering_user_name), ti)


@task(outlets=[CHAMPION], trigger_rule=TriggerRule.ONE_FAILED)
def roll_back(dag_run: Any = None, ti: Any = None) -> None:
    """Undo the proven harm of the champion's last step, and emit the asset `din/champion`.

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
class TaskSettings:
    """`meta.airflow` of a stage; None means the DAG's default."""

    __pydantic_config__ = documents.STRICT

    retries: NonNegativeInt | None = None
    pool: Text | None = None
    timeout_minutes: PositiveInt | None = None
    queue: Text | None = None


def render(dvc_yaml: Path, on_failure: Callable[[Mapping[str, Any]], object] | None = None) -> DAG:
    """Return the DAG of the stages of a dvc.yaml, with its edges.

    `close_run` waits for every task, because it removes the workspace that they use.

    Args:
        dvc_yaml: the file.
        on_failure: is called with Airflow's context for each task that failed for good, e.g. to page.

    Raises:
        InputError: the file is unreadable or malformed; see `din.stages.pipeline.parse`. `meta.airflow` of a stage
            holds an unknown key or a wrong value. `DIN_SCHEDULE` is not a time of every day.
    """
    if not re.fullmatch(r"[0-5]?\d ([01]?\d|2[0-3]) \* \* \*", SCHEDULE):
        raise InputError(
            f"DIN_SCHEDULE is {SCHEDULE!r}; expected a minute and an hour of every day, such as 30 2 * * *: each run "
            "learns the day before it"
        )
    stages = pipeline.read(dvc_yaml).values()
    with DAG(
        "din_ctr",
        description="Retrain the CTR model on one more day; promote it if every gate is open.",
        doc_md=__doc__,
        schedule=CronPartitionTimetable(SCHEDULE, timezone="UTC", run_offset=-1, key_format="%Y-%m-%d"),
        catchup=False,
        max_active_runs=1,  # a candidate is compared with the champion that the previous run left
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
        first: Any = open_run()
        promotion: Any = promote()
        back: Any = roll_back()
        with TaskGroup("stages", prefix_group_id=False):
            tasks = {stage.name: render_stage(stage) for stage in stages}
        for stage in stages:
            tasks[stage.name].set_upstream([tasks[name] for name in stage.upstream] or first)
        awaited = {name for stage in stages for name in stage.upstream}
        last = [tasks[name] for name in tasks if name not in awaited]
        back.set_upstream(last)
        promotion.set_upstream(last)
        close_run().as_teardown(setups=first).set_upstream([*tasks.values(), promotion, back])
    return dag


def render_stage(stage: Stage) -> Any:
    """Return a stage as a task."""
    where = f"dvc.yaml: stage {stage.name!r}: meta.airflow"
    settings = documents.check(TaskSettings, stage.meta.get("airflow") or {}, where)
    overrides = {key: value for key, value in asdict(settings).items() if value is not None}
    if minutes := overrides.pop("timeout_minutes", None):
        overrides["execution_timeout"] = timedelta(minutes=minutes)
    return run_stage.override(task_id=stage.name, doc_md=f"{stage.desc}\n\n`{stage.command}`", **overrides)(stage.name)

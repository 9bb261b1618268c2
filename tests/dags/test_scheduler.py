"""Days run by a real scheduler, most of them with a fault.

The tests tell one story in order: the scheduled run; a backfill of two days with a killed stage and a killed scheduler;
a day with a defect, corrected and run again with the next day; an old day run again; and the state at the end.
"""

import json
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from din.base.artifacts import sha256_file
from din.base.process import environment, query
from din.release.registry.records import run_key
from tests.dags.daily_log import FIRST, days
from tests.dags.local_airflow import wait_for
from tests.dags.story import Story, recorded

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
DAYS = days(FIRST, 12)
ZERO, ONE, TWO, THREE, FOUR, FIVE = DAYS[-6:]


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    with closing(Story(tmp_path_factory.mktemp("story"), DAYS, landed=DAYS.index(ONE))) as story:
        yield story


def test_the_scheduled_run_promotes(story: Story) -> None:
    """The run's day is yesterday, and the bundle is as new as the log, which ends long before."""
    run_id, state = story.ended(story.yesterday)
    assert state == "success"
    assert story.airflow.rows("select run_id, run_type from dag_run") == [(run_id, "scheduled")]
    (record,) = story.promotions()
    assert (record["run_id"], story.until(record["version"])) == (recorded(run_id), str(ZERO))
    assert (record["action"], record["reason"]) == ("promote", "gate open")
    assert story.airflow.rows("select source_task_id from asset_event") == [("promote",)]


def test_a_killed_stage_is_retried(story: Story) -> None:
    """SIGKILL of the stage's process costs one try, and the day ends promoted."""
    for day in (ONE, TWO):
        story.log.land(day)
    story.backfill(ONE, TWO)
    run_id = story.wait_running(ONE, "featurize")
    wait_for(lambda: story.stage_pid())
    os.kill(story.stage_pid(), signal.SIGKILL)
    assert story.ended(ONE) == (run_id, "success")
    assert story.tries(run_id)["featurize"] == 2
    assert [record["run_id"] for record in story.promotions()][1:] == [recorded(run_id)]


def test_a_killed_scheduler_loses_nothing(story: Story) -> None:
    """After SIGKILL of the scheduler within a task, a new scheduler ends the day promoted by one record."""
    run_id = story.wait_running(TWO, "train")
    story.components["scheduler"].kill()
    story.components["scheduler"].wait()
    story.start_scheduler()
    assert story.ended(TWO) == (run_id, "success")
    assert [record["run_id"] for record in story.promotions()].count(recorded(run_id)) == 1
    assert story.until(story.promotions()[-1]["version"]) == str(TWO)


def test_a_day_with_a_defect_is_red_and_leaves_the_champion(story: Story) -> None:
    """Rows delivered three times stop the run at the raw log without a retry, and only `close_run` runs after it."""
    before = story.promotions()
    story.log.land(THREE)
    story.log.land(FOUR, copies=3)
    story.backfill(FOUR, FOUR)
    run_id, state = story.ended(FOUR)
    assert state == "failed"
    states = story.airflow.states(run_id)
    succeeded = {task for task, state in states.items() if state == "success"}
    assert succeeded == {"open_run", "code", "fetch", "close_run"}
    assert states["validate_raw"] == "failed"
    assert story.tries(run_id)["validate_raw"] == 1
    assert story.promotions() == before


def test_a_corrected_day_is_run_again_and_the_next_follows(story: Story) -> None:
    """The backfill adds new runs, the failed one stays in the history, and champions follow the days."""
    story.log.land(FOUR)
    story.log.land(FIVE)
    story.backfill(FOUR, FIVE, "--reprocess-behavior", "failed")
    assert story.ended(FOUR, count=2)[1] == "success"
    assert story.ended(FIVE)[1] == "success"
    assert [state for _, state in story.runs(FOUR)] == ["failed", "success"]
    promoted = [story.until(record["version"]) for record in story.promotions()]
    assert promoted == [str(day) for day in (ZERO, ONE, TWO, FOUR, FIVE)]


def test_an_old_day_gives_the_same_bits_and_replaces_nobody(story: Story) -> None:
    """A manual run of an old day makes the bundle promoted then, which is refused because its data is older."""
    before = story.promotions()
    body = {"logical_date": None, "partition_key": str(ONE)}
    run_id = story.airflow.call("POST", "/dags/din_ctr/dagRuns", body)["dag_run_id"]
    assert story.ended(ONE, count=2) == (run_id, "success")
    states = story.airflow.states(run_id)
    assert {task for task, state in states.items() if state == "skipped"} == {"gate", "promote", "roll_back"}
    gate = json.loads((story.registry / run_key(recorded(run_id)) / "reports" / "gate.json").read_text())
    assert gate["bundle"] == before[1]["version"]
    assert [row["name"] for row in gate["gates"] if row["verdict"] != "open"] == ["data_until"]
    assert story.promotions() == before


def test_every_workspace_is_gone(story: Story) -> None:
    """`close_run` ran in every run, and the scheduler started no second run of its own."""
    sql = "select distinct state from task_instance where task_id = 'close_run'"
    assert story.airflow.rows(sql) == [("success",)]
    assert story.airflow.rows("select count(*) from dag_run where run_type = 'scheduled'") == [(1,)]
    assert [path.name for path in story.repository.rglob("workspaces/*")] == []


def test_registry_and_cache_are_whole(story: Story, tmp_path: Path) -> None:
    """Everything that promotions name is intact, and each one's dvc.lock restores its bundle from the remote alone."""
    query(["din", "registry", "verify"], story.repository, environment())
    query(["git", "clone", "--quiet", str(story.repository), str(tmp_path)], None, environment())
    remote = story.repository / ".din" / "runs" / "remote"
    query(["dvc", "remote", "add", "--local", "--default", "runs", str(remote)], tmp_path, environment())
    for record in story.promotions():
        for name in ("dvc.lock", "params.yaml"):
            shutil.copy(story.registry / run_key(record["run_id"]) / name, tmp_path)
        query(["dvc", "pull", "--force"], tmp_path, environment())
        assert sha256_file(tmp_path / "models" / "bundle" / "manifest.json") == record["version"]

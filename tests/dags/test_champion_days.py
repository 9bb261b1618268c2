"""Five days run by a real scheduler, in which the champion goes on from day to day.

The first day of the backfill finds no champion and learns by epochs. The scheduled run before it is refused, because
its day is yesterday, long after the log's end.
"""

import json
import math
from collections.abc import Iterator
from contextlib import closing
from datetime import date, datetime
from itertools import pairwise
from typing import Any

import pytest
from daily_log import FIRST, days
from story import Story

from din.model import artifact
from din.names import RunId
from din.registry.champions import NONE
from din.registry.records import run_key

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
DAYS = days(FIRST, 10)
RUN = DAYS[-5:]
PARAMS = {
    "featurize.protocol": "temporal",
    "featurize.test_days": 1,
    "train.start": "champion",
}


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """The scheduled run and five days, all of which have ended."""
    with closing(Story(tmp_path_factory.mktemp("story"), DAYS, len(DAYS), PARAMS)) as story:
        story.ended(story.yesterday)
        story.backfill(RUN[0], RUN[-1])
        for day in RUN:
            story.ended(day)
        yield story


@pytest.fixture
def versions(story: Story) -> list[str]:
    """The promoted bundles, oldest first."""
    return [record["version"] for record in story.promotions()]


def moments(story: Story, versions: list[str], name: str) -> list[date]:
    """Return the day of a moment in the facts of each bundle."""
    return [datetime.fromisoformat(story.facts(version)[name]).date() for version in versions]


def test_a_day_that_the_log_has_not_reached_is_refused(story: Story) -> None:
    """There is no row of that day to judge a model on, and a retry would not find one."""
    run_id, state = story.ended(story.yesterday)
    assert (state, story.airflow.states(run_id)["featurize"]) == ("failed", "failed")
    assert story.tries(run_id)["featurize"] == 1


def test_every_task_of_every_day_succeeds(story: Story) -> None:
    """One run a day, without a failed task, one promotion a run, and nothing to roll back."""
    runs = [run for day in RUN for run in story.runs(day)]
    assert [state for _, state in runs] == ["success"] * len(RUN)
    states = [story.airflow.states(run_id) for run_id, _ in runs]
    assert {found.pop("roll_back") for found in states} == {"skipped"}
    assert {state for found in states for state in found.values()} == {"success"}
    made = [(record["action"], record["run_id"]) for record in story.promotions()]
    assert made == [("promote", RunId.of(run_id)) for run_id, _ in runs]


def test_each_day_goes_on_from_the_day_before(story: Story, versions: list[str]) -> None:
    """The first run is pinned to no champion, each later one to the bundle that the run before it promoted."""
    pinned = [story.registry / run_key(record["run_id"]) / "run.json" for record in story.promotions()]
    assert [json.loads(path.read_text())["champion"] for path in pinned] == [NONE, *versions[:-1]]
    assert [story.facts(version)["params"]["train"]["champion"] for version in versions] == [NONE, *versions[:-1]]
    assert [record["previous"] for record in story.promotions()] == [None, *versions[:-1]]


def test_each_model_is_judged_on_a_day_and_then_learns_it(story: Story, versions: list[str]) -> None:
    """Today's judged model has learned as much as yesterday's shipped one, and both moments move by a day."""
    assert [story.until(version) for version in versions] == [str(day) for day in RUN]
    assert moments(story, versions, "judged_until") == DAYS[-6:-1]
    assert moments(story, versions, "seen_until") == RUN
    for before, after in pairwise(map(story.facts, versions)):
        assert after["judged_until"] == before["seen_until"]


def test_the_optimizer_goes_on(story: Story, versions: list[str]) -> None:
    """Each day after the first adds the steps of one pass over the day's rows, and nothing else."""

    def steps(version: str) -> int:
        return int(artifact.read_state(story.bundle(version) / artifact.IN_BUNDLE)["sparse.steps"])

    def lesson(facts: dict[str, Any]) -> int:
        return math.ceil(facts["rows"]["test"] / facts["params"]["train"]["learning"]["batch_size"])

    for before, after in pairwise(versions):
        assert steps(after) - steps(before) == lesson(story.facts(after)) > 0

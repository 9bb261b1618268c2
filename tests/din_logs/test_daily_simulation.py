"""The log without end has the promised properties, and a longer one begins with the same days."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from din.base.artifacts import hash_files, read_json
from din.base.workspace import Workspace
from din.contracts.facts import Oracle
from din.data.fetch import describe, fetch
from din.data.source import Earlier
from din.metrics.ranking import auc
from din.params.fetch import Daily, Simulate
from din.params.reading import Params
from din.train.evaluate import oracle
from din.train.predict import Predictions
from din_logs.daily_simulation import FIRST_DAY, PRIOR_DAYS, DailySimulation, World
from tests.din_logs import daily_simulation_twin as twin

Build = Callable[..., Params]

PATHS = ("events", "truth")
NOTHING = Earlier(files={}, digest=str, accept_shrunk=False)


def until(day: int) -> date:
    return FIRST_DAY + timedelta(days=day)


def partition(table: str, day: int) -> str:
    """Return the path of a day's file of events or of true probabilities."""
    return f"{table}/date={until(day)}/part-0.parquet"


@pytest.fixture(scope="module")
def shipped(params: Params) -> Simulate:
    """Return the shipped parameters, without end."""
    return changed(params.fetch.simulate)


def changed(block: Simulate, **daily: Any) -> Simulate:
    return replace(block, daily=replace(block.daily or Daily(impressions=20_000), **daily))


_LIVES = st.none() | st.integers(1, 9)
BLOCKS = st.builds(
    lambda categories, more, **others: Simulate(categories=categories, items=categories + more, **others),
    categories=st.integers(5, 7),
    more=st.integers(0, 9),
    users=st.integers(1, 6),
    days=st.integers(1, 3),
    seed=st.integers(0, 99),
    daily=st.builds(
        Daily,
        impressions=st.integers(1, 40),
        interest_days=_LIVES,
        item_days=_LIVES,
        fashion=st.floats(0, 3),
        fashion_days=_LIVES,
        weekly_traffic=st.floats(0, 0.99),
        weekly_ctr=st.floats(0, 3),
    ),
)
"""Small parameters: one user or impression, as many items as categories, lives of a day, or none."""


@given(BLOCKS, st.integers(0, 8), st.integers(1, 4))
@settings(max_examples=6)
def test_a_later_until_only_adds_days(block: Simulate, day: int, more: int) -> None:
    """Files of days are equal byte by byte, the history too, and the items are those that appeared until the day."""
    with TemporaryDirectory() as first, TemporaryDirectory() as second:
        DailySimulation(Workspace(Path(first)), block, until(day)).write(Path(first), NOTHING)
        source = DailySimulation(Workspace(Path(second)), block, until(day + more))
        described = source.write(Path(second), NOTHING).described
        earlier, later = hash_files(Path(first)), hash_files(Path(second))
        items = [pq.read_table(Path(folder) / "items.parquet") for folder in (first, second)]
        sequence = pq.read_table(Path(second) / "truth", columns=["sequence"])["sequence"].to_pylist()
    assert earlier.keys() <= later.keys()
    assert {path for path in earlier if later[path] != earlier[path]} <= {"items.parquet"}
    assert later.keys() - earlier.keys() == {partition(table, day + 1 + i) for table in PATHS for i in range(more)}
    ids = [table["item_id"].to_pylist() for table in items]
    assert set(ids[0]) <= set(ids[1])
    assert len(set(ids[1])) == len(ids[1])
    assert ids[1] == sorted(ids[1])
    assert sorted(sequence) == list(range(described["rows"]))


@given(BLOCKS, st.integers(0, 25))
@settings(max_examples=15)
def test_a_day_equals_that_of_the_twin(block: Simulate, day: int) -> None:
    """Users see only items that are shown on the day, with the twin's probability, at rising times of the day."""
    world = World(block)
    found = world.impressions(day)
    items = twin.shown(world, day)
    for user, item, probability in zip(found.user, found.item, found.probability, strict=True):
        assert probability == pytest.approx(twin.probability(world, user - 1, items[item], day), rel=1e-9)
    assert np.all((found.probability > 0) & (found.probability < 1))
    assert np.all((found.user >= 1) & (found.user <= world.params.users))
    assert np.all(np.diff(found.time) > 0)
    assert {time.date() for time in found.time.astype("datetime64[us]").tolist()} == {until(day)}
    listed = world.items(day)
    assert items.items() <= dict(zip(listed["item_id"], listed["category"], strict=True)).items()


@given(BLOCKS)
@settings(max_examples=15)
def test_the_history_equals_that_of_the_twin(block: Simulate) -> None:
    """Prior behaviours are of items shown on their day, in categories that interest the user on it."""
    world = World(block)
    rows = pa.table(world.history()).to_pylist()
    for row in rows:
        day = (row["timestamp"].date() - FIRST_DAY).days
        category = twin.shown(world, day)[row["item_id"]]
        assert -PRIOR_DAYS <= day < 0
        assert category in twin.interests(world, row["user_id"] - 1, day)
    numbers = [(row["user_id"], row["sequence"]) for row in sorted(rows, key=lambda row: row["timestamp"])]
    assert sorted(numbers) == [(1 + user, i) for user, count in enumerate(world.prior_count) for i in range(count)]
    for user in range(world.params.users):
        own = [sequence for one, sequence in numbers if one == user + 1]
        assert own == sorted(own)


def test_probabilities_are_those_of_the_clicks(example_params: Callable[[str], Params]) -> None:
    """Clicks are as many as the probabilities say, overall and in each tenth of the probabilities."""
    drawn = World(example_params("month").fetch.simulate).impressions(3)
    tenths = np.digitize(drawn.probability, np.quantile(drawn.probability, np.arange(0.1, 1, 0.1)))
    for tenth in range(10):
        label, probability = drawn.label[tenths == tenth], drawn.probability[tenths == tenth]
        error = np.sqrt((probability * (1 - probability)).sum())
        assert abs(label.sum() - probability.sum()) < 4 * error


def test_a_fashion_wanders_and_keeps_its_size(shipped: Simulate) -> None:
    """Next to nothing of it is left after twice `fashion_days`."""
    world = World(changed(replace(shipped, categories=4000, items=4000), fashion=0.7, fashion_days=5))
    for day in (0, 7, 30):
        assert world.fashion(day).std() == pytest.approx(0.7, abs=0.05)
        assert abs(np.corrcoef(world.fashion(day), world.fashion(day + 10))[0, 1]) < 0.1
        assert np.corrcoef(world.fashion(day), world.fashion(day + 1))[0, 1] > 0.9


def test_the_week(shipped: Simulate) -> None:
    """Traffic is highest at the weekend, and as given on average."""
    world = World(changed(shipped, weekly_traffic=0.5))
    sizes = [world.size(day) for day in range(14)]
    assert sizes[:7] == sizes[7:]
    assert sum(sizes[:7]) == pytest.approx(7 * 20_000, abs=7)
    assert {until(day).strftime("%a") for day in np.argsort(sizes[:7])[-2:].tolist()} == {"Sat", "Sun"}


@pytest.fixture
def daily_params(params: Params) -> Build:
    """Return a function that gives the parameters of a small log without end, until a day of it."""

    def build(day: int | None = None, **daily: Any) -> Params:
        small = replace(params.fetch.simulate, users=20, items=60, categories=10, days=4)
        block = changed(small, impressions=50, item_days=3, **daily)
        last = None if day is None else until(day)
        fetched = replace(params.fetch, source="simulate", simulate=block)
        return replace(params, fetch=fetched, data=replace(params.data, until=last))

    return build


def test_days_without_until(workspace: Workspace, daily_params: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without until, the log has `days` days. Looking at it draws nothing and tells what a fetch of the day finds."""
    with monkeypatch.context() as patch:
        patch.setattr(World, "impressions", lambda *_: pytest.fail("drew a day"))
        seen = describe(workspace, daily_params())
    assert (seen.first_day, seen.last_day) == ("2024-01-01", "2024-01-04")
    assert seen == describe(workspace, daily_params(3))
    fetch(workspace, daily_params(3))
    assert read_json(workspace.fetch)["fingerprint"] == seen.fingerprint


def test_the_oracle_of_a_day(workspace: Workspace, daily_params: Build) -> None:
    """`evaluate` finds the true probabilities of the newest day among the files of all days. One class has no AUC."""
    fetch(workspace, daily_params(3, fashion=0.5))
    day = pq.read_table(workspace.raw / partition("events", 3), partitioning=None)
    truth = pq.read_table(workspace.raw / partition("truth", 3), partitioning=None)
    label, sequence = day["label"].to_numpy(), day["sequence"].to_numpy()
    shuffled = np.random.default_rng(1).permutation(len(label))
    rows = {"label": label[shuffled], "sequence": sequence[shuffled], "sampled": np.zeros(len(label), bool)}
    predictions = Predictions(rows, np.zeros(len(label)))
    assert oracle(predictions, workspace.truth) == Oracle(auc=auc(label, truth["probability"].to_numpy()))
    rows["label"] = np.zeros(len(label), np.int8)
    assert oracle(predictions, workspace.truth) is None

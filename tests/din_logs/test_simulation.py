"""The simulated log has the promised properties."""

import hashlib
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from din.base.errors import InputError
from din.base.workspace import Workspace
from din.data.fetch import fetch
from din.data.rawlog import checked
from din.params.blocks import parse, to_json
from din.params.fetch import Simulate
from din.params.reading import Params
from din_logs.simulate import INTERESTS, MAX_BEHAVIOURS, PRIOR, draw


def numpy(table: pa.Table) -> dict[str, np.ndarray]:
    """Return columns as arrays, with times in microseconds."""
    return {
        name: (table[name].cast(pa.int64()) if name == "timestamp" else table[name]).to_numpy()
        for name in table.column_names
    }


def test_truth_follows_from_the_users_own_behaviours(params: Params) -> None:
    """A slow twin counts each user's earlier behaviours in the candidate's category from the tables alone."""
    log = draw(replace(params.fetch.simulate, users=40, seed=3))
    assert log.items and log.history and log.truth
    category = dict(zip(*log.items.table.select(["item_id", "category"]).to_pydict().values(), strict=True))
    behaviours = [(r["user_id"], r["timestamp"], r["item_id"]) for r in log.history.table.to_pylist()]
    events = log.events.table.to_pylist()
    behaviours += [(r["user_id"], r["timestamp"], r["item_id"]) for r in events if r["behaviour"]]
    most = 0
    for event, probability in zip(events, log.truth["probability"].to_pylist(), strict=True):
        own = [item for user, time, item in behaviours if user == event["user_id"] and time < event["timestamp"]]
        most = max(most, len(own))
        met = sum(category[item] == category[event["item_id"]] for item in own)
        assert probability == pytest.approx(1 / (1 + np.exp(1.6 - 1.17 * np.log(1 + met))))
    assert 30 < most <= 50


def test_the_log_of_the_shipped_params_never_changes(params: Params) -> None:
    """Ids, times and labels of the default log are as in all earlier releases; published figures rest on them."""
    log = checked(draw(params.fetch.simulate))
    digest = hashlib.sha256()
    for part in (log.events, log.history, log.items):
        assert part
        for column in numpy(part.table).values():
            digest.update(column.astype("<i8").tobytes())
    assert digest.hexdigest() == "c7dcb8eb0cae43672c85924566cda0d1a688573f5033b2840e81d293480d9c01"


def test_until_cuts_the_truth_too(workspace: Workspace, params: Params) -> None:
    """truth.parquet has a row for each event that is left, and no other row."""
    block = replace(params.fetch, source="simulate", simulate=replace(params.fetch.simulate, users=50))
    until = replace(params.data, until=pa.scalar("2024-01-10").cast(pa.date32()).as_py())
    fetch(workspace, replace(params, fetch=block, data=until))
    days = pq.read_table(workspace.raw / "events", partitioning=None)
    truth = pq.read_table(workspace.raw / "truth/truth.parquet")
    assert sorted(days["sequence"].to_pylist()) == truth["sequence"].to_pylist()
    assert 0 < truth.num_rows < 50 * block.simulate.impressions_per_user


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("categories", INTERESTS[1] - 1, "should be greater than or equal to 5"),
        ("impressions_per_user", MAX_BEHAVIOURS + 2 - PRIOR[0], "should be less than or equal to 46"),
    ],
)
def test_the_bounds_of_parameters_are_those_of_the_simulation(params: Params, key: str, value: int, says: str) -> None:
    """A value just beyond what a user can hold is refused when parameters are read."""
    with pytest.raises(InputError, match=rf"{key}: Input {says}, got {value}"):
        parse(Simulate, to_json(params.fetch.simulate) | {key: value}, "here")

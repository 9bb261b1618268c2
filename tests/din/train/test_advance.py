"""The pass forward in time, against a plain loop. Alone: `pytest tests/din/train/test_advance.py`."""

from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from din.base.artifacts import read_json, write_json
from din.features.packing import Packer
from din.features.reader import Features
from din.model.embedding import to_tensors
from din.ops import backend
from din.ops.backend import Backend
from din.ops.dice import MOMENTUM, Dice
from din.params.train import Train
from din.schema import SplitName
from din.train.advance import advance
from din.train.learner import Diverged, Learner, StepInputs
from tests.factories.features import DAY_US, DAYS, SPARSE_ROWS, day_of, flip_labels, spread, write_features
from tests.helpers.backends import both_backends
from tests.helpers.settings import changed


def trained(features: Features, train: Train) -> Learner:
    """Return a learner that has made a few steps, so that its optimizers have state."""
    learner = Learner(features, train)
    learner.model.train()
    for batch in learner.loader().epoch(0):
        learner.step(learner.inputs(batch), 0.01)
    return learner


def plain_loop(learner: Learner, split: SplitName) -> dict[date, list[float]]:
    """Score one row at a time, learn batches that are cut by hand, and return the logits of each day by file.

    A step is the learner's own. `test_weights.py` and `tests/din/ops/test_updates.py` compare it with its equations.
    """
    learning, loader, packer = learner.params.learning, learner.loader(), Packer(learner.features)
    shards = list(learner.features.shards(split))
    found = {}
    for number in sorted({int(time) // DAY_US for shard in shards for time in shard.impressions.timestamp}):
        day = day_of(number)
        of_day = [np.flatnonzero(shard.impressions.timestamp // DAY_US == number) for shard in shards]
        rows = [(shard, np.array([row])) for shard, own in zip(shards, of_day, strict=True) for row in own]
        learner.model.eval()
        with torch.no_grad():
            found[day] = [learner.model(learner.table, to_tensors(packer.pack(*row))).item() for row in rows]
        learner.model.train()
        learned: list[StepInputs] = []
        for shard, own in zip(shards, of_day, strict=True):
            by_time = sorted(own, key=lambda row, shard=shard: (shard.impressions.timestamp[row], row))
            for start in range(0, len(by_time), learning.batch_size):
                key = (learning.seed, day.toordinal(), len(learned), 1)
                batch = np.array(by_time[start : start + learning.batch_size])
                learned.append(learner.inputs(loader.pack(shard, batch, len(learned), key)))
                learner.step(learned[-1], learning.learning_rate)
        settle(learner, learned)
    return found


def settle(learner: Learner, batches: list[StepInputs]) -> None:
    """Replace Dice's averages by means over the batches. The former averages count as one full batch."""
    dices = [module for module in learner.model.modules() if isinstance(module, Dice)]
    before = [[dice.mean.clone(), dice.variance.clone()] for dice in dices]
    seen = learner.params.learning.batch_size
    for inputs in batches:
        seen += inputs.impressions
        with torch.no_grad():
            learner.model(learner.table.index_select(0, inputs.rows), inputs.batch)
        for dice, averages in zip(dices, before, strict=True):
            for average, moved in zip(averages, (dice.mean, dice.variance), strict=True):
                of_batch = average + (moved - average) / MOMENTUM
                average += inputs.impressions / seen * (of_batch - average)
                moved.copy_(average)


@both_backends
def test_a_pass_is_the_plain_loop(backend_name: Backend, small: Train, features: Features) -> None:
    """Predictions, weights and state agree, over a gap between days and a single row; the rate does not decay."""
    features = spread(features, "valid")
    small = changed(small, unknown_rate=0.1, batch_size=7, decay=0.1)
    twin = Learner(features, small)
    with backend.using(backend_name):
        learner = trained(features, small)
        twin.load_state(learner.state())
        found = advance(learner, "valid")
    expected = plain_loop(twin, "valid")
    assert [day.rows.day for day in found.days] == list(expected)
    assert len(found.days[-1].rows) == 1
    assert found.until == found.days[-1].rows.last
    for day, logits in zip(found.days, expected.values(), strict=True):
        np.testing.assert_allclose(day.predictions.logits, logits, atol=2e-4)
    state = found.learner.state()
    for name, tensor in twin.state().items():
        torch.testing.assert_close(state[name], tensor, atol=2e-4, rtol=1e-3, msg=lambda text, n=name: f"{n} {text}")


def test_no_prediction_depends_on_its_own_day_or_a_later_one(small: Train, features: Features) -> None:
    """Flipped labels from a day on change no prediction until that day, and every day's predictions after it."""
    features = spread(features, "valid")
    before = advance(trained(features, small), "valid").days
    flip_labels(features, "valid", DAYS[1])
    again = Features(features.root)
    after = advance(trained(again, small), "valid").days
    for number, (one, other) in enumerate(zip(before, after, strict=True)):
        assert np.array_equal(one.predictions.logits, other.predictions.logits) == (number <= 1)
        assert (one.loss == other.loss) == (number < 1)


LATE = 3
"""How many items get an id on the second day."""


def with_late_items(features: Features) -> Features:
    """Let some items without an id get one on the second day."""
    items = pq.read_table(features.root / "items.parquet")
    first = SPARSE_ROWS["item_id"]
    ids = items["item_id"].to_numpy().copy()
    ids[first : first + LATE] = range(first, first + LATE)
    place = items.schema.get_field_index("item_id")
    pq.write_table(items.set_column(place, "item_id", pa.array(ids)), features.root / "items.parquet")
    known = pq.read_table(features.root / "vocab" / "item_id.parquet")
    day = day_of(DAYS[1])
    late = {"value": range(900, 900 + LATE), "id": range(first, first + LATE), "known_since": [day] * LATE}
    late = pa.table({name: pa.array(late.get(name, [5] * LATE)) for name in known.column_names}).cast(known.schema)
    pq.write_table(pa.concat_tables([known, late]), features.root / "vocab" / "item_id.parquet")
    rows = features.rows | {"item_id": first + LATE}
    held_out = [{"day": day.isoformat(), "split": "valid", "rows": rows}]
    path = features.root / "manifest.json"
    write_json(path, read_json(path) | {"held_out": held_out})
    return Features(features.root)


def test_late_ids_are_unknown_until_their_day_is_over(small: Train, features: Features) -> None:
    """Until then predictions equal the ones from a log in which they get no id. Afterwards they have learned rows."""
    features = spread(features, "valid")
    without = advance(trained(features, small), "valid")
    late = with_late_items(features)
    learner = trained(late, small)
    found = advance(learner, "valid")
    for number, (ours, theirs) in enumerate(zip(found.days, without.days, strict=True)):
        assert np.array_equal(ours.predictions.logits, theirs.predictions.logits) == (number <= 1)
    after = found.learner
    assert len(after.table) == len(without.learner.table) + LATE
    first = SPARSE_ROWS["item_id"]
    assert after.state()["sparse.second"][first : first + LATE].any()


def test_a_pass_that_diverges_in_its_last_step_is_noticed(small: Train, tmp_path: Path) -> None:
    """A step returns the loss before its update, so the only step of a day sees nothing of what it did."""
    features = write_features(tmp_path, shards=1)
    spread(features, "test")
    learner = Learner(features, changed(small, learning_rate=1e25, batch_size=4096))
    with pytest.raises(Diverged, match=r"the loss is .* after 2022"):
        advance(learner, "test")

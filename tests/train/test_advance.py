"""The pass forward in time, against a plain loop. Alone: `pytest tests/train/test_advance.py`."""

from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from backends import both_backends
from settings import changed
from states import copied, same
from torch.nn.functional import binary_cross_entropy_with_logits

from din.artifacts import read_json, write_json
from din.features.packing import PackedBatch, Packer, TableLayout
from din.features.reader import Features
from din.model.embedding import to_tensors
from din.model.model import build
from din.ops import backend
from din.ops.backend import Backend
from din.ops.dice import MOMENTUM, Dice
from din.ops.row_update import BETA_1, BETA_2, EPSILON
from din.params import Train
from din.train.advance import advance
from din.train.compute import CPU_ALONE, Compute
from din.train.learner import Learner
from din.train.loader import TrainingLoader
from din.train.optimizers import row_decay
from tests.factories.features import DAY_US, DAYS, SPARSE_ROWS, flip_labels, spread


def trained(features: Features, train: Train, compute: Compute = CPU_ALONE) -> Learner:
    """Return a learner that has made a few steps, so that its optimizers have state."""
    packer = Packer(features, train.learning.unknown_rate)
    learner = Learner(features, train, compute)
    loader = TrainingLoader(features, packer, 32, train.learning.seed)
    learner.model.train()
    for batch in loader.epoch(0):
        learner.step(learner.inputs(batch), 0.01)
    return learner


class Twin:
    """The pass as plain loops: one row scored at a time, one dense gradient of the whole table for each batch.

    It is Adam with a coupled penalty, which is the default.
    """

    def __init__(self, learner: Learner, train: Train) -> None:
        state = copied(learner.state())
        self.features = learner.features
        self.learning = train.learning
        layout = TableLayout.of(self.features.fields, self.features.rows)
        self.model, _ = build(self.features.fields, layout, train)
        self.model.load_state_dict({name: state[f"now.{name}"] for name in self.model.state_dict()})
        self.table = state["now.table"]
        self.first, self.second = state["sparse.first"], state["sparse.second"]
        self.steps = int(state["sparse.steps"])
        self.dense = torch.optim.Adam(self.model.parameters(), lr=train.learning.learning_rate)
        loaded: dict[int, dict[str, torch.Tensor]] = {}
        for name, tensor in state.items():
            if name.startswith("dense."):
                _, number, key = name.split(".")
                loaded.setdefault(int(number), {})[key] = tensor
        self.dense.load_state_dict({"state": loaded, "param_groups": self.dense.state_dict()["param_groups"]})
        linear = torch.arange(self.table.shape[1]) < self.model.linear
        self.decay = row_decay(self.features, train.learning).unsqueeze(1) * ~linear
        self.pace = torch.where(linear, train.learning.linear_rate, 1.0)

    def run(self, split: str) -> dict[date, list[float]]:
        """Return the logits of each day, in the order of the files."""
        shards = list(self.features.shards(split))
        days = sorted({int(time) // DAY_US for shard in shards for time in shard.impressions.timestamp})
        found = {}
        for number in days:
            of_day = [np.flatnonzero(shard.impressions.timestamp // DAY_US == number) for shard in shards]
            packer = Packer(self.features)
            scored = [
                packer.pack(shard, np.array([row])) for shard, rows in zip(shards, of_day, strict=True) for row in rows
            ]
            day = date_of(number)
            found[day] = [self.logits(one).item() for one in scored]
            packer = Packer(self.features, self.learning.unknown_rate)
            learned = []
            for shard, rows in zip(shards, of_day, strict=True):
                by_time = sorted(rows, key=lambda row: (shard.impressions.timestamp[row], row))
                for start in range(0, len(by_time), self.learning.batch_size):
                    batch = np.array(by_time[start : start + self.learning.batch_size])
                    random = np.random.default_rng([self.learning.seed, day.toordinal(), len(learned), 1])
                    learned.append(packer.pack(shard, batch, random))
                    self.learn(learned[-1])
            self.settle(learned)
        return found

    def logits(self, packed: PackedBatch) -> torch.Tensor:
        self.model.eval()
        with torch.no_grad():
            return self.model(self.table, to_tensors(packed))

    def learn(self, packed: PackedBatch) -> None:
        self.model.train()
        leaf = self.table.clone().requires_grad_()
        self.dense.zero_grad()
        logits = self.model(leaf, to_tensors(packed))
        binary_cross_entropy_with_logits(logits, torch.from_numpy(packed.labels)).backward()
        self.dense.step()
        self.steps += 1
        assert leaf.grad is not None
        for row in {int(i) for lookup in packed.every_lookup() for i in lookup.ids}:
            gradient = leaf.grad[row] + self.decay[row] * self.table[row]
            self.first[row] = BETA_1 * self.first[row] + (1 - BETA_1) * gradient
            self.second[row] = BETA_2 * self.second[row] + (1 - BETA_2) * gradient**2
            first = self.first[row] / (1 - BETA_1**self.steps)
            second = self.second[row] / (1 - BETA_2**self.steps)
            self.table[row] -= self.learning.learning_rate * self.pace * first / (second.sqrt() + EPSILON)

    def settle(self, batches: list[PackedBatch]) -> None:
        """Replace Dice's averages by means over the batches. The former averages count as one full batch."""
        dices = [module for module in self.model.modules() if isinstance(module, Dice)]
        before = [[dice.mean.clone(), dice.variance.clone()] for dice in dices]
        seen = self.learning.batch_size
        self.model.train()
        for packed in batches:
            seen += len(packed)
            with torch.no_grad(), backend.using("reference"):
                self.model(self.table, to_tensors(packed))
            for dice, averages in zip(dices, before, strict=True):
                for average, moved in zip(averages, (dice.mean, dice.variance), strict=True):
                    of_batch = average + (moved - average) / MOMENTUM
                    average += len(packed) / seen * (of_batch - average)
                    moved.copy_(average)


@both_backends
def test_a_pass_is_the_plain_loop(backend_name: Backend, small: Train, features: Features) -> None:
    """Predictions, weights and state agree, over a gap between days and a single row; the rate does not decay."""
    features = spread(features, "valid")
    small = changed(small, unknown_rate=0.1, batch_size=7, decay=0.1, decay_steps=2)
    with backend.using(backend_name):
        learner = trained(features, small)
        twin = Twin(learner, small)
        found = advance(learner, "valid")
    expected = twin.run("valid")
    assert [day.rows.day for day in found.days] == list(expected)
    assert len(found.days[-1].rows) == 1
    assert found.until == found.days[-1].rows.last
    for day, logits in zip(found.days, expected.values(), strict=True):
        np.testing.assert_allclose(day.predictions.logits, logits, atol=2e-4)
    moved = {"now.table": twin.table, "sparse.first": twin.first, "sparse.second": twin.second}
    moved |= {f"now.{name}": tensor for name, tensor in twin.model.state_dict().items()}
    state = found.learner.state()
    for name, tensor in moved.items():
        torch.testing.assert_close(state[name], tensor, atol=2e-4, rtol=1e-3, msg=lambda text, n=name: f"{n} {text}")
    assert int(state["sparse.steps"]) == twin.steps


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


def test_a_pass_repeated_has_the_same_bits(small: Train, features: Features) -> None:
    """A killed pass starts over, and ends with the weights and predictions of one that was never killed."""
    features = spread(features, "valid")
    small = changed(small, dropout=0.3, unknown_rate=0.2)
    learner = trained(features, small)
    state = copied(learner.state())
    first = advance(learner, "valid")
    again = Learner(features, small)
    again.table.zero_()
    again.load_state(state)
    second = advance(again, "valid")
    assert same(first.learner.state(), second.learner.state())
    for one, other in zip(first.days, second.days, strict=True):
        assert np.array_equal(one.predictions.logits, other.predictions.logits)


def test_a_split_without_rows_changes_nothing(small: Train, features: Features) -> None:
    """There is no day then, and the model is the one before."""
    for number in range(2):
        path = features.root / "shards" / f"{number:05d}" / "valid.parquet"
        pq.write_table(pq.read_table(path)[:0], path)
    learner = trained(features, small)
    before = copied(learner.state())
    found = advance(learner, "valid")
    assert (found.days, found.until) == ([], None)
    assert same(found.learner.state(), before)


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
    day = date_of(DAYS[1])
    late = {"value": range(900, 900 + LATE), "id": range(first, first + LATE), "known_since": [day] * LATE}
    late = pa.table({name: pa.array(late.get(name, [5] * LATE)) for name in known.column_names}).cast(known.schema)
    pq.write_table(pa.concat_tables([known, late]), features.root / "vocab" / "item_id.parquet")
    rows = features.rows | {"item_id": first + LATE}
    held_out = [{"day": day.isoformat(), "split": "valid", "rows": rows}]
    path = features.root / "manifest.json"
    write_json(path, read_json(path) | {"held_out": held_out})
    return Features(features.root)


def date_of(number: int) -> date:
    return date.fromordinal(date(1970, 1, 1).toordinal() + number)


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

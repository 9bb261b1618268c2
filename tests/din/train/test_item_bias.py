"""The start of the item bias, against plain counts. Alone: `pytest tests/din/train/test_item_bias.py`."""

from collections import Counter
from math import log
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import torch

from din.base.artifacts import read_json, write_json
from din.features.packing import TableLayout
from din.features.reader import Features
from din.kinds import UNKNOWN
from din.params.reading import Params
from din.schema import ITEM_ID
from din.train.item_bias import biases, share_between
from din.train.learner import Learner
from din.train.predict import predict
from tests.factories.features import labelled, rewrite
from tests.helpers.settings import changed

NEVER_SHOWN = 7
"""An item id without training impressions, as late ids are."""


def slow_twin(features: Features) -> list[float]:
    """Return the start of the item bias by id, from one row after the other."""
    shown: Counter[int] = Counter()
    clicked: Counter[int] = Counter()
    for shard in features.shards("train"):
        ids = features.items[ITEM_ID].values[shard.impressions.item].tolist()
        for item_id, label in zip(ids, shard.impressions.label.tolist(), strict=True):
            shown[item_id] += 1
            clicked[item_id] += label
    rows = shown.total()
    ctr = clicked.total() / rows
    spread = sum(n * (clicked[own] / n - ctr) ** 2 for own, n in shown.items()) / (ctr * (1 - ctr))
    by_chance = len(shown) - 1
    between = (spread - by_chance) / (rows - sum(n * n for n in shown.values()) / rows - by_chance)
    prior = 1 / between - 1
    smoothed = [(clicked[own] + prior * ctr) / (shown[own] + prior) for own in range(features.rows[ITEM_ID])]
    return [log(rate / (1 - rate)) - log(ctr / (1 - ctr)) for rate in smoothed]


def by_taste(rows: pa.Table) -> pa.Table:
    """Draw labels whose CTR depends on the item, and leave one item out."""
    rows = rows.filter(pc.not_equal(rows["item"], NEVER_SHOWN))
    item = rows["item"].to_numpy()
    return labelled(rows, np.random.default_rng(len(rows)).random(len(rows)) < 0.2 + 0.15 * (item % 5))


@pytest.fixture
def tasted(features: Features) -> Features:
    return rewrite(features, "train", by_taste)


def test_the_start_is_the_logit_of_the_smoothed_ctr(tasted: Features) -> None:
    """The twin counts one row after the other. Items without an id of their own count for the unknown one."""
    expected = slow_twin(tasted)
    assert biases(tasted) == pytest.approx(expected)
    assert (tasted.items[ITEM_ID].values == UNKNOWN).sum() > 1
    assert max(expected) - min(expected) > 1
    assert abs(expected[UNKNOWN]) > 0.01
    assert np.flatnonzero(np.abs(expected) < 1e-9).tolist() == [NEVER_SHOWN]


def test_held_out_labels_have_no_say(tasted: Features) -> None:
    """Other labels in validation and test rows leave the start as it is."""
    before = biases(tasted)
    for split in ("valid", "test"):
        tasted = rewrite(tasted, split, lambda rows: labelled(rows, 1))
    assert np.array_equal(biases(tasted), before)


def test_the_share_between_ids_is_found() -> None:
    """CTRs drawn from a beta distribution of `prior` impressions have the share 1/(prior + 1)."""
    prior = 9
    random = np.random.default_rng(prior)
    shown = random.geometric(0.02, 20_000)
    ctr = random.beta(0.3 * prior, 0.7 * prior, len(shown))
    assert share_between(shown, random.binomial(shown, ctr)) == pytest.approx(1 / (prior + 1), rel=0.05)


@pytest.mark.parametrize(
    ("shown", "clicks", "share"),
    [
        ([20, 40, 10], [10, 20, 5], 0),  # less than chance makes
        ([20, 40, 0], [20, 0, 0], 0.5),  # all or nothing: the prior is one impression
        ([1, 1, 1], [1, 0, 0], 0),  # no id was shown twice, so nothing can be told
        ([0, 0], [0, 0], 0),
    ],
)
def test_the_ends_of_the_share(shown: list[int], clicks: list[int], share: float) -> None:
    """The share is between 0 and 1/2, whatever the counts."""
    assert share_between(np.array(shown), np.array(clicks)) == share


@pytest.mark.parametrize("model", [{"name": "din"}, {"name": "din", "linear": "wide"}, {"name": "lr"}], ids=str)
def test_the_start_is_added_to_the_logit_of_the_candidate(
    model: dict[str, Any], tasted: Features, params: Params
) -> None:
    """A new model's logits move by the start of the candidate's id, and nothing else in the model does."""
    learners = {
        start: Learner(tasted, changed(params.train, initial_item_bias=start, **model)) for start in ("zero", "ctr")
    }
    zero, ctr = (predict(learner.trained, tasted, "test", 64) for learner in learners.values())
    bias = biases(tasted)
    moved = bias[tasted.items[ITEM_ID].values[zero.rows["item"]]]
    assert ctr.logits - zero.logits == pytest.approx(moved, abs=1e-5)
    first = TableLayout.of(tasted.fields, tasted.rows).offsets[ITEM_ID]
    expected = learners["zero"].table.clone()
    expected[first : first + len(bias), 0] = torch.from_numpy(bias)
    assert torch.equal(learners["ctr"].table, expected)


def test_popularity_is_the_smoothed_ctr_or_counts_clicks(features: Features) -> None:
    """Impressions that training left out count. With sampled negatives a rate has no meaning, so clicks are counted."""
    rows = [shard.impressions for shard in features.shards("train")]
    item = np.concatenate([own.item for own in rows])
    label = np.concatenate([own.label for own in rows])
    clicks = np.bincount(item, label, 35)
    for kept in (1.0, 0.2):
        manifest = features.root / "manifest.json"
        write_json(manifest, read_json(manifest) | {"negatives": {"log": 1.0, "training": kept}})
        shown = np.bincount(item, np.where(label, 1, 1 / kept), 35)
        rate = clicks.sum() / shown.sum()
        assert Features(features.root).popularity() == pytest.approx((clicks + 20 * rate) / (shown + 20))

    def sampled(rows: pa.Table) -> pa.Table:
        return rows.set_column(rows.column_names.index("sampled"), "sampled", pc.equal(rows["label"], 0).cast("int8"))

    assert np.array_equal(rewrite(features, "train", sampled).popularity(), clicks)

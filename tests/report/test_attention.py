"""The page shows the activations that the model computes on real impressions."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from din.features.packing import TableLayout
from din.features.reader import Features
from din.model import artifact
from din.model.artifact import Trained
from din.model.attention import ActivationUnit
from din.model.din import DIN
from din.model.model import build
from din.params import Params
from din.report import attention
from din.train.predict import predict
from din.workspace import Workspace
from tests.factories.features import write_features

TITLE = "<script>alert('title')</script>"


def model_of(features: Features, params: Params, workspace: Workspace, **settings: Any) -> Trained:
    """Save a new model of some settings, and return it."""
    train = replace(params.train, model=replace(params.train.model, **settings))
    model, table = build(features.fields, TableLayout.of(features.fields, features.rows), train)
    artifact.save(Trained(model, table), train, features, workspace.model)
    return artifact.load(features, workspace.model)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A workspace with random features and raw items that have titles."""
    monkeypatch.setattr(attention, "SHORTEST", 1)
    workspace = Workspace(tmp_path)
    features = write_features(workspace.features)
    ids = features.raw_items().to_pylist()[1:]
    titles = [f"{TITLE} {number}" for number in ids]
    workspace.raw.mkdir(parents=True)
    pq.write_table(pa.table({"item_id": ids, "title": titles}), workspace.raw / "items.parquet")
    return workspace


def test_probabilities_are_those_of_the_predictions(place: Workspace, params: Params) -> None:
    """The clicked candidate with its own history has the probability that `evaluate` computes."""
    features = Features(place.features)
    trained = model_of(features, params, place)
    found = attention.strips(place)
    assert len(found) == attention.USERS
    predictions = predict(trained, features, "test", 64)
    raw = features.raw_users().to_pylist()
    for strip in found:
        own = np.array([raw[user] == strip.user for user in predictions.rows["user"]])
        assert np.isclose(predictions.probabilities[own], strip.clicked.probability, atol=1e-6).any()
        assert strip.clicked.name.startswith(TITLE)
        assert all(one.name.startswith(TITLE) or one.name == "unknown item" for one in strip.behaviours)
        assert strip.unclicked.name not in {one.name for one in strip.behaviours}


@pytest.mark.parametrize("softmax", [False, True])
def test_a_unit_that_says_the_same_of_all(place: Workspace, params: Params, softmax: bool) -> None:
    """With a constant unit every behaviour has that weight, and under a softmax an equal share."""
    features = Features(place.features)
    trained = model_of(features, params, place, softmax=softmax)
    assert isinstance(trained.model, DIN)
    with torch.no_grad():
        for unit in trained.model.units:
            assert isinstance(unit, ActivationUnit)
            last = unit.rest[-1]
            assert isinstance(last, torch.nn.Linear)
            last.weight.zero_()
            last.bias.fill_(-0.5)
    train = replace(params.train, model=replace(params.train.model, softmax=softmax))
    artifact.save(trained, train, features, place.model)
    for strip in attention.strips(place):
        expected = 1 / len(strip.behaviours) if softmax else -0.5
        assert [one.for_clicked for one in strip.behaviours] == pytest.approx([expected] * len(strip.behaviours))
        assert [one.for_unclicked for one in strip.behaviours] == pytest.approx([expected] * len(strip.behaviours))
        assert strip.sign == (1 if softmax else -1)
        assert strip.largest == pytest.approx(abs(expected))


def test_a_model_without_attention_has_no_strips(place: Workspace, params: Params) -> None:
    """BaseModel pools all behaviours alike."""
    model_of(Features(place.features), params, place, name="base")
    assert attention.strips(place) == []

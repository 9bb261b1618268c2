"""The importance of fields, which is measured on validation rows alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from din.base.errors import InputError
from din.base.names import Digest
from din.base.workspace import Workspace
from din.contracts.facts import EvaluationInputs
from din.features.packing import TableLayout
from din.features.reader import Features
from din.model import artifact
from din.model.artifact import Trained
from din.model.model import build
from din.params.reading import Params
from din_report.importance import importances, remembered
from tests.factories.features import labelled, rewrite, write_features

IGNORED = "tags"


@pytest.fixture
def place(tmp_path_factory: pytest.TempPathFactory, params: Params) -> Workspace:
    """A workspace with a model that reads every field but one, whose embeddings are zero."""
    workspace = Workspace(tmp_path_factory.mktemp("importance"))
    features = write_features(workspace.features)
    train = replace(params.train, model=replace(params.train.model, name="din"))
    layout = TableLayout.of(features.fields, features.rows)
    model, table = build(features.fields, layout, train)
    table = torch.from_numpy(np.random.default_rng(5).normal(0, 0.5, table.shape).astype(np.float32))
    start = layout.offsets[IGNORED]
    table[start : start + features.rows[IGNORED]] = 0
    artifact.save(Trained(model, table), train, features, workspace.model)
    return workspace


def test_a_field_that_the_model_ignores_is_worth_nothing(place: Workspace) -> None:
    """Each field is dealt alone: exactly the ignored one changes no prediction."""
    found = importances(place, 0.95)
    names = [field.name for field in Features(place.features).fields]
    assert sorted(one.name for one in found) == sorted([*names, "history"])
    assert [one.name for one in found if one.loss.point == 0.0] == [IGNORED]
    assert [one.loss.point for one in found] == sorted((one.loss.point for one in found), reverse=True)


def test_test_rows_change_nothing(place: Workspace) -> None:
    """The figures may be used to choose fields, since they say nothing about the rows that judge the choice."""
    found = importances(place, 0.95)
    rewrite(Features(place.features), "test", lambda rows: labelled(rows, 1 - rows["label"].to_numpy()))
    again = importances(place, 0.95)
    assert [(one.name, one.loss.point) for one in again] == [(one.name, one.loss.point) for one in found]


def test_figures_are_kept_for_the_same_inputs_only(place: Workspace) -> None:
    """The next page about the same model reads them; another model, other features or a damaged file measure again."""
    inputs = EvaluationInputs(features=Digest("a" * 64), model=Digest("b" * 64))
    measured = str(remembered(place, inputs, 0.95))  # bounds may be NaN
    model = place.model.rename(place.root / "away")
    assert str(remembered(place, inputs, 0.95)) == measured
    with pytest.raises(InputError):
        remembered(place, inputs.model_copy(update={"model": Digest("c" * 64)}), 0.95)
    place.importances.write_text(place.importances.read_text()[:-9])
    with pytest.raises(InputError):
        remembered(place, inputs, 0.95)
    model.rename(place.model)
    assert str(remembered(place, inputs, 0.95)) == measured

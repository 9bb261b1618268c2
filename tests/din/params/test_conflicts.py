"""Values of two keys that contradict each other."""

from pathlib import Path
from typing import Any

import pytest

from din.base.errors import InputError
from din.model import MODELS
from din.params.blocks import leaves, parse, to_json
from din.params.overlays import overlaid
from din.params.reading import Params, check_model
from din.params.train import Train
from tests.helpers.settings import changed

CONFLICTS: list[tuple[dict[str, Any], str]] = [
    (
        {"fetch": {"source": "table"}},
        "fetch.source is 'table' and fetch.table.events is null: the source reads files; give their path, "
        "see docs/bring-your-own-log.md",
    ),
    (
        {"fetch": {"source": "table", "table": {"events": "logs/{date}.csv,more/*.csv"}}},
        "fetch.table.events is 'logs/{date}.csv,more/*.csv': expected {date} in all of its paths or in none",
    ),
    (
        {"fetch": {"source": "table", "table": {"events": "log.csv", "items": "items-{date}.csv"}}},
        "fetch.table.items is 'items-{date}.csv': this table has no days",
    ),
    (
        {"fetch": {"simulate": {"items": 9, "categories": 10}}},
        "fetch.simulate.items is 9 and fetch.simulate.categories is 10: each category needs an item",
    ),
    (
        {"featurize": {"protocol": "by_user", "valid_fraction": 0.5, "test_fraction": 0.5}},
        "featurize.valid_fraction is 0.5 and featurize.test_fraction is 0.5: no user is left to train on",
    ),
    (
        {"data": {"window_days": 3}, "featurize": {"protocol": "temporal"}},
        "data.window_days is 3 and featurize.valid_days is 1 and featurize.test_days is 2: no day of the",
    ),
    (
        {"train": {"learning": {"regularizer": "dropout"}}},
        "train.learning.regularizer is 'dropout' and train.learning.dropout is 0.0: ",
    ),
    (
        {"train": {"compute": {"backend": "native", "device": "cuda"}}},
        "train.compute.backend is 'native' and train.compute.device is 'cuda': native operations compute on CPUs",
    ),
    ({"validate_predictions": {"calibration": [1.5, 1.4]}}, "validate_predictions.calibration is (1.5, 1.4): nothing"),
    ({"gate": {"min_auc": 0.96}}, "gate.min_auc is 0.96 and gate.max_auc is 0.95: "),
]


@pytest.mark.parametrize(("changes", "message"), CONFLICTS, ids=lambda value: value if isinstance(value, str) else "")
def test_conflicts_name_keys_values_and_what_to_do(changes: dict[str, Any], message: str, params: Params) -> None:
    """A conflict is an error as soon as parameters are read."""
    given = overlaid(to_json(params), changes, "here")
    with pytest.raises(InputError) as error:
        parse(Params, given, Path("params.yaml"))
    assert str(error.value).startswith(f"params.yaml: {message}")


@pytest.mark.parametrize("name", ["lr", "linear_plugin"])
@pytest.mark.parametrize(
    ("learning", "advice"),
    [
        (
            {"regularizer": "dropout", "dropout": 0.5},
            "train.learning.regularizer is 'dropout' and {}: {} has no",
        ),
        ({"renew_embeddings": True}, "train.learning.renew_embeddings is true and {}: {} has only its table"),
    ],
)
def test_a_model_must_read_what_is_set_for_it(
    name: str, learning: dict[str, Any], advice: str, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Models of this package and of plugins declare their keys alike; DIN reads both."""
    monkeypatch.setattr(MODELS, "_things", dict(MODELS._things))
    monkeypatch.setattr(MODELS, "_reads", dict(MODELS._reads))
    MODELS.register("linear_plugin", reads=())(object)
    train = changed(params.train, name="din", **learning)
    check_model(train, MODELS.reads, "params.yaml")
    with pytest.raises(InputError) as error:
        check_model(changed(train, name=name), MODELS.reads, "params.yaml")
    assert str(error.value).startswith("params.yaml: " + advice.format(f"train.model.name is '{name}'", name))


def test_a_model_names_keys_that_some_model_reads() -> None:
    """Every declared key is a parameter, and a key that no model of this package declares is refused."""
    declared = frozenset().union(*(MODELS._reads[name] for name in MODELS))
    assert declared <= set(leaves(Train))
    with pytest.raises(InputError, match=r"model 'mistaken' reads model\.heads; expected keys among learning\.dropout"):
        MODELS.register("mistaken", reads=["model.heads"])


def test_what_fits_together_is_no_conflict(params: Params) -> None:
    """Bounds may be equal."""
    given = overlaid(to_json(params), {"gate": {"min_auc": 0.95}}, "here")
    assert parse(Params, given, "here").gate.min_auc == 0.95

"""Every key of `train` is in a block, and the block decides which rules apply to it.

    model      identifies a checkpoint, binds a continued champion, and the floor LR has its own
    learning   identifies a checkpoint, is free in one, and the floor LR has its own
    compute    identifies a checkpoint by what it resolves to, is free in one, and the floor LR shares it

Exceptions are named here, each with its reason. Alone: `pytest tests/train/test_owners.py`.
"""

import contextlib
from dataclasses import fields, replace
from operator import attrgetter
from typing import Any, Literal, get_args, get_origin

import pytest
from pydantic import TypeAdapter, ValidationError
from settings import BLOCKS, changed

from din.errors import InputError
from din.features.packing import TableLayout
from din.features.reader import Features
from din.model import artifact
from din.model.artifact import Trained
from din.model.model import build
from din.params import Params, Train
from din.params.blocks import types_of
from din.train import checkpoint
from din.train.champion_start import ChampionStart
from din.train.compute import Compute, computing
from din.train.evaluate import floor

CANDIDATES = (True, False, 3, 0.7, (3,), "ab" * 32, {"liked": {"rating": (5,)}})


def choices(hint: Any) -> list[Any]:
    """Return the values that the literals in a type hint list."""
    parts = get_args(hint)
    return list(parts) if get_origin(hint) is Literal else [value for part in parts for value in choices(part)]


def another(hint: Any, value: Any) -> Any:
    """Return a value of a type that differs from a given one."""
    for candidate in (*CANDIDATES, *choices(hint)):
        with contextlib.suppress(ValidationError):
            if TypeAdapter(hint).validate_python(candidate, strict=True) != value:
                return candidate
    raise AssertionError(f"no other value of {hint} is known")


OTHERS = {key: another(hint, attrgetter(key)(Train())) for key, hint in types_of(Train).items()}
"""A different value for every key of `train`."""
OTHERS["model.name"] = "base"

STARTS = ["start", "champion", "scratch_day"]
NOT_IDENTIFYING = {"compute.checkpoint_minutes": "the time of a save does not change a result"}
SHARED_WITH_THE_FLOOR = {
    "learning.metric": "not every metric is defined on every log",
    "learning.advance": "a floor learns the days that the model learns",
}


def other(train: Train, key: str) -> Train:
    """Return the settings with a different value for one key."""
    return changed(train, **{key.rpartition(".")[2]: OTHERS[key]})


def test_every_key_of_train_has_an_owner() -> None:
    """All keys but the ones that name the start are in one of the blocks, and no name occurs twice."""
    keys = list(types_of(Train))
    assert [key for key in keys if key.partition(".")[0] not in BLOCKS] == STARTS
    assert len({key.rpartition(".")[2] for key in keys}) == len(keys)


@pytest.mark.parametrize("key", [key for key in OTHERS if not key.startswith("compute.")])
def test_model_and_learning_identify_a_checkpoint(key: str, features_once: Features, params: Params) -> None:
    """A different value makes a different run, and so does a different start."""
    runs = {
        checkpoint.directory(features_once.root, train, Compute()) for train in (params.train, other(params.train, key))
    }
    assert len(runs) == 2


def test_what_compute_resolves_to_identifies_a_checkpoint(features_once: Features, params: Params) -> None:
    """Each resolved value identifies a run, under the name of its setting; the settings themselves do not."""
    resolved = Compute().settled
    settings = {field.name for field in fields(params.train.compute)}
    assert {f"compute.{name}" for name in settings - resolved.keys()} == NOT_IDENTIFYING.keys()
    plain = checkpoint.directory(features_once.root, params.train, Compute())
    for key in (key for key in OTHERS if key.startswith("compute.")):
        assert checkpoint.directory(features_once.root, other(params.train, key), Compute()) == plain
    with computing(other(params.train, "compute.threads").compute) as compute:
        assert checkpoint.directory(features_once.root, params.train, compute) != plain


@pytest.fixture(scope="module")
def start(features_once: Features, params: Params, tmp_path_factory: pytest.TempPathFactory) -> ChampionStart:
    """Return a bundle of the shipped settings to start from."""
    bundle = tmp_path_factory.mktemp("bundle")
    model, table = build(features_once.fields, TableLayout.of(features_once.fields, features_once.rows), params.train)
    artifact.save(Trained(model, table), params.train, features_once, bundle / artifact.IN_BUNDLE)
    (bundle / "vocab").symlink_to(features_once.root / "vocab")
    return ChampionStart("ab" * 32, bundle)


@pytest.mark.parametrize("key", [key for key in OTHERS if key not in STARTS])
def test_a_champion_is_bound_to_the_model(
    key: str, start: ChampionStart, features_once: Features, params: Params
) -> None:
    """A different architecture is refused, with the name of the key; different ways to learn and compute are not."""
    today = other(params.train, key).model
    if key.startswith("model."):
        with pytest.raises(InputError, match=f"another architecture: {key.rpartition('.')[2]} "):
            start.shared_rows(features_once, today)
    else:
        start.shared_rows(features_once, today)


@pytest.mark.parametrize("key", list(OTHERS))
def test_the_floor_shares_compute_alone(key: str, params: Params) -> None:
    """No setting in `train.model` or `train.learning` reaches the floor."""
    usual = floor(params)
    found = floor(replace(params, train=other(params.train, key)))
    shared = key.startswith("compute.") or key in SHARED_WITH_THE_FLOOR
    assert (found != usual) == shared

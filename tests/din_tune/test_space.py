"""The space of `din tune`: what is declared beside the parameters and by plugins, and today's values."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import optuna
import pytest
from optuna.samplers import RandomSampler

from din import plugins
from din.base.errors import InputError
from din.model import MODELS
from din.model.din import DIN
from din.params.reading import Params
from din.params.search import Between, OneOf
from din_tune.space import KNOWN_GOOD, Space
from tests.helpers.settings import changed

ROOT = Path(__file__).parents[2]


def named(params: Params, model: str) -> Params:
    return replace(params, train=changed(params.train, name=model))


@pytest.mark.parametrize("model", ["din", "base", "lr", "wide_deep", "pnn", "deepfm"])
def test_every_model_has_a_sound_space(tiny: Params, model: str) -> None:
    """All values are valid, the first point is today's parameters, and every point survives optuna's terms."""
    space = Space.of(named(tiny, model))
    assert ("model.softmax" in space.searches) == ("model.name" in space.searches) == (model in ("din", "base"))
    assert ("model.embedding_dim" in space.searches) == (model != "lr")
    assert space.settings(space.starts[0]) == space.params.train
    for point in space.starts:
        assert space.decoded(space.encoded(point)) == point
        space.settings(point)


@pytest.mark.parametrize("model", ["din", "base"])
def test_a_trial_has_only_keys_that_its_model_reads(tiny: Params, model: str) -> None:
    """Whichever of the two models is today's, both are among the first trials and are drawn later."""
    space = Space.of(named(tiny, model))
    study = optuna.create_study(sampler=RandomSampler(seed=1))
    for point in space.starts:
        study.enqueue_trial(space.encoded(point))
    drawn = [space.drawn(study.ask()) for _ in range(len(space.starts) + 20)]
    assert drawn[: len(space.starts)] == space.starts
    for points in (space.starts, drawn[len(space.starts) :]):
        assert {point["model.name"] for point in points} == {"din", "base"}
    for point in drawn:
        assert ("model.softmax" in point) == (point["model.name"] == "din") != ("model.pooling" in point)
        assert space.settings(point).model.name == point["model.name"]


def test_known_good_points_are_within_the_space(tiny: Params) -> None:
    """Otherwise a point would be tried with other values than those that were good."""
    space = Space.of(tiny)
    for point in KNOWN_GOOD:
        assert set(point) <= set(space.searches)
        for key, value in point.items():
            search = space.searches[key]
            within = search.values if isinstance(search, OneOf) else [value] * (search.low <= value <= search.high)
            assert value in within, key


@pytest.mark.parametrize("values", [{"regularization": 0.0, "learning_rate": 0.0123}, {"batch_size": 77}])
def test_todays_values_are_in_the_space(tiny: Params, values: dict[str, Any]) -> None:
    """Even beyond the bounds, among other choices, and where there is no logarithm."""
    space = Space.of(replace(tiny, train=changed(tiny.train, **values)))
    assert space.decoded(space.encoded(space.today)) == space.today
    assert space.changes(space.today) == {}


def test_a_kept_key_has_todays_value(tiny: Params) -> None:
    """With the model kept, the other one is never tried; `train.` may be left out. Keys that don't vary are refused."""
    space = Space.of(tiny, ["train.model.name", "model.ages"])
    assert not {"model.name", "model.ages", "model.pooling"} & set(space.searches)
    study = optuna.create_study(sampler=RandomSampler(seed=1))
    for point in [*space.starts, *(space.drawn(study.ask()) for _ in range(9))]:
        assert space.settings(point).model.name == "din"
        assert space.settings(point).model.ages == tiny.train.model.ages
    with pytest.raises(InputError, match=r"--keep train.epochs: expected keys that would vary: train.model.name"):
        Space.of(tiny, ["train.epochs"])


def test_a_plugins_options_vary(tiny: Params) -> None:
    """A note beside an option is enough; the overlay holds the options as a whole, as params.yaml does."""
    plugins.load(["examples/plugins/transformer.py"], ROOT)
    space = Space.of(named(tiny, "transformer"))
    assert space.today["model.options.heads"] == 4
    settings = space.settings({"model.options.heads": 2, "model.embedding_dim": 8})
    assert (settings.model.options, settings.model.embedding_dim) == ({"heads": 2}, 8)
    assert space.overlay({"model.options.heads": 2}) == {"train.model.options": {"heads": 2}}


@dataclass(frozen=True)
class Wrong:
    """Options whose space holds a value of another type."""

    width: Annotated[int, OneOf((1, "wide"))] = 1


@dataclass(frozen=True)
class Absent:
    """Options with bounds around no number."""

    age: Annotated[float | None, Between(1.0, 9.0)] = None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (Wrong, "the search space of train.model.options.width holds 'wide'"),
        (Absent, "train.model.options.age is None, no number between bounds"),
    ],
)
def test_a_bad_space_of_a_plugin_is_named(
    tiny: Params, options: type, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the first trial, with its key and value."""
    monkeypatch.setattr(MODELS, "_things", dict(MODELS._things))
    MODELS.register(f"tuned {options.__name__}", options)(type(options.__name__, (DIN,), {"__module__": __name__}))
    with pytest.raises(InputError, match=message):
        Space.of(named(tiny, f"tuned {options.__name__}"))


@pytest.mark.parametrize("make", [lambda: Between(2, 1), lambda: Between(0, 1, log=True), lambda: OneOf((1,))])
def test_bounds_that_hold_nothing_are_refused(make: Callable[[], object]) -> None:
    """Where they are declared."""
    with pytest.raises(InputError, match="expected a"):
        make()

"""The space of `din tune`: today's parameters, and other values for the keys that have a `Search` (`din.params`)."""

import json
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import reduce
from operator import getitem
from typing import Any

from optuna.trial import Trial

from din.base import documents
from din.base.errors import InputError, listed, shown
from din.model import MODELS
from din.params.blocks import leaves, parse, to_json
from din.params.overlays import nested, overlaid
from din.params.reading import Params
from din.params.search import Between, OneOf, Search
from din.params.train import Train
from din_start.params.recipes import RECIPES

Values = Mapping[str, Any]
"""Plain values by dotted key below `train`."""
_NAME = "model.name"
_OPTIONS = "model.options"

COMPARED = OneOf(("din", "base"))
"""The models that a search compares if today's is among them."""
_DIN = {"model.name": "din"}
KNOWN_GOOD: tuple[dict[str, Any], ...] = (
    {**_DIN, **RECIPES["leave_last_out"]},
    {
        "learning.embedding_std": 0.01,
        "learning.initial_item_bias": "zero",
        "learning.average": 0.25,
        "learning.patience": 4,
        "learning.renew_embeddings": True,
        "learning.regularization": 100.0,
        "learning.penalty": "decoupled",
    },
    {**_DIN, **RECIPES["by_user"]},
    {"learning.average": 0.25, "learning.decay": 0.7, "learning.dropout": 0.1},
    {**_DIN, "model.ages": True},
    {"model.name": "base", "learning.average": 0.25},
)
"""Changes to today's values that improved models of public logs. `din tune` tries them first."""


@dataclass(frozen=True)
class Space:
    """Where to search.

    Attributes:
        params: today's parameters, of a training from random weights.
        searches: the keys that vary, below `train`, the model's name first. Not every model reads all of them.
        today: today's values of these keys.
    """

    params: Params
    searches: Mapping[str, Search]
    today: Values

    @classmethod
    def of(cls, params: Params, fixed: Collection[str] = ()) -> "Space":
        """Return the space around some parameters.

        Args:
            fixed: dotted keys of params.yaml that keep today's values, with or without `train.`.

        Raises:
            InputError: the space of a key holds a value that the key can't have, or a fixed key would not vary anyway.
        """
        train = replace(params.train, start="scratch", champion=None)
        model = train.model.name
        parameters = leaves(Train) | leaves(MODELS[model].options or object, f"{_OPTIONS}.")
        compared = {_NAME: COMPARED} if model in COMPARED.values else {}
        searches = compared | {key: parameter.search for key, parameter in parameters.items() if parameter.search}
        fixed_names = {key.removeprefix("train."): key for key in fixed}
        if unknown := [key for name, key in fixed_names.items() if name not in searches]:
            varying = listed(f"train.{key}" for key in searches)
            raise InputError(f"--keep {listed(unknown)}: expected keys that would vary: {varying}")
        searches = {key: search for key, search in searches.items() if key not in fixed_names}
        models = COMPARED.values if _NAME in searches else (model,)
        searches = {key: search for key, search in searches.items() if any(MODELS.reads(name, key) for name in models)}
        space = cls(replace(params, train=train), searches, {key: _value(train, key) for key in searches})
        space._check()
        return space

    @property
    def starts(self) -> list[Values]:
        """The values of the first trials: today's, and those that were good on other logs."""
        points = [self._read({**self.today, **point}) for point in ({}, *KNOWN_GOOD)]
        return list({json.dumps(point): point for point in points}.values())

    def drawn(self, trial: Trial) -> dict[str, Any]:
        """Draw a value for each key that the model reads, whose name is drawn first.

        Today's values are among those that are drawn. Choices are JSON, since optuna knows no lists.
        """
        chosen: dict[str, Any] = {}
        model = self.params.train.model.name
        for key, search in self.searches.items():
            if MODELS.reads(model, key):
                chosen[key] = _drawn(trial, key, search, self.today[key])
            if key == _NAME:
                model = json.loads(chosen[key])
        return self.decoded(chosen)

    def encoded(self, values: Values) -> dict[str, Any]:
        """Return values in the terms of `drawn`."""
        return {
            key: json.dumps(value) if isinstance(self.searches[key], OneOf) else value for key, value in values.items()
        }

    def decoded(self, chosen: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values of a trial; numbers have two digits, unless they are today's."""
        values: dict[str, Any] = {}
        for key, value in chosen.items():
            if isinstance(self.searches[key], OneOf):
                values[key] = json.loads(value)
            else:
                values[key] = self.today[key] if math.isclose(value, self.today[key]) else float(f"{value:.2g}")
        return values

    def changes(self, values: Values) -> dict[str, Any]:
        """Return the values that differ from today's."""
        return {key: value for key, value in values.items() if json.dumps(value) != json.dumps(self.today[key])}

    def settings(self, values: Values, seed: int | None = None) -> Train:
        """Return the settings of a training with some values, and today's for all other keys.

        Raises:
            InputError: values of two keys contradict each other.
        """
        train = parse(Params, self._plain(values), "din tune").train
        return train if seed is None else replace(train, learning=replace(train.learning, seed=seed))

    def overlay(self, values: Values) -> dict[str, Any]:
        """Return values by dotted key of params.yaml, where the options of a model are one value."""
        options = {key.removeprefix(f"{_OPTIONS}."): value for key, value in values.items() if key.startswith(_OPTIONS)}
        others = {f"train.{key}": value for key, value in values.items() if not key.startswith(_OPTIONS)}
        merged = {f"train.{_OPTIONS}": {**self.params.train.model.options, **options}} if options else {}
        return others | merged

    def _read(self, values: Values) -> Values:
        """Return the values of the keys that vary and that the model reads."""
        model = values[_NAME] if _NAME in self.searches else self.params.train.model.name
        return {key: values[key] for key in self.searches if MODELS.reads(model, key)}

    def _plain(self, values: Values) -> dict[str, Any]:
        return overlaid(to_json(self.params), nested(self.overlay(values)), "din tune")

    def _check(self) -> None:
        """Check every value that a key may get.

        Raises:
            InputError: a key can't have one.
        """
        model = self.params.train.model
        for key, search in self.searches.items():
            assert isinstance(search, Between | OneOf)
            today = self.today[key]
            if isinstance(search, Between) and not isinstance(today, int | float):
                raise InputError(f"train.{key} is {shown(today)}, no number between bounds; set a number")
            for value in search.values if isinstance(search, OneOf) else (search.low, search.high):
                where = f"the search space of train.{key} holds {shown(value)}"
                documents.check(Params, self._plain({key: value}), where)
                options = self.overlay({key: value}).get(f"train.{_OPTIONS}", model.options)
                MODELS[model.name].parse(options, where)


def _value(train: Train, key: str) -> Any:
    """Return the value of a key below `train`; an option of the model that is not set has its default."""
    block = to_json(train)
    if key.startswith(_OPTIONS):
        options = MODELS[train.model.name].options
        assert options is not None
        block["model"]["options"] = to_json(options()) | block["model"]["options"]
    return reduce(getitem, key.split("."), block)


def _drawn(trial: Trial, key: str, search: Search, today: Any) -> Any:
    if isinstance(search, Between):
        low, high = min(search.low, today), max(search.high, today)
        return trial.suggest_float(key, low, high, log=search.log and today > 0)
    assert isinstance(search, OneOf)
    return trial.suggest_categorical(key, list(dict.fromkeys(map(json.dumps, (*search.values, today)))))

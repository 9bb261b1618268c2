"""Tests of seams: names of what is built in and of plugins, their options, and the error for a name that is taken."""

from dataclasses import dataclass

import pytest

from din.errors import InputError
from din.seams import Seam


@dataclass(frozen=True)
class Options:
    """The options of a made-up thing."""

    heads: int = 2


def test_a_registered_thing_is_found_with_its_options() -> None:
    """Options that are not given have their defaults."""
    seam: Seam[str] = Seam("model", {})
    seam.register("transformer", Options)("thing")
    found = seam["transformer"]
    assert found.thing == "thing"
    assert found.parse({}, "here") == {"options": Options(heads=2)}
    assert found.parse({"heads": 3}, "here") == {"options": Options(heads=3)}


@pytest.mark.parametrize(
    ("given", "message"),
    [({"head": 3}, r"train.model.options: key 'head' is unknown.*valid keys: heads"), ({"heads": "3"}, "heads: ")],
)
def test_wrong_options_are_refused(given: dict[str, object], message: str) -> None:
    """The message names the key of params.yaml and the valid keys."""
    seam: Seam[str] = Seam("model", {})
    seam.register("transformer", Options)("thing")
    with pytest.raises(InputError, match=message):
        seam.check("transformer", given, "train.model.name")


def test_a_thing_without_options_takes_none() -> None:
    """Options of a thing that reads none would do nothing, so they are refused."""
    seam: Seam[str] = Seam("model", {})
    seam.register("plain")("thing")
    with pytest.raises(InputError, match="heads: expected nothing here"):
        seam["plain"].parse({"heads": 3}, "train.model.options")


def test_names_are_known_before_modules_are_imported() -> None:
    """A name is checked even if its module does not exist."""
    seam: Seam[str] = Seam("model", {"din": "din.no_such_module"})
    assert list(seam) == ["din"]
    seam.check("din", {}, "train.model.name")
    with pytest.raises(InputError, match=r"train.model.name: 'dien' is not a model; there are din; choose one"):
        seam.check("dien", {}, "train.model.name")


def test_a_name_has_one_owner() -> None:
    """A plugin can't replace what is built in, nor what another plugin has registered."""
    seam: Seam[type] = Seam("model", {"din": "din.no_such_module"})
    with pytest.raises(InputError, match=r"model 'din': din.no_such_module has registered this name"):
        seam.register("din")(Options)
    seam.register("own")(Options)
    with pytest.raises(InputError, match=r"has registered this name; choose another in builtins"):
        seam.register("own")(int)

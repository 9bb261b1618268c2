"""Tests of seams: names of what is built in and of plugins, their options, and the error for a name that is taken."""

from dataclasses import dataclass
from typing import Any

import pytest

from din.errors import InputError
from din.seams import Seam


@dataclass(frozen=True)
class Options:
    heads: int = 2


@pytest.fixture
def seam() -> Seam[Any]:
    """Return a seam in which one thing has options and one has none."""
    seam: Seam[Any] = Seam("model", {"din": "din.no_such_module"})
    seam.register("transformer", Options)(Options)
    seam.register("plain")(int)
    return seam


def test_a_registered_thing_is_found_with_its_options(seam: Seam[Any]) -> None:
    """Options that are not given have their defaults."""
    found = seam["transformer"]
    assert found.thing is Options
    assert found.parse({}, "here") == {"options": Options(heads=2)}
    assert found.parse({"heads": 3}, "here") == {"options": Options(heads=3)}


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("transformer", {"head": 3}, r"train.model.options: key 'head' is unknown.*valid keys: heads"),
        ("plain", {"heads": 3}, "heads: expected nothing here"),
    ],
)
def test_wrong_options_are_refused(name: str, given: dict[str, object], message: str, seam: Seam[Any]) -> None:
    """The message names the key of params.yaml and the valid keys; options that nothing reads are refused too."""
    with pytest.raises(InputError, match=message):
        seam.check(name, given, "train.model.name")


def test_names_are_known_before_modules_are_imported(seam: Seam[Any]) -> None:
    """A name is checked even if its module does not exist."""
    assert list(seam) == ["din", "transformer", "plain"]
    seam.check("din", {}, "train.model.name")
    with pytest.raises(InputError, match=r"train.model.name: 'dien' is not a model; there are din, transformer, plain"):
        seam.check("dien", {}, "train.model.name")


@pytest.mark.parametrize(("name", "owner"), [("din", "din.no_such_module"), ("transformer", "test_seams")])
def test_a_name_has_one_owner(name: str, owner: str, seam: Seam[Any]) -> None:
    """A plugin can't replace what is built in, nor what another plugin has registered."""
    with pytest.raises(
        InputError, match=f"model '{name}': {owner} has registered this name; choose another in builtins"
    ):
        seam.register(name)(int)

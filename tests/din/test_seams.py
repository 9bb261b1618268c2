"""Tests of seams: names of what is built in and of plugins, and the error for a name that is taken."""

from typing import Any

import pytest

from din.base.errors import InputError
from din.seams import Seam


class Transformer:
    """A thing of a plugin."""


@pytest.fixture
def seam() -> Seam[Any]:
    seam: Seam[Any] = Seam("model", {"din": "din.no_such_module"})
    seam.register("transformer")(Transformer)
    return seam


def test_names_are_known_before_modules_are_imported(seam: Seam[Any]) -> None:
    """A name is checked even if its module does not exist."""
    assert list(seam) == ["din", "transformer"]
    seam.check("din", {}, "train.model.name")
    with pytest.raises(InputError, match=r"train.model.name: 'dien' is not a model; there are din, transformer"):
        seam.check("dien", {}, "train.model.name")


@pytest.mark.parametrize(("name", "owner"), [("din", "din.no_such_module"), ("transformer", __name__)])
def test_a_name_has_one_owner(name: str, owner: str, seam: Seam[Any]) -> None:
    """A plugin can't replace what is built in, nor what another plugin has registered."""
    with pytest.raises(
        InputError, match=f"model '{name}': {owner} has registered this name; choose another in builtins"
    ):
        seam.register(name)(int)

"""The parameters as a whole."""

import re
from pathlib import Path

import pytest

from din.params import Params
from din.params.blocks import types_of

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("key", list(types_of(Params)))
def test_every_parameter_is_read(key: str) -> None:
    """Each parameter is used by some module outside din/params."""
    modules = [path for folder in ("din", "validation") for path in (ROOT / folder).rglob("*.py")]
    code = "".join(path.read_text() for path in modules if path.parent.name != "params")
    assert re.search(rf"\.{key.rpartition('.')[2]}\b", code)

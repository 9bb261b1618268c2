"""The parameters as a whole. Alone: pytest tests/params"""

import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest

from din.params import Params

ROOT = Path(__file__).parents[2]


def keys(block: Any, prefix: str = "") -> Iterator[str]:
    """Return every dotted key below a block."""
    for field in fields(block):
        if is_dataclass(field.type):
            yield from keys(field.type, f"{prefix}{field.name}.")
        else:
            yield f"{prefix}{field.name}"


@pytest.mark.parametrize("key", list(keys(Params)))
def test_every_parameter_is_read(key: str) -> None:
    """Some module outside din/params uses it."""
    modules = [path for folder in ("din", "validation") for path in (ROOT / folder).rglob("*.py")]
    code = "".join(path.read_text() for path in modules if path.parent.name != "params")
    assert re.search(rf"\.{key.rpartition('.')[2]}\b", code)

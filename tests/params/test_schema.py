"""The JSON Schema that editors read."""

import json
from pathlib import Path

from din.params import Params
from din.params.blocks import types_of
from din.params.defaults import SCHEMA_LINE
from din.params.schema import schema

ROOT = Path(__file__).parents[2]


def test_editors_find_the_schema() -> None:
    """The first line of params.yaml names the schema."""
    first = (ROOT / "params.yaml").read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith(SCHEMA_LINE)
    assert json.loads((ROOT / first.removeprefix(SCHEMA_LINE)).read_text(encoding="utf-8")) == schema()


def test_every_key_is_required_and_described() -> None:
    """Keys have defaults, but a parameter file must hold them; the doc of a key is its description."""
    built = schema()
    described = {}
    for key in types_of(Params):
        block, name = built, key
        while "." in name:
            part, _, name = name.partition(".")
            block = built["$defs"][block["properties"][part]["$ref"].rpartition("/")[2]]
        assert name in block["required"]
        described[key] = block["properties"][name].get("description")
    assert [key for key, text in described.items() if not text] == []
    assert described["train.model.embedding_dim"] == "width of a field's embedding"

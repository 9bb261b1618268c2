"""The JSON Schema that editors read."""

import json
from pathlib import Path

from typer.testing import CliRunner

from din.cli import app
from din.params import Params
from din.params.blocks import types_of
from din.params.schema import schema

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "params.yaml").read_text(encoding="utf-8")


def test_the_committed_schema_is_what_the_command_prints(monkeypatch) -> None:
    """The committed schema is what `din params schema` prints."""
    monkeypatch.chdir(ROOT)
    printed = CliRunner().invoke(app, ["params", "schema"]).stdout
    assert (ROOT / "docs/params.schema.json").read_text(encoding="utf-8") == printed


def test_editors_find_the_schema() -> None:
    """The first line of params.yaml names the schema."""
    prefix = "# yaml-language-server: $schema="
    first = TEXT.splitlines()[0]
    assert first.startswith(prefix)
    assert json.loads((ROOT / first.removeprefix(prefix)).read_text(encoding="utf-8")) == schema(TEXT)


def test_every_key_has_a_comment() -> None:
    """The comment of a key is its description, in the file and in the schema."""
    built = schema(TEXT)
    described = {}
    for key in types_of(Params):
        block, name = built, key
        while "." in name:
            part, _, name = name.partition(".")
            block = built["$defs"][block["properties"][part]["$ref"].rpartition("/")[2]]
        described[key] = block["properties"][name].get("description")
    assert [key for key, text in described.items() if not text] == []
    assert described["train.model.embedding_dim"] == "width of a field's embedding"

"""The defaults in the dataclasses, and the files that are written from them."""

import json
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from din.base.errors import InputError
from din.params.blocks import leaves, parse, to_json
from din.params.fetch import Daily
from din.params.overlays import edit
from din.params.reading import Params, load, plain
from din_start.params.defaults import SCHEMA_LINE, defaults, written
from din_start.params.json_schema import schema
from din_start.params.reference import reference

ROOT = Path(__file__).parents[3]


def test_the_committed_files_are_those_of_make_params(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Byte for byte. In another repository the command overwrites nothing."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="run it in a checkout of this project"):
        runpy.run_module("din_start.params", run_name="__main__")
    assert not Path("params.yaml").exists()
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "params.schema.json").touch()
    runpy.run_module("din_start.params", run_name="__main__")
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    assert text == Path("params.yaml").read_text(encoding="utf-8")
    (page,) = re.findall(rf"{re.escape(SCHEMA_LINE)}(.*)\n", text)
    assert json.loads((ROOT / page).read_text(encoding="utf-8")) == schema()


def test_editors_and_the_page_know_every_key() -> None:
    """Keys have defaults, but a parameter file must hold them; the doc of a key is its description, and has a row."""
    built = schema()
    page = reference()
    for key in leaves(Params):
        part, name = built, key
        while "." in name:
            above, _, name = name.partition(".")
            part = built["$defs"][part["properties"][above]["$ref"].rpartition("/")[2]]
        assert name in part["required"]
        meaning = part["properties"][name]["description"].replace("|", "\\|")
        above = key.rpartition(".")[0]
        assert f"## {above or key}\n" in page
        assert not above or re.search(rf"^\| `{name}` \|.*{re.escape(meaning)}", page, re.M), key
    assert "| `test_fraction` | number > 0, < 1 | `0.25` | share of users" in page
    assert "| `metric` | `gauc`, `auc` | `auc` |" in page
    assert "| `until` | text or null | `null` |" in page


def test_editors_know_the_options_of_plugins(tmp_path: Path) -> None:
    """They are checked for the source and the model that are chosen, and for each gate by its name."""
    names = ("sqlite", "listwise", "concentration")
    shutil.copytree(ROOT / "examples/plugins", tmp_path / "plugins")
    overlay = {
        "plugins": [f"plugins/{name}.py" for name in names],
        "fetch": {"source": "sqlite", "options": {"path": "clicks.db"}},
        "train": {"model": {"name": "listwise", "options": {"share": 0.5}}},
        "gate": {"options": {"concentration": {"max_share": 0.9}}},
    }
    (tmp_path / "params.yaml").write_text(edit(defaults(), overlay, "here").text, encoding="utf-8")
    subprocess.run([sys.executable, "-m", "din_start.params.json_schema"], cwd=tmp_path, check=True)
    valid = jsonschema.Draft202012Validator(json.loads((tmp_path / "params.schema.json").read_text()))
    values = plain((tmp_path / "params.yaml").read_text(), "here")
    assert valid.is_valid(values)
    for block in (values["fetch"], values["train"]["model"], values["gate"]["options"]["concentration"]):
        options = block.get("options", block)
        options["colour"] = 1
        (error,) = valid.iter_errors(values)
        assert "'colour' was unexpected" in error.message
        del options["colour"]
    values["fetch"]["source"] = "movielens-100k"
    values["fetch"]["options"] = {"anything": 1}
    assert valid.is_valid(values)


def test_the_file_of_defaults_reads_as_the_defaults(tmp_path: Path) -> None:
    """Values of all types survive being written and read."""
    (tmp_path / "params.yaml").write_text(defaults(), encoding="utf-8")
    assert load(tmp_path / "params.yaml") == Params()


@pytest.mark.parametrize(
    "text", ["", "null", "3", "0.5", "true", "a: b", "a, b", "a # b", "[a]", "*a", ":0", ", | ;", "é b"]
)
def test_text_is_quoted_where_yaml_would_read_something_else(text: str) -> None:
    """Alone, and in lists and mappings."""
    for value in (text, (text, text), {text: text}):
        assert plain(f"key: {written(value)}", "here") == {"key": list(value) if isinstance(value, tuple) else value}


def test_only_the_blocks_of_a_file_need_every_key() -> None:
    """A value that is a mapping has its defaults where it is silent; its unknown keys are refused."""
    values = to_json(Params())
    values["fetch"]["simulate"]["daily"] = {"impressions": 9}
    assert parse(Params, values, "here").fetch.simulate.daily == Daily(impressions=9)
    values["fetch"]["simulate"]["daily"] = {"impression": 9}
    with pytest.raises(InputError, match=r"'impression' is unknown in fetch\.simulate\.daily; valid keys: impressions"):
        parse(Params, values, "here")

"""Overlays change the keys they hold and nothing else."""

import json
import re
from copy import deepcopy
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from dvc.parsing.context import Context
from hypothesis import example, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from din.base.errors import InputError
from din.cli import app
from din.params.blocks import leaves, parse, to_json
from din.params.overlays import edit, nested, overlaid, read_overlay
from din.params.reading import Params, load, plain
from din.schema import parse_fields
from din_start.params.defaults import defaults
from tests.helpers.strategies import PLAIN, documents

ROOT = Path(__file__).parents[3]
TEXT = defaults()
TYPES = {key: one.hint for key, one in leaves(Params).items()}
EXAMPLES = sorted((ROOT / "docs" / "examples").glob("*.yaml"))
BEFORE = plain(TEXT, "params.yaml")


def flat(text: str) -> dict[str, Any]:
    """Return the values of a parameter file by dotted key."""
    values = plain(text, "here")
    return {key: value_at(values, key) for key in TYPES}


def value_at(values: Any, key: str) -> Any:
    for part in key.split("."):
        values = values[part]
    return values


def comments(text: str) -> list[str]:
    return re.findall(r"# .*", text)


OVERLAYS = st.lists(st.sampled_from(sorted(TYPES)), unique=True, max_size=8).flatmap(
    lambda keys: st.fixed_dictionaries({key: documents(TYPES[key]) for key in keys})
)


@given(values=OVERLAYS)
@example(values={"fetch.table.columns": {"": ":0"}})
@settings(max_examples=12)
def test_any_overlay_goes_there_and_back(values: dict[str, Any]) -> None:
    """An overlay changes its own keys and keeps all others and every comment, and the old values restore the text."""
    before = {key: value_at(BEFORE, key) for key in TYPES}
    try:
        edited = edit(TEXT, nested(values), "an overlay")
    except InputError as error:
        assert re.search(" and |nothing lies between|name one$", str(error))  # a conflict of keys, bounds or columns
        return
    after = flat(edited.text)
    assert {key: as_json(value) for key, value in after.items()} == {
        key: as_json(values.get(key, value)) for key, value in before.items()
    }
    changed = {key for key, value in values.items() if as_json(value) != as_json(before[key])}
    assert {change.key for change in edited.changes} == changed
    old = nested({change.key: change.old for change in edited.changes})
    assert edit(edited.text, old, "the old values").text == TEXT


def as_json(value: Any) -> str:
    return json.dumps(value, default=str, sort_keys=True)


def test_comments_stay_beside_their_keys() -> None:
    """At their column, or one blank behind a long value."""
    values = {"train": {"model": {"hidden": [8]}}, "fetch": {"table": {"items": "a" * 40}}}
    edited = edit(TEXT, values, "an overlay")
    assert comments(edited.text) == comments(TEXT)
    assert "    hidden: [8]                   # widths of the MLP's hidden layers\n" in edited.text
    assert f"    items: {'a' * 40} # path or glob of the item table\n" in edited.text
    assert [str(change) for change in edited.changes] == [
        "train.model.hidden: [200, 80] → [8]",
        f'fetch.table.items: null → "{"a" * 40}"',
    ]


def test_an_optional_block_that_is_set_is_merged() -> None:
    """Keys that the overlay does not name stay. A block that was null gets the overlay's keys alone."""
    daily = {"impressions": 20000, "fashion": 0.9}
    text = edit(TEXT, nested({"fetch.simulate.daily": daily}), "an overlay").text
    more = nested({"fetch.simulate.daily.impressions": 5000, "fetch.simulate.daily.item_days": 3})
    edited = edit(text, more, "an overlay")
    merged = {"impressions": 5000, "fashion": 0.9, "item_days": 3}
    assert flat(edited.text)["fetch.simulate.daily"] == merged
    assert overlaid(plain(text, "here"), more, "an overlay")["fetch"]["simulate"]["daily"] == merged
    assert [str(change) for change in edited.changes] == [
        "fetch.simulate.daily.impressions: 20000 → 5000",
        "fetch.simulate.daily.item_days: null → 3",
    ]
    assert flat(edit(TEXT, more, "an overlay").text)["fetch.simulate.daily"] == {"impressions": 5000, "item_days": 3}


@pytest.mark.parametrize("block", ["", "fetch", "fetch.table.csv", "train.model"])
def test_an_unknown_or_missing_key_names_the_valid_ones(block: str) -> None:
    """The valid keys are named at any depth, in an overlay as in the file."""
    prefix = f"{block}." if block else ""
    valid = list(dict.fromkeys(key.removeprefix(prefix).split(".")[0] for key in TYPES if key.startswith(prefix)))
    message = f"'no_such_key' is unknown in .*; valid keys: {', '.join(valid)}$"
    with pytest.raises(InputError, match=message):
        overlaid(BEFORE, nested({f"{prefix}no_such_key": 1}), "an overlay")
    given = deepcopy(BEFORE)
    keys = value_at(given, block) if block else given
    keys["no_such_key"] = 1
    with pytest.raises(InputError, match=message):
        parse(Params, given, "params.yaml")
    del keys["no_such_key"], keys[valid[-1]]
    place = block or "the document"
    with pytest.raises(InputError, match=rf"params.yaml: key '{valid[-1]}' is missing in {place}; valid keys: "):
        parse(Params, given, "params.yaml")


@given(key=st.sampled_from(sorted(TYPES)), value=PLAIN)
@example(key="gate.min_slice_rows", value={})  # the type's bound is a dataclass too, but no block
@settings(max_examples=20)
def test_a_value_of_a_wrong_type_is_named(key: str, value: Any) -> None:
    """The message names the key, or the keys of a conflict, in the file as in an overlay."""
    try:
        edited = edit(TEXT, nested({key: value}), "an overlay")
    except InputError as error:
        assert key in str(error) and "\n" not in str(error)
    else:
        assert as_json(flat(edited.text)[key]) == as_json(value)


@pytest.mark.parametrize("overlay", [None, 3, [], {"train": None}, {"fetch": {"table": "clicks.csv"}}], ids=str)
def test_a_block_without_keys_is_refused(overlay: Any) -> None:
    """A value in place of a block is refused, since it would replace the whole block."""
    with pytest.raises(InputError, match="expected keys with values"):
        edit(TEXT, overlay, "an overlay")


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_hold_only_differences(path: Path) -> None:
    """Each key changes the defaults or params.yaml, and both end with the same values."""
    overlay = read_overlay(path)
    edited = edit(TEXT, overlay, path)
    ours = edit((ROOT / "params.yaml").read_text(encoding="utf-8"), overlay, path)
    assert nested({change.key: change.new for change in (*edited.changes, *ours.changes)}) == overlay
    assert plain(ours.text, path) == plain(edited.text, path)
    params = parse(Params, plain(edited.text, path), path)
    assert params.model_name == path.stem
    assert parse_fields({name: group or {} for name, group in (params.featurize.fields or {}).items()})


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(TEXT, encoding="utf-8")
    Path("good.yaml").write_text("train: {learning: {epochs: 3}}\n")
    Path("bad.yaml").write_text("train: {learning: {epoch: 3}}\n")
    return tmp_path


def test_the_command_shows_and_writes_changes(workspace: Path, params: Params) -> None:
    """A dry run only shows changes, and a second run finds nothing to change."""
    dry = CliRunner().invoke(app, ["params", "apply", "good.yaml", "--dry-run"])
    assert (dry.exit_code, dry.stdout) == (0, "train.learning.epochs: 20 → 3\n")
    assert Path("params.yaml").read_text() == TEXT
    assert CliRunner().invoke(app, ["params", "apply", "good.yaml"]).stdout == dry.stdout
    assert to_json(load(workspace / "params.yaml")) == overlaid(
        to_json(params), {"train": {"learning": {"epochs": 3}}}, "here"
    )
    again = CliRunner().invoke(app, ["params", "apply", "good.yaml"])
    assert again.stdout == "good.yaml: params.yaml has these values already\n"
    Path("day.yaml").write_text("data: {until: 2024-05-09}\n")
    (change,) = json.loads(CliRunner().invoke(app, ["params", "apply", "day.yaml", "--json"]).stdout)
    assert (change["key"], change["new"]) == ("data.until", "2024-05-09")


@pytest.mark.parametrize("overlays", [["bad.yaml"], ["good.yaml", "bad.yaml"], ["nowhere.yaml"]])
def test_the_command_writes_all_or_nothing(workspace: Path, overlays: list[str]) -> None:
    """An unknown key in the last overlay leaves the file as it was."""
    done = CliRunner().invoke(app, ["params", "apply", *overlays])
    assert done.exit_code == 2
    assert overlays[-1] in done.stderr
    assert Path("params.yaml").read_text() == TEXT


@pytest.mark.parametrize("until", [date(2024, 5, 9), "2024-05-09"], ids=["date", "text"])
def test_days_are_quoted(until: date | str) -> None:
    """DVC stops at a date of YAML."""
    written = edit(TEXT, {"data": {"until": until}}, "here").text
    assert Context(plain(written, "here")).select("data.until").value == "2024-05-09"

"""Odd column names, from the header of a table to validated features: they work, or fetch refuses them."""

import csv
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from stages import exit_code

from din.artifacts import read_json
from din.errors import InputError
from din.featurize.build import featurize
from din.params import Params
from din.schema import name_problem, parse_field
from din.sources.fetch import fetch
from din.workspace import Workspace
from validation import features as features_suite
from validation import raw as raw_suite
from validation.run import validate

Build = Callable[..., Params]

USERS, ITEMS, EVENTS = 40, 15, 800
START = 1_700_006_400
ATTACK = "x\"; COPY (SELECT 42 AS a) TO 'pwned.csv'; --"
ODD = (
    ATTACK,
    'a"b',
    "a'b",
    "'; SELECT 1; --",
    "名前",
    "a b",
    "{n}",
    "%s",
    "$1",
    "?",
    "*",
    "self",
    "a.b",
    "-",
    "date",
    "n",
)
BAD = {
    "a\0b": r"holds '\x00'", "a\nb": r"holds '\n'", "a\\b": r"holds '\\'", "a/b": "holds '/'",
    "..": "begins with a dot",
    ".a": "begins with a dot", "": "is blank", " ": "is blank", "x" * 300: "has 300 bytes, more than 200",
    "a\u2028b": r"holds '\u2028'", "a.weights": "ends in one of .owners, .weights",
}  # fmt: skip


def write(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Write a CSV file."""
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])


@pytest.fixture
def odd_params(workspace: Workspace, table_params: Build) -> Build:
    """Write tables of users and items with columns of these names, and return params that read them."""

    def build(users: Sequence[str] = (), items: Sequence[str] = (), **table: object) -> Params:
        rng = random.Random(7)
        times = sorted(START + rng.randrange(25 * 86_400) for _ in range(EVENTS))
        events = [[rng.randrange(USERS), rng.randrange(ITEMS), time, int(rng.random() < 0.4)] for time in times]
        write(workspace.root / "clicks.csv", ["user_id", "item_id", "timestamp", "label"], events)
        write(
            workspace.root / "users.csv", ["user_id", *users], [[n, *"abc"[n % 3] * len(users)] for n in range(USERS)]
        )
        write(
            workspace.root / "items.csv", ["item_id", *items], [[n, *"abc"[n % 3] * len(items)] for n in range(ITEMS)]
        )
        params = table_params(users="users.csv", items="items.csv", **table)
        return replace(params, featurize=replace(params.featurize, protocol="temporal", min_count=1, shards=1))

    return build


def written(workspace: Workspace) -> set[str]:
    """Return every file that is not an input and that fetch and featurize may not write."""
    inputs = {"clicks.csv", "users.csv", "items.csv"}
    paths = (path for path in workspace.root.rglob("*") if path.is_file() and path != workspace.fetch)
    names = {path.relative_to(workspace.root) for path in paths}
    return {name.as_posix() for name in names if name.parts[0] not in (".din", "data", *inputs)}


def test_odd_names_work_in_every_stage(workspace: Workspace, odd_params: Build) -> None:
    """Names with SQL, quotes, placeholders, keywords and any script pass both suites and have vocabularies."""
    half = len(ODD) // 2
    params = odd_params(users=ODD[:half], items=ODD[half:])
    limits = replace(params.validate_features, min_rows=1)
    params = replace(params, validate_features=limits, validate_raw=replace(params.validate_raw, min_rows=1))
    fetch(workspace, params)
    validate(workspace, "raw", raw_suite.PHASES, params)
    featurize(workspace, params)
    validate(workspace, "features", features_suite.PHASES, params)
    reports = {f"{suite}.{suffix}" for suite in ("raw", "features") for suffix in ("json", "verdict")}
    assert written(workspace) == {f"reports/validation/{name}" for name in reports}
    manifest = read_json(workspace.features / "manifest.json")
    assert {field["name"] for field in manifest["fields"]} == {"item_id", *ODD}
    for name in ODD:
        vocabulary = pq.read_table(workspace.features / "vocab" / f"{name}.parquet", partitioning=None)
        assert set(vocabulary["value"].to_pylist()) == {None, "a", "b", "c"}


@pytest.mark.parametrize("name", BAD, ids=ascii)
def test_names_that_cannot_name_a_file_are_refused_at_fetch(
    workspace: Workspace, name: str, odd_params: Build, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line names the file, the name, the problem and the parameter for another name, which then works."""
    params = odd_params(items=[name])
    assert exit_code(workspace, "fetch", lambda: fetch(workspace, params)) == 2
    message = capsys.readouterr().err
    assert "items.csv: column " in message and BAD[name] in message and "fetch.table.items_columns" in message
    assert message.count("\n") == 1 and len(message) < 500
    params = odd_params(items=[name], items_columns={"plain": name})
    assert exit_code(workspace, "fetch", lambda: fetch(workspace, params)) == 0
    featurize(workspace, params)


@pytest.mark.parametrize("name", ["../../etc/passwd", "a/b", ""])
def test_a_manifest_names_no_file_elsewhere(name: str) -> None:
    """The name in a field's record, of a manifest or a signature, must obey the same rules."""
    with pytest.raises(InputError, match="expected the name of a column that fetch accepts"):
        parse_field({"name": name, "group": "item", "kind": "id"})


NAMES = st.text(st.characters(codec="utf-8"), max_size=20) | st.text("ab\"'`;-/\\.\0\n{}%$ ()", max_size=8)


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=NAMES)
@example(name="\"'")
@example(name="')\n--")
def test_any_name_works_or_is_refused_at_fetch(workspace: Workspace, name: str, odd_params: Build) -> None:
    """For any header, featurize accepts what fetch accepted, and no file appears outside the two folders."""
    params = odd_params(users=[name])
    code = exit_code(workspace, "fetch", lambda: fetch(workspace, params))
    own = {"user_id", "item_id", "timestamp", "sequence", "label", "behaviour"}
    assert code == (2 if name_problem(name) or name == "user_id" else 0)
    if code == 0:
        reserved = {"user", "item", "value", "history_start", "history_end", "sampled", *own}
        assert exit_code(workspace, "featurize", lambda: featurize(workspace, params)) == (
            2 if name.lower() in reserved - own else 0
        )
    assert written(workspace) == set()

"""Odd column names, from the header of a table to validated features: they work, or fetch refuses them."""

import csv
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from din.base.artifacts import read_json
from din.base.errors import InputError
from din.base.workspace import Workspace
from din.data.fetch import fetch
from din.featurize.build import featurize
from din.params.reading import Params
from din.schema import name_problem, parse_field
from validation import features as features_suite
from validation import raw as raw_suite
from validation.run import validate

START = 1_700_006_400
ATTACK = "x\"; COPY (SELECT 42 AS a) TO 'pwned.csv'; --"
ODD = (ATTACK, "a'b {n} %s $1 ?", "名前", "*", "self", "a.b", "date", "n")
BAD = {
    "a\nb": r"holds '\n'", "a/b": "holds '/'", ".a": "begins with a dot", " ": "is blank",
    "x" * 300: "has 300 bytes, more than 200", "a.weights": "ends in one of .owners, .weights",
}  # fmt: skip


def write(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])


def test_odd_names_work_in_every_stage(workspace: Workspace, table_params: Callable[..., Params]) -> None:
    """Names with SQL, quotes, placeholders, keywords and any script pass both suites and have vocabularies."""
    rng = random.Random(7)
    times = sorted(START + rng.randrange(25 * 86_400) for _ in range(800))
    events = [[rng.randrange(40), rng.randrange(15), time, int(rng.random() < 0.4)] for time in times]
    write(workspace.root / "clicks.csv", ["user_id", "item_id", "timestamp", "label"], events)
    half = len(ODD) // 2
    for table, key, names in (("users", "user_id", ODD[:half]), ("items", "item_id", ODD[half:])):
        rows = [[n, *"abc"[n % 3] * half] for n in range(40)]
        write(workspace.root / f"{table}.csv", [key, *names], rows)
    params = table_params(users="users.csv", items="items.csv")
    params = replace(
        params,
        featurize=replace(params.featurize, protocol="temporal", min_count=1, shards=1),
        validate_raw=replace(params.validate_raw, min_rows=1),
        validate_features=replace(params.validate_features, min_rows=1),
    )
    before = {path.name for path in workspace.root.iterdir()}
    fetch(workspace, params)
    validate(workspace, "raw", raw_suite.PHASES, params)
    featurize(workspace, params)
    validate(workspace, "features", features_suite.PHASES, params)
    assert {path.name for path in workspace.root.iterdir()} - before == {"data", "reports", ".din"}
    manifest = read_json(workspace.features / "manifest.json")
    assert {field["name"] for field in manifest["fields"]} == {"item_id", *ODD}
    for name in ODD:
        vocabulary = pq.read_table(workspace.features / "vocab" / f"{name}.parquet", partitioning=None)
        assert set(vocabulary["value"].to_pylist()) == {None, "a", "b", "c"}


@pytest.mark.parametrize("name", BAD, ids=ascii)
def test_names_that_cannot_name_a_file_are_refused(name: str) -> None:
    """The problem is named."""
    assert BAD[name] in str(name_problem(name))


def test_a_refused_name_can_be_mapped_to_another(workspace: Workspace, fetch_table: Callable[..., object]) -> None:
    """One line names the file, the name, the problem and the parameter for another name, which then works."""
    write(workspace.root / "items.csv", ["item_id", "a/b"], [[10, "x"]])
    with pytest.raises(InputError, match=r"^items.csv: column 'a/b': .* name in fetch\.table\.items_columns$"):
        fetch_table(items="items.csv")
    fetch_table(items="items.csv", items_columns={"plain": "a/b"})


def test_a_manifest_names_no_file_elsewhere() -> None:
    """The name in a field's record, of a manifest or a signature, must obey the same rules."""
    with pytest.raises(InputError, match="expected the name of a column that fetch accepts"):
        parse_field({"name": "../../etc/passwd", "group": "item", "kind": "id"})


NAMES = st.text(st.characters(codec="utf-8"), max_size=20) | st.text("ab\"'`;-/\\.\0\n{}%$ ()", max_size=8)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=NAMES.filter(lambda name: name_problem(name) is None))
def test_any_other_name_names_a_file(tmp_path: Path, name: str) -> None:
    """The file lies in its folder."""
    (tmp_path / f"{name}.parquet").touch()
    assert f"{name}.parquet" in {path.name for path in tmp_path.iterdir()}

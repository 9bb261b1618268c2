"""A user's own expectations, in the library's own form, close a gate like the built-in ones."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from din.base import documents
from din.base.artifacts import hash_tree
from din.base.errors import InputError, Unavailable
from din.base.names import Digest
from din.base.workspace import Suite
from din.contracts.expectations import ALWAYS, why_closed
from din.contracts.verdicts import ValidationReport
from din.params.reading import Params
from tests.validation.planting import HERE, RAW, failed, judge, limits

Enter = Callable[..., Params]


def own(params: Params, suite: Suite, *expectations: dict[str, Any] | str) -> Params:
    """Write a file of expectations, and return the parameters that name it."""
    path = Path("expectations.yaml")
    path.write_text(json.dumps({"name": "own", "expectations": expectations}))
    return limits(params, f"validate_{suite}", expectations=str(path))


def expectation(kind: str, meta: dict[str, str], **kwargs: Any) -> dict[str, Any]:
    """Return an expectation in the library's form."""
    named = {"name": "mine", **meta}
    return {"type": kind, "kwargs": kwargs, "meta": named, "severity": "critical", "notes": "ask its owner"}


FEW = expectation("expect_column_values_to_be_between", {"table": "days"}, column="rows", min_value=10**6)
SELECT = {"select": "SELECT * FROM events WHERE tab = 1"}
JOIN = {"select": "FROM users JOIN days ON true LIMIT 3"}
BROKEN: dict[Suite, list[dict[str, Any]]] = {
    "raw": [
        FEW,
        expectation("expect_column_max_to_be_between", {"name": "b", "table": "log"}, column="ctr", max_value=0.01),
        expectation("expect_column_values_to_be_between", {"name": "c", "table": "items"}, column="rows", max_value=1),
        expectation("expect_table_row_count_to_equal", {"name": "d", **SELECT}, value=0),
        expectation("expect_table_row_count_to_equal", {"name": "e", **JOIN}, value=0),
        expectation("expect_column_max_to_be_between", {"name": "missing", "table": "log"}, column="ctrr", max_value=1),
    ],
    "features": [expectation("expect_column_min_to_be_between", {"table": "splits"}, column="rows", min_value=10**6)],
    "predictions": [
        expectation("expect_column_max_to_be_between", {"table": "test"}, column="prediction", max_value=0.01)
    ],
}


@pytest.mark.parametrize("suite", BROKEN)
def test_failing_ones_close_the_gate(suite: Suite, workspace: Enter) -> None:
    """They are the only ones that fail, and their notes are the advice.

    The report has the rows that break one, with the column and their number, or why it can't be evaluated.
    """
    found = failed(judge(suite, own(workspace(), suite, *BROKEN[suite])))
    assert found.keys() == {one["meta"]["name"] for one in BROKEN[suite]}
    assert {one["advice"] for one in found.values()} == {"ask its owner"}
    if suite == "raw":
        few = found["mine"]
        assert (few["column"], few["observed"], few["threshold"]) == ("rows", 6, {"max": 0})
        assert few["sample"][0]["date"] == "2024-01-01"
        assert "ctrr" in found["missing"]["reason"]


def test_a_row_condition_and_a_warning_are_the_librarys(workspace: Enter) -> None:
    """A condition leaves rows out, and a warning does not close."""
    last = FEW["kwargs"] | {"row_condition": 'date == "2024-01-06"', "condition_parser": "pandas"}
    report = judge("raw", own(workspace(), "raw", {**FEW, "kwargs": last, "severity": "warning"}))
    assert not failed(report)
    assert failed(report, "warning")["mine"]["observed"] == 1


def test_expectations_of_texts_and_of_several_columns(workspace: Enter) -> None:
    """A failed one of texts has no rows to show, and a SELECT may be named like a table of the suite."""
    users = {"name": "days", "select": "SELECT CAST(user_id AS VARCHAR) AS who FROM events"}
    known = expectation("expect_column_distinct_values_to_be_in_set", users, column="who", value_set=["nobody"])
    pairs = expectation(
        "expect_compound_columns_to_be_unique", {"name": "pairs", "table": "days"}, column_list=["date", "rows"]
    )
    found = failed(judge("raw", own(workspace(), "raw", known, pairs)))
    assert found.keys() == {"days"} and found["days"]["sample"] == []


def test_the_gate_compares_numbers_alone(workspace: Enter) -> None:
    """Bounds of texts hold if the suite says so. A number is compared again, and its bounds must be numbers."""
    maximum = "expect_column_max_to_be_between"
    day = expectation(maximum, {"name": "day", "table": "days"}, column="date", min_value="2024-01-06")
    newest = expectation(maximum, {"name": "newest", "table": "days"}, column="newest", min_value=1)
    params = own(workspace(), "raw", day, newest)
    judge("raw", params)
    found = documents.read(ValidationReport, HERE.validation("raw"))
    log = Digest(hash_tree(RAW))
    assert why_closed(HERE, "raw", found, log, params) is None
    day_, newest_ = found.expectations[-2:]
    for one, changes in ((day_, {"observed": 3}), (day_, {"threshold": {"min": 3}}), (newest_, {"observed": 0})):
        edited = [one.model_copy(update=changes) if entry is one else entry for entry in found.expectations]
        changed = found.model_copy(update={"expectations": edited})
        assert why_closed(HERE, "raw", changed, log, params) == f"failed: {one.name}"


def test_no_expectation_is_lost_on_the_way_to_the_gate(workspace: Enter) -> None:
    """An entry that is left out or became a warning closes it, and so does another file of expectations."""
    days = {"table": "days"}
    enough = expectation("expect_column_values_to_be_between", days, column="rows", min_value=1)
    params = own(workspace(), "raw", enough)
    judge("raw", params)
    report = documents.read(ValidationReport, HERE.validation("raw"))
    log = Digest(hash_tree(RAW))
    assert why_closed(HERE, "raw", report, log, params) is None
    for at, entry in enumerate(report.expectations):
        before, after = report.expectations[:at], report.expectations[at + 1 :]
        other = "warning" if entry.severity == "critical" else "critical"
        for instead in ([], [entry.model_copy(update={"severity": other})]):
            changed = report.model_copy(update={"expectations": [*before, *instead, *after]})
            reason = why_closed(HERE, "raw", changed, log, params)
            assert entry.name in str(reason)
    own(params, "raw", enough, {**enough, "meta": {"name": "later", **days}})
    assert "has changed since the report" in str(why_closed(HERE, "raw", report, log, params))


def test_every_critical_expectation_of_ours_has_bounds(workspace: Enter) -> None:
    """A report without a user's file may hold more than the suite always judges, and each of these is compared too."""
    params = workspace()
    judge("raw", params)
    report = documents.read(ValidationReport, HERE.validation("raw"))
    log = Digest(hash_tree(RAW))
    assert why_closed(HERE, "raw", report, log, params) is None
    critical = [entry for entry in report.expectations if entry.severity == "critical"]
    assert {entry.name for entry in critical} > ALWAYS["raw"]
    for entry in critical:
        bare = [one.model_copy(update={"threshold": {}}) if one is entry else one for one in report.expectations]
        reason = why_closed(HERE, "raw", report.model_copy(update={"expectations": bare}), log, params)
        assert str(reason).startswith(f"the report lacks the threshold of {entry.name}")


@pytest.mark.parametrize(
    ("broken", "word"),
    [
        ({**FEW, "type": "expect_nothing"}, "expect_nothing"),
        ({**FEW, "kwargs": {"column": "rows", "min": 3}}, "min"),
        ({**FEW, "meta": {"name": "mine", "table": "tes"}}, "no table 'tes'; expected one of files, log, test, valid"),
        ({**FEW, "meta": {"name": "mine", "select": "SELEC 1"}}, "DuckDB refuses the SELECT"),
        ({**FEW, "meta": {"name": "mine"}}, "either meta.table or meta.select"),
        ({**FEW, "meta": {"name": "test_calibration_ratio", "table": "test"}}, "choose another meta.name"),
        ("rows", "expectations.0"),
    ],
)
def test_what_cannot_be_read_is_bad_input(broken: dict[str, Any] | str, word: str, workspace: Enter) -> None:
    """The message names the file and what is wrong with it."""
    with pytest.raises(InputError, match=r"expectations\.yaml") as refused:
        judge("predictions", own(workspace(), "predictions", broken))
    assert word in str(refused.value)


def test_too_little_memory_for_a_select(workspace: Enter, monkeypatch: pytest.MonkeyPatch) -> None:
    """The SELECT is not called wrong."""
    monkeypatch.setattr("validation.suite_data.MEMORY_MB", 100)
    rows = {"name": "mine", "select": "SELECT list(range) FROM range(30_000_000)"}
    params = own(workspace(), "predictions", expectation("expect_table_row_count_to_equal", rows, value=1))
    with pytest.raises(Unavailable, match="DuckDB: Out of Memory"):
        judge("predictions", params)


def test_the_example_is_judged(workspace: Enter) -> None:
    """The file of examples/plugins holds on a sound log, and closes once it wants more rows than there are."""
    example = (Path(__file__).parent.parent.parent / "examples/plugins/expectations.yaml").read_text()
    params = limits(workspace(), "validate_raw", expectations="expectations.yaml")
    Path("expectations.yaml").write_text(example)
    assert failed(judge("raw", params)) == {}
    Path("expectations.yaml").write_text(example.replace("min_value: 50", "min_value: 1000000"))
    assert failed(judge("raw", params)).keys() == {"enough_rows"}

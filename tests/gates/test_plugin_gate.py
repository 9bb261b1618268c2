"""A gate that a plugin registers is judged, limited and shown like a built-in one."""

import sys
from pathlib import Path

import pytest
from judging import crown, find, judge, set_gate
from miniature import Run

from din import plugins
from din.errors import InputError
from din.gates import GATES
from din.params import Params
from din.registry.registry import Registry
from din.report.write import write_report
from din.workspace import Workspace

PLUGIN = '''
"""Close if the test rows have too few items."""

from dataclasses import dataclass

from din.gates import GATES, about
from din.gates.case import Case
from din.gates.verdict import Finding


@dataclass(frozen=True)
class Options:
    min_items: int = 10


@GATES.register("test_items", Options)
def test_items(case: Case, options: Options) -> Finding:
    items = len(case.evidence.rows["item"].unique())
    if items >= options.min_items:
        return Finding("open", items, options.min_items)
    return Finding("closed", items, options.min_items, reason="the test rows have too few items")


@GATES.register("{metric}_of_the_champion")
@about(run="later", every_metric=True, compares=True)
def of_the_champion(case: Case, metric: str) -> Finding:
    return Finding("open", case.champion.record.number, metric)
'''


@pytest.fixture
def plugin(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A plugin that is loaded for one test."""
    assert list(GATES)  # the built-in gates are there to stay
    monkeypatch.setattr(GATES, "_things", dict(GATES._things))
    folder = tmp_path_factory.mktemp("plugin")
    (folder / "items.py").write_text(PLUGIN)
    monkeypatch.delitem(sys.modules, "din_plugins.items", raising=False)  # of an earlier test
    plugins.load(["items.py"], folder)
    return folder


def test_a_gate_of_a_plugin_is_in_report_table_and_page(
    plugin: Path, workspace: Workspace, run: Run, quick: Params, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the default of its option it is open; with another limit it closes, alone, and the page names it."""
    assert find(judge(workspace, quick), "test_items") | {"look": ""} == {
        "name": "test_items",
        "observed": 696,
        "threshold": 10,
        "interval": None,
        "verdict": "open",
        "look": "",
        "rows": None,
        "power": None,
        "reason": None,
        "model": None,
        "evaluated": True,
        "compares": False,
    }
    assert "test_items" in capsys.readouterr().out
    report = judge(workspace, set_gate(quick, options={"test_items": {"min_items": 2000}}))
    assert [one["name"] for one in report["gates"] if one["verdict"] != "open"] == ["test_items"]
    write_report(workspace)
    assert "test rows have too few items" in workspace.report.read_text("utf-8")


def test_a_gate_of_a_plugin_may_compare_by_each_metric(
    plugin: Path, workspace: Workspace, run: Run, quick: Params, registry: Registry
) -> None:
    """It exists only with a champion, once for each metric, and after the built-in gates."""
    assert "auc_of_the_champion" not in {one["name"] for one in judge(workspace, quick)["gates"]}
    run.noise = 0.3
    crown(registry, run)
    run.noise = 0.2
    run.finish()
    report = judge(workspace, quick)
    names = [one["name"] for one in report["gates"]]
    assert names[-3:] == ["test_items", "auc_of_the_champion", "gauc_of_the_champion"]
    assert find(report, "auc_of_the_champion")["compares"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"no_such_gate": {}}, r"gate.options: 'no_such_gate' is not a gate"),
        ({"test_items": {"least": 3}}, r"gate.options.test_items: key 'least' is unknown.*valid keys: min_items"),
        ({"min_auc": {"min_items": 3}}, r"gate.options.min_auc: min_items: expected nothing here"),
    ],
)
def test_options_that_no_gate_has_are_bad_input(
    options: dict[str, dict[str, int]], message: str, plugin: Path, workspace: Workspace, run: Run, quick: Params
) -> None:
    """The message names the key and what is valid."""
    with pytest.raises(InputError, match=message):
        judge(workspace, set_gate(quick, options=options))

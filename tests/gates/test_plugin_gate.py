"""A gate that a plugin registers is judged, limited and shown like a built-in one."""

import sys
from pathlib import Path

import pytest

from din import plugins
from din.errors import InputError
from din.gates import GATES
from din.params import Params
from din.registry.registry import Registry
from din.report.write import write_report
from din.workspace import Workspace
from tests.factories.run import Run, challenge, find, judge, set_gate

ROOT = Path(__file__).parent.parent.parent
PLUGIN = """
from din.gates import GATES, about
from din.gates.case import Case
from din.gates.verdict import Finding


@GATES.register("{metric}_of_the_champion")
@about(run="later", every_metric=True, compares=True)
def of_the_champion(case: Case, metric: str) -> Finding:
    return Finding("open", case.champion.record.number, metric)
"""


@pytest.fixture
def plugin(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A plugin that is loaded for one test."""
    assert list(GATES)  # the built-in gates are there to stay
    monkeypatch.setattr(GATES, "_things", dict(GATES._things))
    folder = tmp_path_factory.mktemp("plugin")
    (folder / "compared.py").write_text(PLUGIN)
    for name in ("compared", "concentration"):
        monkeypatch.delitem(sys.modules, f"din_plugins.{name}", raising=False)  # of an earlier test
    plugins.load(["examples/plugins/concentration.py"], ROOT)
    plugins.load(["compared.py"], folder)
    return folder


def test_a_gate_of_a_plugin_is_in_report_table_and_page(
    plugin: Path, workspace: Workspace, run: Run, quick: Params, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the default of its option it is open; with another limit it closes, alone, and the page names it."""
    found = find(judge(workspace, quick), "concentration")
    assert (found["verdict"], found["threshold"], found["model"]) == ("open", 0.5, "judged")
    assert 0 < found["observed"] < 0.5
    assert "concentration" in capsys.readouterr().out
    report = judge(workspace, set_gate(quick, options={"concentration": {"max_share": 0.001}}))
    assert [one["name"] for one in report["gates"] if one["verdict"] != "open"] == ["concentration"]
    write_report(workspace)
    assert "of the test users; look at its training rows" in workspace.report.read_text("utf-8")


def test_a_gate_of_a_plugin_may_compare_by_each_metric(
    plugin: Path, workspace: Workspace, run: Run, quick: Params, registry: Registry
) -> None:
    """It exists only with a champion, once for each metric, and after the built-in gates."""
    assert "auc_of_the_champion" not in {one["name"] for one in judge(workspace, quick)["gates"]}
    run.noise = 0.3
    challenge(registry, run, 0.2)
    report = judge(workspace, quick)
    names = [one["name"] for one in report["gates"]]
    assert names[-3:] == ["concentration", "auc_of_the_champion", "gauc_of_the_champion"]
    assert find(report, "auc_of_the_champion")["compares"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"no_such_gate": {}}, r"gate.options: 'no_such_gate' is not a gate"),
        ({"concentration": {"least": 3}}, r"gate.options.concentration: key 'least' is unknown.*valid keys: max_share"),
        ({"min_auc": {"min_items": 3}}, r"gate.options.min_auc: min_items: expected nothing here"),
    ],
)
def test_options_that_no_gate_has_are_bad_input(
    options: dict[str, dict[str, int]], message: str, plugin: Path, workspace: Workspace, run: Run, quick: Params
) -> None:
    """The message names the key and what is valid."""
    with pytest.raises(InputError, match=message):
        judge(workspace, set_gate(quick, options=options))

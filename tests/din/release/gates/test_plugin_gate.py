"""A gate that a plugin registers is judged, limited and shown like a built-in one."""

import sys
from pathlib import Path

import numpy as np
import pytest

from din import plugins
from din.base.errors import InputError
from din.base.workspace import Workspace
from din.release.gates import GATES
from din.release.gates.findings import Finding
from din_report.write import write_report
from tests.factories.run import find, judge, set_gate, shut

ROOT = Path(__file__).parents[4]


@pytest.fixture(autouse=True)
def plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(GATES)  # the built-in gates are there to stay
    monkeypatch.setattr(GATES, "_things", dict(GATES._things))
    monkeypatch.setattr(GATES, "traits", dict(GATES.traits))
    monkeypatch.delitem(sys.modules, "din_plugins.concentration", raising=False)  # of an earlier test
    plugins.load(["examples/plugins/concentration.py"], ROOT)


def test_a_gate_of_a_plugin_is_in_report_table_and_page(workspace: Workspace, run, quick, capsys) -> None:
    """With the default of its option it is open; with another limit it closes, alone, and the page names it."""
    report = judge(workspace, quick)
    assert report["gates"][-1]["name"] == "concentration"  # after the built-in ones
    found = find(report, "concentration")
    assert (found["verdict"], found["threshold"], found["model"]) == ("open", 0.5, "judged")
    assert 0 < found["observed"] < 0.5
    assert "concentration" in capsys.readouterr().out
    report = judge(workspace, set_gate(quick, options={"concentration": {"max_share": 0.001}}))
    assert shut(report) == ["concentration"]
    write_report(workspace)
    assert "of the test users; look at its training rows" in workspace.report.read_text("utf-8")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"no_such_gate": {}}, r"gate.options: 'no_such_gate' is not a gate"),
        ({"concentration": {"least": 3}}, r"gate.options.concentration: key 'least' is unknown.*valid keys: max_share"),
        ({"min_auc": {"min_items": 3}}, r"gate.options.min_auc: min_items: expected nothing here"),
    ],
)
def test_options_that_no_gate_has_are_bad_input(options, message, workspace: Workspace, run, quick) -> None:
    """The message names the key and what is valid."""
    with pytest.raises(InputError, match=message):
        judge(workspace, set_gate(quick, options=options))


def _broken(*_: object) -> str:
    raise KeyError("a bug")


@pytest.mark.parametrize(
    ("finding", "traits"),
    [
        (None, {}),
        (Finding("open", 1.0, np.int64(3)), {}),
        (Finding("open", 1.0, None, rows=np.int64(3)), {}),
        (Finding("open", 1.0, None), {"command": _broken}),
        (Finding("open", 1.0, None), {"applies": _broken}),
    ],
)
def test_a_broken_gate_of_a_plugin_ends_no_gate(finding, traits, workspace: Workspace, run, quick) -> None:
    """It may return anything. It is closed if it can't be evaluated, and the report is written."""
    GATES.register("odd", **{"command": lambda _: "din report"} | traits)(lambda _: finding)
    found = find(judge(workspace, quick), "odd")
    is_judged = bool(traits)
    assert (found["verdict"], found["evaluated"]) == (("open", True) if is_judged else ("closed", False))
    assert found["command"] == "din report"

"""The command `din report`, and the pages that `din fetch`, `din gate` and `din promote` leave."""

import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from typer.testing import CliRunner

from din import cli
from din.base.errors import GateClosed
from din.base.workspace import Workspace
from din.params.blocks import to_json
from din.params.overlays import edit as overlaid
from din.release.promote import promote
from din_report import write
from tests.din_report.small_runs import judge
from tests.factories.run import Run as Miniature
from tests.factories.run import edit, score


@pytest.fixture(autouse=True)
def here(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.chdir(workspace.root)
    return workspace


def test_the_command_writes_and_prints(here: Workspace) -> None:
    """The page is written, and the verdict is printed as text and as JSON."""
    done = CliRunner().invoke(cli.app, ["report"])
    assert done.exit_code == 0, done.output
    assert here.report.read_bytes().startswith(b"<!doctype html>")
    assert "unfinished: The run has not reached its gate" in done.output
    found = json.loads(CliRunner().invoke(cli.app, ["report", "--json"]).stdout)
    assert (found["state"], found["message"], found["advice"]) == ("unfinished", "", [])
    assert found["report"] == "reports/report.html"


def test_two_reports_at_once(here: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two reports write the page, one after the other."""
    sync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: (time.sleep(0.1), sync(file)))
    with ThreadPoolExecutor(2) as calls:
        pages = [call.result()[0] for call in [calls.submit(write.write_report, here) for _ in range(2)]]
    assert [page.workspace for page in pages] == [here, here] and here.report.exists()


def test_the_verdict_as_markdown(here: Workspace, finished: Miniature) -> None:
    """A file gets the verdict, a row for each gate, and the reason of each that is not open; --all has no verdict."""
    (here.root / "gates.md").write_text("before\n")
    command = ["report", "--markdown", str(here.root / "gates.md")]
    edit(finished.here.evaluation, lambda report: report["test"].update(auc=0.4))
    with pytest.raises(GateClosed):
        judge(finished)
    done = CliRunner().invoke(cli.app, command)
    assert done.exit_code == 0, done.output
    before, heading, *lines = (here.root / "gates.md").read_text().splitlines()
    assert (before, heading) == ("before", "### Gate: closed")
    gates = json.loads(here.gate.read_text())["gates"]
    rows = [line for line in lines if line.startswith("| ")]
    assert [row.split(" | ")[0] for row in rows[2:]] == [f"| {gate['name']}" for gate in gates]
    assert {row.count("|") for row in rows} == {7}
    shut = [gate for gate in gates if gate["verdict"] != "open"]
    assert shut and all(f"    {gate['name']}: {gate['reason']}" in lines for gate in shut)
    done = CliRunner().invoke(cli.app, [*command, "--all"])
    assert done.exit_code == 2 and "leave out --all" in done.stderr
    done = CliRunner().invoke(cli.app, ["report", "--markdown", str(here.root / "missing" / "gates.md")])
    assert done.exit_code == 2 and "gates.md: No such file" in done.stderr and "closed" in done.stdout


def test_the_report_shows_the_error_of_a_refused_fetch(here: Workspace) -> None:
    """The page and the printed verdict show the message of the row that stopped the run."""
    (here.root / "events.csv").write_text("user_id,item_id,timestamp,label\n1,10,1700006400,0\n,10,1700006401,1\n")
    table = {"source": "table", "table": {"events": "events.csv"}}
    here.params.write_text(overlaid(here.params.read_text(), {"fetch": table}, "test").text)
    done = CliRunner().invoke(cli.app, ["fetch"])
    assert done.exit_code == 2, done.output
    found = json.loads(CliRunner().invoke(cli.app, ["report", "--json"]).stdout)
    assert found["state"] == "stopped" and found["message"].startswith("events.csv row 2: user_id is missing")
    assert "events.csv row 2: user_id is missing" in CliRunner().invoke(cli.app, ["report"]).stdout
    assert b"events.csv row 2: user_id is missing" in here.report.read_bytes()


def test_the_gate_leaves_a_page(here: Workspace) -> None:
    """A gate that is closed for want of everything ends with exit code 3, and with its page."""
    done = CliRunner().invoke(cli.app, ["gate"])
    assert done.exit_code == 3, done.output
    assert b"Refused" in here.report.read_bytes()


def test_a_report_that_fails_does_not_fail_the_gate(here: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """The exit code is the gate's, and the failure is one line."""
    monkeypatch.setattr(write, "write_report", lambda here: 1 / 0)
    done = CliRunner().invoke(cli.app, ["gate"])
    assert done.exit_code == 3
    assert done.stderr.endswith("warning: no run report was written: ZeroDivisionError: division by zero\n")
    assert here.gate.exists() and not here.report.exists()


def test_a_promotion_leaves_a_page(here: Workspace, finished: Miniature, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page says that the candidate is the champion now, and the record holds the page that the gate left."""
    here.params.write_text(json.dumps(to_json(finished.params)))
    judge(finished)
    write.write_report(here)
    monkeypatch.setattr("din.release.promote.promote", partial(promote, score=score))
    done = CliRunner().invoke(cli.app, ["promote", "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["appended"]
    assert b"Scoring uses this model now." in here.report.read_bytes()
    (kept,) = (here.root / "registry").rglob("report.html")
    assert b"Ready to promote" in kept.read_bytes()

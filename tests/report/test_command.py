"""The command `din report`, and the page that `din gate` leaves."""

import json

import pytest
from typer.testing import CliRunner

from din import cli
from din.report import write
from din.report.advice import Advice
from din.report.run import Run
from din.workspace import Workspace


@pytest.fixture(autouse=True)
def here(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """The workspace that the command works in."""
    monkeypatch.setattr(cli, "HERE", workspace)
    return workspace


def test_the_command_writes_and_prints(here: Workspace) -> None:
    """The page is written, and the verdict is printed as text and as JSON."""
    done = CliRunner().invoke(cli.app, ["report"])
    assert done.exit_code == 0, done.output
    assert here.report.read_bytes().startswith(b"<!doctype html>")
    assert "unfinished: The run has not reached its gate" in done.output
    found = json.loads(CliRunner().invoke(cli.app, ["report", "--json"]).stdout)
    assert (found["state"], found["report"], found["advice"]) == ("unfinished", "reports/report.html", [])


def test_the_gate_leaves_a_page(here: Workspace) -> None:
    """A gate that is closed for want of everything ends with exit code 3, and with its page."""
    done = CliRunner().invoke(cli.app, ["gate"])
    assert done.exit_code == 3, done.output
    assert b"Refused" in here.report.read_bytes()


def test_the_gate_names_the_advice(here: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    """Each advice is a line with its code, and the last line says how to read all of it."""
    advice = Advice("DIN101", "The first epoch was the best", "seen", "why", "do")
    write.print_titles(write.Written(Run(here), [advice]))
    assert capsys.readouterr().out.splitlines() == [
        "advice: DIN101  The first epoch was the best",
        "report: reports/report.html; `din report` prints the advice",
    ]


def test_a_report_that_fails_does_not_fail_the_gate(here: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """The exit code is the gate's, and the failure is one line."""

    def broken(_: Workspace) -> None:
        raise RuntimeError("no page today")

    monkeypatch.setattr(write, "write_report", broken)
    done = CliRunner().invoke(cli.app, ["gate"])
    assert done.exit_code == 3
    assert "no run report was written: RuntimeError: no page today" in done.stderr
    assert here.gate.exists() and not here.report.exists()

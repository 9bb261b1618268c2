"""Write the run report: read what a run left, compute what no report holds, advise, and render one page."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from filelock import FileLock

from din.base.artifacts import write_bytes
from din.base.printing import append_summary, markdown_table
from din.base.workspace import Workspace
from din_report.advice import Advice, advise
from din_report.page import render
from din_report.refused import keep_refused
from din_report.run import Run


def write_report(workspace: Workspace) -> tuple[Run, list[Advice]]:
    """Write `reports/report.html` about the run of a workspace, whether it was promoted, refused or broken.

    Keep the gate's report of a refused candidate for the page of all runs. Return the run and the advice on its page.
    """
    with FileLock(workspace.report_lock):  # of two calls at once, the later one writes its page last
        run = Run(workspace)
        advice = advise(run)
        write_bytes(workspace.report, render(run, advice, run.importances()))
        keep_refused(run)
    return run, advice


def report_run(workspace: Workspace) -> None:
    """Write the run report and print its titles; the command line calls it after the gate and after a promotion."""
    print_titles(*write_report(workspace))


def print_titles(run: Run, advice: Sequence[Advice]) -> None:
    """Print the titles of the advice, and where all of it is."""
    for entry in advice:
        print(f"advice: {entry.code}  {entry.title}")
    more = "; `din report` prints the advice" if advice else ""
    print(f"open {run.workspace.relative(run.workspace.report)} in a browser{more}")


def print_report(run: Run, advice: Sequence[Advice], as_json: bool = False) -> None:
    """Print the verdict, the advice and the page's path, as text or as JSON."""
    verdict = run.verdict
    path = run.workspace.relative(run.workspace.report)
    if as_json:
        verdict_parts = {"state": verdict.state, "verdict": verdict.sentence, "message": verdict.message}
        document = verdict_parts | {"report": path, "missing": run.missing, "advice": [asdict(each) for each in advice]}
        print(json.dumps(document, indent=2))
        return
    print(f"{verdict.state}: {verdict.sentence}")
    if verdict.message:
        print(verdict.message)
    for entry in advice:
        print(f"\n{entry.code}  {entry.title}\n  seen: {entry.seen}\n  why:  {entry.why}\n  do:   {entry.do}")
    print(f"\nreport: {path}")


def append_markdown(run: Run, path: Path) -> None:
    """Append the verdict, the gates, and why some are not open to a file as Markdown."""
    state = run.gate.verdict if run.gate else run.verdict.state  # the champion's own gates can close, too
    lines = [f"### Gate: {state}", "", run.verdict.sentence]
    reasons = [run.verdict.message]
    if run.gate:
        columns = ("name", "model", "verdict", "observed", "threshold", "interval")
        rows = [[getattr(gate, column) for column in columns] for gate in run.gate.gates]
        lines += ["", markdown_table(columns, rows)]
        reasons += [f"{gate.name}: {gate.reason or gate.verdict}" for gate in run.gate.not_open]
    if any(reasons):
        message_lines = "\n".join(filter(None, reasons)).splitlines()
        lines += ["", *(f"    {line}" for line in message_lines)]  # no fence, which a value of the log could end
    append_summary(path, "\n".join(lines) + "\n")

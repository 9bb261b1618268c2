"""Write the run report: read what a run left, compute what no report holds, advise, and render one page."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from din.artifacts import write_bytes
from din.report.advice import Advice, advise
from din.report.page import render
from din.report.run import Run
from din.workspace import Workspace


@dataclass(frozen=True)
class Written:
    """A report that was written, and what it says in short."""

    run: Run
    advice: Sequence[Advice]


def write_report(workspace: Workspace) -> Written:
    """Write `reports/report.html` about the run of a workspace, whether it was promoted, refused or broken."""
    run = Run.read(workspace)
    advice = advise(run)
    write_bytes(workspace.report, render(run, advice, run.activations()))
    return Written(run, advice)


def print_titles(written: Written) -> None:
    """Print the titles of the advice, and where all of it is."""
    workspace = written.run.workspace
    for one in written.advice:
        print(f"advice: {one.code}  {one.title}")
    more = "; `din report` prints the advice" if written.advice else ""
    print(f"report: {workspace.relative(workspace.report)}{more}")


def print_report(written: Written, as_json: bool = False) -> None:
    """Print the verdict, the advice and the page's path, as text or as JSON."""
    run = written.run
    verdict = run.verdict
    path = run.workspace.relative(run.workspace.report)
    if as_json:
        told = {"state": verdict.state, "verdict": verdict.sentence, "message": verdict.message}
        found = told | {"report": path, "missing": run.missing, "advice": [asdict(one) for one in written.advice]}
        print(json.dumps(found, indent=2))
        return
    print(f"{verdict.state}: {verdict.sentence}")
    if verdict.message:
        print(verdict.message)
    for one in written.advice:
        print(f"\n{one.code}  {one.title}\n  seen: {one.seen}\n  why:  {one.why}\n  do:   {one.do}")
    print(f"\nreport: {path}")

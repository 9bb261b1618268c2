"""The gate over the three reports, for CI.

A missing or unreadable report closes the gate. The command starts fast, and reads data only to hash it.
"""

from pathlib import Path

from din import documents
from din.artifacts import hash_tree
from din.errors import GateClosed, InputError
from din.params import Params
from din.printing import markdown_table
from din.reports import why_closed
from din.verdicts import Expectation, ValidationReport
from din.workspace import SUITES, Suite, Workspace
from validation.printing import aligned, failures

_HEADER = ("suite", "verdict", "held", "why")


def gate(workspace: Workspace, params: Params, markdown: Path | None = None) -> None:
    """Print a summary of all reports, and append it to the file `markdown` if one is given.

    Raises:
        GateClosed: a report is missing, unreadable or closed, or was made from data or thresholds that the workspace
            has no longer.
    """
    found: dict[Suite, tuple[ValidationReport | None, str]] = {
        suite: _read(workspace, suite, params) for suite in SUITES
    }
    rows = [_row(suite, report, why) for suite, (report, why) in found.items()]
    failed = [entry for report, _ in found.values() for entry in _entries(report) if not entry.success]
    closed: list[Suite] = [suite for suite, (_, why) in found.items() if why]
    summary = aligned(_HEADER, rows) + ("\n" + failures(failed) if failed else "")
    if markdown:
        title = f"### Validation: {'closed' if closed else 'open'}"
        details = f"\n```\n{failures(failed)}\n```\n" if failed else ""
        with markdown.open("a", encoding="utf-8") as file:
            file.write(f"{title}\n\n{markdown_table(_HEADER, rows)}\n{details}")
    if closed:
        raise GateClosed(f"closed: {', '.join(closed)}\n\n{summary}", workspace.validation(closed[0]))
    print(f"{summary}\nvalidation gate: open")


def _read(workspace: Workspace, suite: Suite, params: Params) -> tuple[ValidationReport | None, str]:
    """Return a suite's report, None if unreadable, and the reason why it closes the gate, '' if it doesn't."""
    directory = workspace.judged(suite)
    again = f"run `dvc repro validate_{suite}`"
    try:
        report = documents.read(ValidationReport, workspace.validation(suite), again)
        now = hash_tree(directory)
    except InputError as error:
        return None, str(error)
    if report.input != now:
        return report, f"it judged other data than {directory} holds now; {again}"
    return report, why_closed(suite, report, params) or ""


def _entries(report: ValidationReport | None) -> list[Expectation]:
    return report.expectations if report else []


def _row(suite: str, report: ValidationReport | None, why: str) -> tuple[str, str, str, str]:
    entries = _entries(report)
    return suite, "closed" if why else "open", f"{sum(e.success for e in entries)} of {len(entries)}", why

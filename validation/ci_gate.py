"""The gate over the three reports, for CI.

A missing or unreadable report closes the gate. The command starts fast, and reads data only to hash it.
"""

from pathlib import Path

from din.base import documents
from din.base.artifacts import hash_tree
from din.base.errors import GateClosed, InputError
from din.base.names import Digest
from din.base.printing import append_summary, markdown_table, table_text
from din.base.workspace import SUITES, Suite, Workspace
from din.contracts.expectations import why_closed
from din.contracts.verdicts import Expectation, ValidationReport
from din.params.reading import Params
from validation.printing import failures

_HEADER = ("suite", "verdict", "held", "why")


def gate(workspace: Workspace, params: Params, markdown: Path | None = None) -> None:
    """Print a summary of all reports, and append it to the file `markdown` if one is given.

    Raises:
        GateClosed: a report is missing, unreadable or closed, or was made from data or thresholds that the workspace
            no longer has.
        InputError: the gate is open, but `markdown` can't be written.
    """
    rows: list[tuple[str, str, str, str]] = []
    failed: list[Expectation] = []
    closed: list[Suite] = []
    for suite in SUITES:
        entries: list[Expectation] = []
        try:
            report = documents.read(ValidationReport, workspace.validation(suite), f"run `dvc repro validate_{suite}`")
            digest = Digest(hash_tree(workspace.directory_of(suite)))
            why = why_closed(workspace, suite, report, digest, params)
            entries = report.expectations
        except (InputError, OSError) as error:
            why = str(error)
        broken = [entry for entry in entries if not entry.success]
        held = f"{len(entries) - len(broken)} of {len(entries)}"
        rows.append((suite, "closed" if why else "open", held, why or ""))
        failed += broken
        if why:
            closed.append(suite)
    details = failures(failed) if failed else ""
    summary = table_text(_HEADER, rows) + (f"\n{details}" if failed else "")
    if markdown:
        title = f"### Validation: {'closed' if closed else 'open'}"
        quoted = f"\n```\n{details}\n```\n" if failed else ""
        try:
            append_summary(markdown, f"{title}\n\n{markdown_table(_HEADER, rows)}\n{quoted}")
        except InputError as error:
            if not closed:
                raise
            summary += f"\n{error}"  # the closed gate comes first
    if closed:
        raise GateClosed(f"closed: {', '.join(closed)}\n\n{summary}", workspace.validation(closed[0]))
    print(f"{summary}\nvalidation gate: open")

"""The gate over the three reports, for CI: fails closed, starts in a moment, and reads no data but to hash it."""

from pathlib import Path
from typing import Any

from din.artifacts import hash_tree, read_json
from din.errors import GateClosed, InputError
from validation import INPUTS, report_path
from validation.tables import aligned, failures

_HEADER = ("suite", "verdict", "held", "why")


def gate(markdown: Path | None = None) -> None:
    """Print a summary of all reports; append it to `markdown` as well, where given.

    Raises:
        GateClosed: a report is missing, unreadable or closed, or it judged other data than lies here now.
    """
    found = {suite: _read(suite) for suite in INPUTS}
    rows = [_row(suite, report, why) for suite, (report, why) in found.items()]
    failed = [e for report, _ in found.values() for e in report.get("expectations", ()) if not e["success"]]
    closed = [suite for suite, (_, why) in found.items() if why]
    summary = aligned(_HEADER, rows) + ("\n" + failures(failed) if failed else "")
    if markdown:
        _append_markdown(markdown, rows, failed, closed)
    if closed:
        raise GateClosed(f"closed: {', '.join(closed)}\n\n{summary}", str(report_path(closed[0])))
    print(f"{summary}\nvalidation gate: open")


def _read(suite: str) -> tuple[dict[str, Any], str]:
    """A suite's report (empty where unreadable) and why it closes the gate (empty where it doesn't)."""
    again = f"run `dvc repro validate_{suite}`"
    try:
        report = read_json(report_path(suite))
        verdict, judged, _ = report["verdict"], report["input"], [e["success"] for e in report["expectations"]]
        now = hash_tree(INPUTS[suite])
    except InputError as error:
        return {}, str(error)
    except (KeyError, TypeError) as error:
        return {}, f"{report_path(suite)} is not a report of this version ({error!r}); {again}"
    if verdict != "open":
        return report, "a critical expectation failed" if verdict == "closed" else f"unknown verdict {verdict!r}"
    if judged != now:
        return report, f"it judged other data than {INPUTS[suite]} holds now; {again}"
    return report, ""


def _row(suite: str, report: dict[str, Any], why: str) -> tuple[str, str, str, str]:
    entries = report.get("expectations", ())
    return suite, "closed" if why else "open", f"{sum(e['success'] for e in entries)} of {len(entries)}", why


def _append_markdown(path: Path, rows: list[tuple[str, ...]], failed: list[dict[str, Any]], closed: list[str]) -> None:
    lines = [f"### Validation: {'closed' if closed else 'open'}", "", f"| {' | '.join(_HEADER)} |", "|---|---|---|---|"]
    lines += [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows]
    if failed:
        lines += ["", "```", failures(failed), "```"]
    with path.open("a", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")

"""The commands about this workspace and machine: `din status` and `din doctor`."""

import typer

from din.cli.run import HERE, answering
from din.commandline import AsJson, commands
from din.workspace import require

app = typer.Typer()
command = commands(app, "This workspace and machine")


@command("din status", "din status --json | python -m json.tool")
def status(as_json: AsJson = False) -> None:
    """Print how each stage ended, what is stale, which bundle is champion and since when, and who waits for approval.

    The exit code is 0 only if all of that is known.
    """
    with answering("train"):
        from din.status import print_status, status

        require(HERE.params, HERE.pipeline)
        found = status(HERE)
        print_status(found, as_json)
    raise typer.Exit(found.exit_code)


@command("din doctor", "din doctor --json > findings.json")
def doctor(as_json: AsJson = False) -> None:
    """Look for what this machine lacks, say how to fix it, and exit 1 if something would fail.

    It tries the compiler, and whether the registry's store refuses to overwrite an object.
    """
    with answering():
        from din.doctor import examine, print_findings

        findings = examine(HERE)
        print_findings(findings, as_json)
    if any(finding.state == "failed" for finding in findings):
        raise typer.Exit(1)

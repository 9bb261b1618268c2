"""The command `din`: parse arguments, call a stage or command, and print.

Each command imports what it needs itself, so that `--help` and completion are fast and no stage loads the packages of
another.
"""

import contextlib
import getpass
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from din.commandline import AsJson, examples, print_result, print_version, printing_json
from din.commandline import run as run_app
from din.errors import GateClosed, InputError, Unavailable
from din.workspace import Workspace, require

if TYPE_CHECKING:
    from din.params import Params

HERE = Workspace(Path())
START = "Start"
STAGES = "Stages"
CHAMPION = "The champion"
PARAMETERS = "Parameters"
HELP = "This workspace and machine"

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    epilog=examples(
        "dvc repro && din promote     # run what changed, then promote the bundle",
        "din status                   # what ran, what is stale, who is the champion",
        "din doctor                   # what this machine lacks",
        "din --install-completion     # let your shell complete commands and options",
    ),
    help="Click-through-rate models that retrain themselves and never let a bad one reach production.\n\n"
    "`dvc repro` runs the stages in the order of dvc.yaml, including `python -m validation raw|features|predictions`. "
    "Each stage can also be run alone. All read params.yaml. Exit codes: 0 = done, 1 = a bug, or a resource that can't "
    "be reached now, 2 = bad input, 3 = a gate is closed.",
)

params_app = typer.Typer(
    no_args_is_help=True,
    help="The parameter file.",
    epilog=examples("din params apply docs/examples/simulate.yaml", "din params schema > docs/params.schema.json"),
)
app.add_typer(params_app, name="params", rich_help_panel=PARAMETERS)
registry_app = typer.Typer(
    no_args_is_help=True,
    help="The append-only log of champions.",
    epilog=examples("din registry list", "din registry rollback 2 --reason 'complaints since record 3'"),
)
app.add_typer(registry_app, name="registry", rich_help_panel=CHAMPION)
Uri = Annotated[str | None, typer.Option("--registry", help="Registry URI; default: promote.registry of params.yaml.")]
Model = Annotated[str | None, typer.Option("--model", help="Model name; default: the registry's only model.")]
JobUri = Annotated[str | None, typer.Option("--registry", help="Registry URI; default: this job's.")]
JobModel = Annotated[
    str | None, typer.Option("--model", help="Model name; default: this job's, or with --registry its only model.")
]
Run = Annotated[str, typer.Argument(help="A run's id, or the start of the candidate's version; see `din approvals`.")]


def not_blank(reason: str) -> str:
    """Return a reason, the value of an option, as it is.

    Raises:
        BadParameter: it is blank.
    """
    if not reason.strip():
        raise typer.BadParameter("is blank; say why, for those who read the log")
    return reason


Reason = Annotated[str, typer.Option(callback=not_blank, help="The reason, for the log.")]
By = Annotated[str, typer.Option(help="Who decides, for the log; default: this user.")]
Version = Annotated[
    bool, typer.Option("--version", callback=print_version, is_eager=True, help="Print the version and exit.")
]


@app.callback()
def options(version: Version = False) -> None:
    """Take the options that need no command."""


@app.command(
    rich_help_panel=HELP,
    epilog=examples(
        "din status",
        "din status --json | python -m json.tool",
    ),
)
def status(as_json: AsJson = False) -> None:
    """Print how each stage ended, what is stale, who is the champion since when, and who waits for approval.

    The exit code is 0 only if all of that is known.
    """
    with answering("train"):
        from din.status import print_status, status

        require(HERE.params, HERE.pipeline)
        found = status(HERE)
        print_status(found, as_json)
    raise typer.Exit(found.exit_code)


@app.command(
    rich_help_panel=HELP,
    epilog=examples(
        "din doctor",
        "din doctor --json > findings.json",
    ),
)
def doctor(as_json: AsJson = False) -> None:
    """Look for what this machine lacks, say how to mend it, and exit 1 if something would fail.

    It tries the compiler, the remotes of DVC, and whether the registry's store refuses to overwrite an object.
    """
    with answering():
        from din.doctor import examine, print_findings

        findings = examine(HERE)
        print_findings(findings, as_json)
    if any(finding.state == "failed" for finding in findings):
        raise typer.Exit(1)


@params_app.command(
    "apply",
    epilog=examples(
        "din params apply docs/examples/simulate.yaml",
        "din params apply --dry-run mine.yaml      # only print the changes",
    ),
)
def params_apply(
    overlays: Annotated[list[Path], typer.Argument(help="YAML files with only the keys that differ.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the changes without writing them.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write overlays, e.g. from docs/examples, into params.yaml, keep its comments, and print the changes."""
    with answering():
        write_overlays(HERE.params, overlays, dry_run, as_json)


@params_app.command("schema", epilog=examples("din params schema > docs/params.schema.json"))
def params_schema() -> None:
    """Print a JSON Schema of params.yaml, for editors."""
    with answering():
        from din.params.schema import schema

        print(json.dumps(schema(), indent=2, ensure_ascii=False))


@params_app.command("defaults", epilog=examples("din params defaults > params.yaml"))
def params_defaults() -> None:
    """Print a params.yaml with the default of every parameter."""
    with answering():
        from din.params.defaults import defaults

        print(defaults(), end="")


@app.command(
    rich_help_panel=START,
    epilog=examples(
        "din init --events clicks.csv",
        "din init --events clicks.csv --items products.csv --label gekauft --yes",
        "din init --events clicks.csv --yes --json    # each parameter with its reason",
        "din init --update        # after an upgrade of this package",
    ),
)
def init(
    events: Annotated[str | None, typer.Option(help="The log: a path or glob; CSV, Parquet or JSON-lines.")] = None,
    items: Annotated[str | None, typer.Option(help="The item table, if there is one.")] = None,
    users: Annotated[str | None, typer.Option(help="The user table, if there is one.")] = None,
    user: Annotated[str | None, typer.Option(help="The column of the user, if the guess is wrong.")] = None,
    item: Annotated[str | None, typer.Option(help="The column of the item, if the guess is wrong.")] = None,
    time: Annotated[str | None, typer.Option(help="The column of the time, if the guess is wrong.")] = None,
    unit: Annotated[
        str | None,
        typer.Option(help="The unit of the time, if the guess is wrong: s, ms, us, ns, iso or a form."),
    ] = None,
    label: Annotated[str | None, typer.Option(help="The column of the click, or a rule such as rating >= 4.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing.")] = False,
    update: Annotated[bool, typer.Option("--update", help="Merge the installed release into this repository.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make a repository that trains a model of a log: look at the log, guess the parameters, and write the files."""
    with answering("train"):
        from din.init.command import init, init_update
        from din.init.guess import Asked
        from din.init.update import guess_of

        if update == (events is not None):
            raise InputError("give either --events with the path of the log, or --update")
        if events is None:
            print_result(lambda: init_update(HERE.root), as_json)
            return
        roles = {"user": user, "item": item, "time": time, "unit": unit, "label": label}
        given = {role: name for role, name in roles.items() if name is not None}
        answer = None if yes or not sys.stdin.isatty() else typer.prompt
        with printing_json(guess_of(HERE.root), as_json):
            init(HERE, Asked(events, items, users), given, answer)


@app.command(rich_help_panel=STAGES, epilog=examples("din code"))
def code() -> None:
    """Hash the code and the package versions that each stage depends on into reports/code/."""
    check_root(HERE.params, HERE.pipeline)
    with running("code", HERE):
        from din.code import write_code
        from din.params import load

        write_code(HERE, load(HERE.params))


@app.command(
    rich_help_panel=STAGES,
    epilog=examples(
        "din fetch",
        "din fetch --json         # the report, for machines",
        "dvc repro fetch          # the same, if code or parameters changed",
    ),
)
def fetch(as_json: AsJson = False) -> None:
    """Read the source's log into data/raw/ (daily partitions)."""
    with printing_json(HERE.fetch, as_json), running("fetch", HERE):
        from din.sources.fetch import fetch

        fetch(HERE, params_here())


@app.command(
    rich_help_panel=STAGES,
    epilog=examples(
        "din source",
        "din source | python -m json.tool",
    ),
)
def source() -> None:
    """Print the source's fingerprint up to data.until (default: its newest day), and its first and last day."""
    with answering("train"):
        from din.sources.fetch import look

        print(json.dumps(asdict(look(HERE, params_here()))))


@app.command(rich_help_panel=STAGES, epilog=examples("din machine"))
def machine() -> None:
    """Print how `train` would compute here: processor, device, operations, threads and versions, as JSON."""
    with answering("train"):
        from din.train.compute import computing
        from din.train.machine import describe

        with contextlib.redirect_stdout(sys.stderr), computing(params_here().train.compute) as compute:
            found = describe(compute)
        print(json.dumps(found.model_dump(), indent=2))


@app.command(
    rich_help_panel=STAGES,
    epilog=examples(
        "din featurize",
        "dvc repro featurize      # with the stages before it",
    ),
)
def featurize(as_json: AsJson = False) -> None:
    """Build point-in-time histories, vocabularies and splits in data/features/."""
    from din.artifacts import MANIFEST

    with printing_json(HERE.features / MANIFEST, as_json), running("featurize", HERE):
        from din.featurize.build import featurize

        featurize(HERE, params_here())


@app.command(
    rich_help_panel=CHAMPION,
    epilog=examples(
        "din pin                  # before `dvc repro`, with train.start: champion",
        "din pin --until 2026-01-31 --dry-run --json",
    ),
)
def pin(
    until: Annotated[
        str | None, typer.Option(help="Last day of the run's log; default: data.until, or newest.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the pin without writing it.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write into params.yaml which champion the next run goes on from (train.champion), and print it."""
    with answering():
        from din.artifacts import write_bytes
        from din.params.overlays import edit
        from din.registry.champions import pin
        from din.registry.registry import Registry
        from din.sources.fetch import look

        params = params_here()
        last = day_of(until or params.data.until or look(HERE, params).last_day)
        pinned = pin(Registry.of(HERE, params), params.train, last)
        if not dry_run:
            text = HERE.params.read_text(encoding="utf-8")
            write_bytes(HERE.params, edit(text, {"train": {"champion": pinned}}, "din pin").text.encode())
        print(json.dumps({"champion": pinned}) if as_json else pinned)


@app.command(
    rich_help_panel=STAGES,
    epilog=examples(
        "din train                # the same command resumes a killed training",
        "dvc exp run -S train.learning.seed=2",
        "dvc repro train          # with the stages before it",
        "din train --json         # the summary, for machines",
    ),
)
def train(as_json: AsJson = False) -> None:
    """Train the model named in params.yaml into models/din/, or resume a killed training."""
    with printing_json(HERE.training, as_json), running("train", HERE, HERE.training):
        from din.train.run import train

        train(HERE, params_here())


@app.command(
    rich_help_panel=STAGES,
    epilog=examples(
        "din evaluate",
        "din evaluate --json > metrics.json",
    ),
)
def evaluate(as_json: AsJson = False) -> None:
    """Write metrics, floors and predictions into reports/."""
    with printing_json(HERE.evaluation, as_json), running("evaluate", HERE, HERE.evaluation):
        from din.train.evaluate import evaluate

        evaluate(HERE, params_here())


@app.command(
    rich_help_panel=STAGES,
    epilog=examples(
        "din refit",
        "dvc repro refit          # with the stages before it",
    ),
)
def refit(as_json: AsJson = False) -> None:
    """Let the judged model learn the test days too, into models/shipped/."""
    with printing_json(HERE.refit, as_json), running("refit", HERE, HERE.refit):
        from din.train.refit import refit

        refit(HERE, params_here())


@app.command(
    rich_help_panel=STAGES,
    epilog=examples(
        "din export",
        "din export --json        # the bundle's manifest",
    ),
)
def export(as_json: AsJson = False) -> None:
    """Export the model to ONNX as an immutable bundle in models/bundle/."""
    from din.artifacts import MANIFEST

    with printing_json(HERE.bundle / MANIFEST, as_json), running("export", HERE):
        from din.serve.export import export

        export(HERE, params_here())


@app.command(
    rich_help_panel=STAGES,
    epilog=examples(
        "din check-parity",
        "din check-parity --json | python -m json.tool",
    ),
)
def check_parity(as_json: AsJson = False) -> None:
    """Check that PyTorch, onnxruntime and the scorer on raw ids compute the same probabilities."""
    with printing_json(HERE.parity, as_json), running("check_parity", HERE, HERE.parity):
        from din.serve.parity import check_parity

        check_parity(HERE, params_here())


@app.command(
    rich_help_panel=STAGES,
    epilog=examples(
        "din gate",
        "din gate --json > gate.json",
    ),
)
def gate(as_json: AsJson = False) -> None:
    """Judge every condition for promotion, write reports/gate.json, and exit 3 unless all gates are open."""
    check_root(HERE.params, HERE.pipeline)
    with printing_json(HERE.gate, as_json), reporting("gate", HERE.gate):
        from din.gates.gate import gate

        gate(HERE, params_here())


@app.command(
    rich_help_panel=CHAMPION,
    epilog=examples(
        "din report",
        "din report --json        # verdict and advice for machines",
        'din report --markdown "$GITHUB_STEP_SUMMARY"',
        "din report --all         # one page about all runs in the registry",
    ),
)
def report(
    everything: Annotated[bool, typer.Option("--all", help="Write reports/runs.html about all runs instead.")] = False,
    uri: JobUri = None,
    model: JobModel = None,
    markdown: Annotated[
        Path | None, typer.Option(help="Append verdict and gates to this file as Markdown, for a CI job's summary.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write reports/report.html about the run here, promoted, refused or broken, and print verdict and advice.

    With --all, write reports/runs.html about all runs in the registry: its records, and what schedulers kept.
    """
    with answering("train"):
        if everything and markdown:
            raise InputError("--markdown: is about the run here; expected it without --all")
        if everything:
            from din.report.runs_page import print_runs, write_runs

            print_runs(HERE, write_runs(HERE, uri or default_registry(), job_model(uri, model)), as_json)
            return
        if uri or model:
            raise InputError("--registry and --model choose the runs of --all; expected --all beside them")
        from din.report.write import append_markdown, print_report, write_report

        require(HERE.params, HERE.pipeline)
        written = write_report(HERE)
        if markdown:
            append_markdown(written, markdown)
        print_report(written, as_json)


@app.command(
    rich_help_panel=CHAMPION,
    epilog=examples(
        "din promote",
        "din promote --reason 'first week of the new log'",
        "din promote --json > promotion.json",
    ),
)
def promote(
    reason: Annotated[
        str, typer.Option(help="The reason, for the registry's log; default: the gate is open, or who approved.")
    ] = "",
    by: Annotated[str, typer.Option(help="Who promotes, for the registry's log; default: this user.")] = "",
    as_json: AsJson = False,
) -> None:
    """Make models/bundle/ the champion, after hashing and judging again everything that the gate judged."""
    with reporting("promote"):
        from din.promotion.promote import promote

        print_result(lambda: promote(HERE, params_here(), by=by or user(), reason=reason), as_json)


@app.command(
    rich_help_panel=CHAMPION,
    epilog=examples(
        "din reproduce 3                       # record 3 of this job's registry",
        "din reproduce 4f1c --repository https://example.com/ctr.git",
        "din reproduce 3 --keep again          # and keep the checkout",
        "din reproduce 3 --json                # which files and metrics differ",
    ),
)
def reproduce(
    promotion: Annotated[str, typer.Argument(help="A record's number, or (the start of) a version.")],
    repository: Annotated[str, typer.Option(help="The folder or URL of the repository that holds the commit.")] = ".",
    keep: Annotated[Path | None, typer.Option(help="Work in this empty folder, and keep it.")] = None,
    uri: Uri = None,
    model: Model = None,
    as_json: AsJson = False,
) -> None:
    """Train a promoted bundle again, from its commit, parameters and data, and exit 3 unless every bit is equal."""
    with answering("train"):
        from din.promotion.reproduce import reproduce

        at = uri or default_registry()
        name = model or only_model(at)
        print_result(lambda: reproduce(at, name, promotion, repository, keep), as_json).check()


@app.command(
    rich_help_panel=CHAMPION,
    epilog=examples(
        "din approve 4f1c --reason 'looked at the slices'",
        "din approve nightly-2026-01-31 --reason 'new log' --override",
    ),
)
def approve(
    run: Run,
    reason: Reason,
    by: By = "",
    override: Annotated[
        bool, typer.Option("--override", help="Approve although the earlier champion can't be evaluated.")
    ] = False,
    uri: JobUri = None,
    model: JobModel = None,
    as_json: AsJson = False,
) -> None:
    """Approve a candidate that waits for a person, so that `din promote` makes it the champion."""
    with answering():
        from din.approvals import approve

        at = uri or default_registry()
        name = job_model(uri, model)
        print_result(lambda: approve(at, name, run, by or user(), reason, override), as_json)


@app.command(rich_help_panel=CHAMPION, epilog=examples("din reject 4f1c --reason 'the gain is a leak'"))
def reject(
    run: Run,
    reason: Reason,
    by: By = "",
    uri: JobUri = None,
    model: JobModel = None,
    as_json: AsJson = False,
) -> None:
    """Reject a candidate that waits for a person; the first answer counts."""
    with answering():
        from din.approvals import reject

        at = uri or default_registry()
        name = job_model(uri, model)
        print_result(lambda: reject(at, name, run, by or user(), reason), as_json)


@app.command(
    rich_help_panel=CHAMPION,
    epilog=examples(
        "din approvals",
        "din approvals --json",
        "din approvals --registry s3://bucket/registry --model ads",
    ),
)
def approvals(
    uri: JobUri = None,
    model: JobModel = None,
    as_json: AsJson = False,
) -> None:
    """Print the candidates that wait for a person, and all answers."""
    with answering():
        from din.approvals import show_approvals

        show_approvals(uri or default_registry(), job_model(uri, model), as_json)


@app.command(
    rich_help_panel=CHAMPION,
    epilog=examples(
        "din score --registry registry --input requests.jsonl",
        "din score --bundle models/bundle --input -   # the candidate, from a pipe",
    ),
)
def score(
    requests: Annotated[Path, typer.Option("--input", help="JSON lines, one request each; - for standard input.")],
    registry: Annotated[str | None, typer.Option(help="Registry URI: a folder, s3://, gs://, az://.")] = None,
    model: Annotated[str | None, typer.Option(help="Model name in the registry; default: its only model.")] = None,
    bundle: Annotated[Path | None, typer.Option(help="A bundle's directory, instead of the registry.")] = None,
    max_candidates: Annotated[int, typer.Option(min=1, help="Refuse requests with more candidates.")] = 10_000,
    max_history: Annotated[int, typer.Option(min=0, help="Refuse requests with more behaviours.")] = 10_000,
    max_request_mb: Annotated[float, typer.Option(min=0.001, max=1000, help="Refuse longer lines, in MB.")] = 16.0,
) -> None:
    """Score requests with raw ids: one JSON line per request, {"version", "probabilities"}. See docs/scoring.md."""
    with answering():
        from din.serve.limits import Limits
        from din.serve.scorer import Scorer, score_file

        if (registry is None) == (bundle is None):
            raise InputError("give either --registry URI or --bundle DIRECTORY")
        if bundle is not None:
            scorer = Scorer.open(bundle)
        else:
            scorer = Scorer.from_registry(str(registry), model or only_model(str(registry)))
        scorer = scorer.within(Limits(max_candidates, max_history, max_request_mb))
        with contextlib.nullcontext(sys.stdin.buffer) if str(requests) == "-" else open_input(requests) as lines:
            for answer in score_file(scorer, lines):
                print(json.dumps(answer))


@registry_app.command(
    "list",
    epilog=examples(
        "din registry list",
        "din registry list --json",
        "din registry list --registry s3://bucket/registry",
    ),
)
def registry_list(uri: Uri = None, model: Model = None, as_json: AsJson = False) -> None:
    """Print all records; the last record of each model is its champion."""
    with answering():
        from din.registry import commands

        commands.show_list(uri or default_registry(), model, as_json)


@registry_app.command(
    "show",
    epilog=examples(
        "din registry show               # the champion",
        "din registry show --number 3",
    ),
)
def registry_show(
    uri: Uri = None,
    model: Model = None,
    number: Annotated[int | None, typer.Option(help="The record's number; default: the champion's.")] = None,
) -> None:
    """Print a record with the metrics of its bundle, as JSON."""
    with answering():
        from din.registry import commands

        at = uri or default_registry()
        commands.show(at, model or only_model(at), number)


@registry_app.command(
    "diff",
    epilog=examples(
        "din registry diff 2 3",
        "din registry diff 4f1c 9a02 --json",
    ),
)
def registry_diff(
    first: Annotated[str, typer.Argument(help="A record's number, or (the start of) a version.")],
    second: Annotated[str, typer.Argument(help="Another one.")],
    uri: Uri = None,
    model: Model = None,
    as_json: AsJson = False,
) -> None:
    """Print what differs between two promotions: parameters, data, code, packages, machines, gates and metrics."""
    with answering():
        from din.registry.diff import show_diff

        at = uri or default_registry()
        show_diff(at, model or only_model(at), first, second, as_json)


@registry_app.command("rollback", epilog=examples("din registry rollback 2 --reason 'complaints since record 3'"))
def registry_rollback(
    to: Annotated[str, typer.Argument(help="A record's number, or (the start of) a version.")],
    reason: Reason,
    champion: Annotated[
        int | None, typer.Option(min=1, help="Roll back only if the champion is this record; again, it does nothing.")
    ] = None,
    by: By = "",
    uri: Uri = None,
    model: Model = None,
    as_json: AsJson = False,
) -> None:
    """Make an earlier champion the champion again, by appending a record."""
    with answering():
        from din.registry import commands

        at = uri or default_registry()
        name = model or only_model(at)
        print_result(lambda: commands.rollback(at, name, to, by or user(), reason, champion), as_json)


@registry_app.command(
    "verify",
    epilog=examples(
        "din registry verify",
        "din registry verify --registry s3://bucket/registry --json",
    ),
)
def registry_verify(uri: Uri = None, model: Model = None, as_json: AsJson = False) -> None:
    """Check the chain of records, hash everything they name, and exit 3 if something is missing or was changed."""
    with answering():
        from din.registry import commands

        commands.verify(uri or default_registry(), model, as_json)


@registry_app.command(
    "gc",
    epilog=examples(
        "din registry gc                 # only print",
        "din registry gc --days 30 --yes",
    ),
)
def registry_gc(
    uri: Uri = None,
    model: Model = None,
    days: Annotated[float, typer.Option(help="Keep objects modified within this number of days.")] = 7,
    yes: Annotated[bool, typer.Option("--yes", help="Remove; without it, only print what would be removed.")] = False,
    bundle: Annotated[
        list[str] | None,
        typer.Option(help="A version that was never promoted. Name all of them if the log of promotions is empty."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Remove objects that killed promotions left behind and no record names."""
    with answering():
        from din.registry import commands

        at = uri or default_registry()
        commands.gc(at, model or only_model(at), days, yes, bundle or (), as_json)


@registry_app.command("keep", epilog=examples("din registry keep runs/nightly-2026-01-31 reports"))
def registry_keep(
    key: Annotated[str, typer.Argument(help="runs/<run id> or stages/<name>, in the namespace of params.yaml.")],
    folder: Annotated[Path, typer.Argument(help="The folder whose files are stored.")],
    as_json: AsJson = False,
) -> None:
    """Store the files of a folder below a key of this job's namespace, for other workers to take."""
    with answering():
        from din.registry import run_files

        print_result(lambda: run_files.keep(run_files.objects_of(HERE, params_here()), key, folder), as_json)


@registry_app.command("take", epilog=examples("din registry take runs/nightly-2026-01-31 reports-of-that-run"))
def registry_take(
    key: Annotated[str, typer.Argument(help="runs/<run id> or stages/<name>, in the namespace of params.yaml.")],
    folder: Annotated[Path, typer.Argument(help="The folder to copy the files to.")],
    as_json: AsJson = False,
) -> None:
    """Copy the files that were kept below a key into a folder."""
    with answering():
        from din.registry import run_files

        print_result(lambda: run_files.take(run_files.objects_of(HERE, params_here()), key, folder), as_json)


def check_root(*files: Path) -> None:
    """End the command, before it writes anything here, unless these files of a workspace's root exist."""
    with answering():
        require(*files)


@contextlib.contextmanager
def running(name: str, workspace: Workspace, report: Path | None = None) -> Iterator[None]:
    """Run a command as a stage; see `din.stage.running`."""
    from din import stage

    check_root(workspace.params)
    with stage.running(name, workspace, report):
        yield


@contextlib.contextmanager
def reporting(name: str, report: Path | None = None) -> Iterator[None]:
    """Run a command as a stage, and then write the run report, whether it succeeds or fails."""
    try:
        with running(name, HERE, report):
            yield
    except SystemExit:
        write_page(HERE)
        raise
    write_page(HERE)


def write_page(workspace: Workspace) -> None:
    """Write the run report and print its titles. A report that fails is one warning, and changes nothing."""
    try:
        from din.report.write import print_titles, write_report

        with contextlib.redirect_stdout(sys.stderr):
            print_titles(write_report(workspace))
    except Exception as error:
        print(f"warning: no run report was written: {type(error).__name__}: {error}", file=sys.stderr)


@contextlib.contextmanager
def answering(extra: str = "serve") -> Iterator[None]:
    """Run a command that is not a stage, without lock or outcome; an error becomes one message and an exit code.

    Args:
        extra: the extra to install if a package is missing.
    """
    from din import stage

    try:
        with stage.packages(extra):
            yield
    except (InputError, Unavailable, GateClosed) as error:
        print(error, file=sys.stderr)
        raise typer.Exit(error.exit_code) from None
    except BrokenPipeError:  # the reader of the output has exited
        raise typer.Exit(1) from None


def write_overlays(path: Path, overlays: list[Path], dry_run: bool, as_json: bool = False) -> None:
    """Apply overlays to a parameter file in turn, and print each change.

    Raises:
        InputError: the file, an overlay, or their combination is not valid. Nothing is written.
    """
    from din.artifacts import write_bytes
    from din.params import load
    from din.params.overlays import edit, read_overlay

    load(path)
    text = path.read_text(encoding="utf-8")
    lines = []
    changes = []
    for overlay in overlays:
        edited = edit(text, read_overlay(overlay), overlay)
        text = edited.text
        lines += map(str, edited.changes) if edited.changes else [f"{overlay}: {path} has these values already"]
        changes += [{"overlay": str(overlay), **asdict(change)} for change in edited.changes]
    if not dry_run:
        write_bytes(path, text.encode())
    print(json.dumps(changes, indent=2) if as_json else "\n".join(lines))


def day_of(given: str | date) -> date:
    """Return a day that was given as text.

    Raises:
        InputError: the text names none.
    """
    try:
        return date.fromisoformat(str(given))
    except ValueError:
        raise InputError(f"--until is {given!r}; expected a day as YYYY-MM-DD") from None


def user() -> str:
    """Return the user's name, or the number of a user without a name, as in some containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # OSError from Python 3.13 on
        return str(os.getuid())


def params_here() -> "Params":
    """Return the parameters of the params.yaml here.

    Raises:
        InputError: the file is missing or not valid.
    """
    from din.params import load

    return load(HERE.params)


def default_registry() -> str:
    """Return `promote.registry` of params.yaml."""
    return HERE.located(params_here().promote.registry)


def job_model(uri: str | None, model: str | None) -> str:
    """Return a namespace: the one that is named, or else the only one below a URI, or else that of params.yaml."""
    return model or (only_model(uri) if uri else params_here().model_name)


def only_model(uri: str) -> str:
    """Return the name of the registry's only model.

    Raises:
        InputError: there is none, or there are several.
    """
    from din.registry.registry import list_models

    names = list_models(uri)
    if not names:
        raise InputError(f"{uri}: holds no models; check the URI, or promote one first (`dvc repro`, `din promote`)")
    if len(names) > 1:
        raise InputError(f"{uri}: holds {', '.join(names)}; name one with --model")
    return names[0]


def open_input(path: Path) -> BinaryIO:
    """Open a file of requests.

    Raises:
        InputError: the file can't be opened.
    """
    try:
        return path.open("rb")
    except OSError as error:
        raise InputError(f"--input {path}: {error.strerror}; expected a file of JSON lines, or -") from None


def main() -> None:
    """Run the command line."""
    run_app(app, "din")


if __name__ == "__main__":
    main()

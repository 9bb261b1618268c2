"""The commands about the candidate and the champion: pin, promote, score."""

import json
import sys
from datetime import date
from pathlib import Path
from typing import Annotated

import typer

from din.base.commandline import AsJson, commands, print_result
from din.base.errors import InputError
from din.cli.options import MaxCandidates, MaxHistory, MaxRequestMB, Model, Plugins, Uri, place, user
from din.cli.run import HERE, answering, load_kinds, params_here, reporting

CHAMPION = "The champion"

app = typer.Typer()
command = commands(app, CHAMPION)


@command("din pin                  # before `dvc repro`, with train.start: champion")
def pin() -> None:
    """Write into params.yaml which champion the next run continues (train.champion), and print it."""
    with answering("train"):
        from din.base.artifacts import write_bytes
        from din.data.fetch import describe
        from din.params.overlays import edit
        from din.release.registry.champions import pin
        from din.release.registry.registry import Registry

        params = params_here()
        last = params.data.until or date.fromisoformat(describe(HERE, params).last_day)
        pinned = pin(Registry.of(HERE, params), params.train, last)
        text = HERE.params.read_text(encoding="utf-8")
        write_bytes(HERE.params, edit(text, {"train": {"champion": pinned}}, "din pin").text.encode())
        print(pinned)


@command(
    "din promote",
    "din promote --reason 'first week of the new log'",
    "din promote --override --reason 'looked at the slices'",
    "din promote --json > promotion.json",
)
def promote(
    reason: Annotated[str, typer.Option(help="The reason, for the registry's log; default: the gate is open.")] = "",
    override: Annotated[
        bool,
        typer.Option(
            "--override", help="Answer for gates that are borderline or lack an earlier champion; needs a reason."
        ),
    ] = False,
    by: Annotated[str, typer.Option(help="Who promotes, for the registry's log; default: this user.")] = "",
    as_json: AsJson = False,
) -> None:
    """Make models/bundle/ the champion, after hashing again everything that the gate judged."""
    with reporting("promote"):
        from din.release.promote import promote

        print_result(lambda: promote(HERE, params_here(), by=by or user(), reason=reason, override=override), as_json)


@command(
    "din score --input requests.jsonl               # this job's champion",
    "din score --registry s3://models/ctr --input requests.jsonl --explain 3",
    "din score --bundle models/bundle --input -     # the candidate, from a pipe",
)
def score(
    requests: Annotated[
        str,
        typer.Option("--input", help="JSON lines, one request each; - for standard input."),
    ],
    registry: Uri = None,
    model: Model = None,
    bundle: Annotated[Path | None, typer.Option(help="A bundle's directory, instead of the registry.")] = None,
    explain: Annotated[
        int, typer.Option(min=0, help="For each candidate, name this many parts of the request that matter most.")
    ] = 0,
    max_candidates: MaxCandidates = 10_000,
    max_history: MaxHistory = 10_000,
    max_request_mb: MaxRequestMB = 16.0,
    plugin: Plugins = None,
) -> None:
    """Score requests with raw ids: one JSON line per request, {"version", "probabilities"}. See docs/serving.md."""
    with answering("serve"):
        from din.bundle.explain import explain_file
        from din.bundle.limits import Limits
        from din.bundle.scorer import Scorer, score_file
        from din.release.registry.cache import scorer_of

        limits = Limits(max_candidates, max_history, max_request_mb)
        load_kinds(plugin)
        if bundle is None:
            at, name = place(registry, model)
            scorer = scorer_of(at, name)
        elif registry is None and model is None:
            scorer = Scorer.open(bundle)
        else:
            raise InputError("--bundle DIRECTORY replaces --registry and --model; give one or the other")
        scorer = scorer.within(limits)
        file = Path(requests)
        try:
            lines = sys.stdin.buffer if requests == "-" else file.open("rb")
        except OSError as error:
            raise InputError(f"--input {requests}: {error.strerror}; expected a file of JSON lines, or -") from None
        with lines:
            for answer in explain_file(scorer, lines, explain) if explain else score_file(scorer, lines):
                print(json.dumps(answer))

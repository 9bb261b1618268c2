"""The commands about serving: score, serve, rehearse, replay, watch."""

import json
import sys
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from din.base.commandline import AsJson, commands, print_result
from din.base.errors import InputError
from din.cli.champion import CHAMPION
from din.cli.options import MaxCandidates, MaxHistory, MaxRequestMB, Model, Plugins, Uri, place
from din.cli.run import HERE, answering, load_kinds, params_here, tell

app = typer.Typer()
command = commands(app, CHAMPION)


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
        from din.bundle.limits import Limits
        from din.bundle.scorer import Scorer, score_file
        from din.release.registry.cache import scorer_of
        from din_loop.explain import explain_file

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


@command(
    "din serve                     # this job's champion, on 127.0.0.1",
    "din serve --registry s3://models/ctr --host 0.0.0.0 --processes 4",
    "din serve --log served        # and log what it answered, to learn from",
    "din serve --shadow models/bundle        # and score a challenger beside it",
)
def serve(
    registry: Uri = None,
    model: Model = None,
    host: Annotated[str, typer.Option(help="The address to listen on; 0.0.0.0 is all of them.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port.")] = 8000,
    processes: Annotated[int, typer.Option(min=1, max=256, help="Processes; each holds a bundle of its own.")] = 1,
    threads: Annotated[int, typer.Option(min=1, max=256, help="Requests that a process scores at once.")] = 1,
    queue: Annotated[int, typer.Option(min=0, help="Requests that may wait; one more gets 503.")] = 64,
    timeout: Annotated[float, typer.Option(min=0.001, help="Answer 504 after this many seconds.")] = 2.0,
    slow_ms: Annotated[float, typer.Option(min=0, help="Log requests that take longer, with their steps.")] = 500.0,
    refresh: Annotated[
        float, typer.Option(min=0.1, max=86400, help="Seconds between two looks at the registry.")
    ] = 30.0,
    max_candidates: MaxCandidates = 10_000,
    max_history: MaxHistory = 10_000,
    max_request_mb: Annotated[float, typer.Option(min=0.001, max=256, help="Refuse larger bodies, in MB.")] = 16.0,
    log: Annotated[str | None, typer.Option(help="The folder in which to log what was answered.")] = None,
    log_share: Annotated[float, typer.Option(min=0, max=1, help="The share of the users to log.")] = 1.0,
    log_key: Annotated[str | None, typer.Option(help="Hash users in the log with the key in this file.")] = None,
    shadow: Annotated[
        str | None, typer.Option(help="Score a challenger too: a record, (the start of) a version, or a folder.")
    ] = None,
    plugin: Plugins = None,
) -> None:
    """Answer requests over HTTP with the champion, and follow promotions and rollbacks. See docs/serving.md."""
    with answering("server"):
        if log is None and (log_key is not None or log_share < 1):
            raise InputError("--log-key and --log-share need --log; name the folder of the log, or leave them out")
        from din.bundle.limits import Limits
        from din.kinds import KINDS
        from din.plugins import files_of
        from din_loop.server.run import serve
        from din_loop.server.settings import Settings

        at, name = place(registry, model)
        load_kinds(plugin)
        settings = Settings(
            registry=at,
            model=name,
            refresh=refresh,
            threads=threads,
            queue=queue,
            timeout=timeout,
            slow=slow_ms / 1e3,
            limits=Limits(max_candidates, max_history, max_request_mb),
            log=log,
            log_share=log_share,
            log_key=log_key,
            shadow=shadow,
            plugins=tuple(map(str, files_of(KINDS[kind].module for kind in KINDS))),
        )
        serve(settings, host, port, processes)


@command(
    "din rehearse served             # a week until now, below ./served",
    "din rehearse served --days 30 --requests 500 --seed 2",
)
def rehearse(
    log: Annotated[Path, typer.Argument(help="A new folder, for a log as `din serve --log` writes it.")],
    days: Annotated[int, typer.Option(min=1, max=365, help="Whole days before today.")] = 7,
    requests: Annotated[int, typer.Option(min=1, max=10**6, help="Requests a day.")] = 2_000,
    seed: Annotated[int, typer.Option(min=0, help="Seeds users, candidates and clicks.")] = 1,
    registry: Uri = None,
    model: Model = None,
    as_json: AsJson = False,
) -> None:
    """Play days of service with the champion and simulated clicks, to try the loop before there are real ones."""
    with answering("train"):
        from din.release.registry.registry import Registry
        from din_loop.rehearsal import rehearse

        champions = Registry(*place(registry, model))
        print_result(lambda: rehearse(HERE, params_here(), champions, log, days, requests, seed), as_json)


@command(
    "din replay served        # the log of `din serve --log served`",
    "din replay served --max-requests 100000 --json",
)
def replay(
    log: Annotated[Path, typer.Argument(help="The folder that `din serve --log` names.")],
    registry: Uri = None,
    model: Model = None,
    max_requests: Annotated[
        int, typer.Option(min=1, max=10**9, help="Replay at most this many, drawn by a hash.")
    ] = 10_000,
    log_key: Annotated[Path | None, typer.Option(help="The key, if the log holds hashes of users.")] = None,
    as_json: AsJson = False,
) -> None:
    """Score a server's log again, exit 3 unless scores are equal, and say where requests differ from data/features."""
    with answering("train"):
        from din.release.registry.registry import Registry
        from din_loop.replay.replay import hours_ahead, replay

        champions = Registry(*place(registry, model))
        ahead = hours_ahead(params_here().fetch) if HERE.params.exists() else 0
        print_result(lambda: replay(HERE, log, champions, max_requests, log_key, ahead), as_json).check()


@command(
    "din watch                     # the last 24 hours of fetch.options.path",
    "din watch served --until 2026-01-31 --json",
    "din watch served --metrics /var/lib/node_exporter/din.prom",
)
def watch(
    log: Annotated[
        Path | None, typer.Argument(help="The folder that `din serve --log` names; default: fetch.options.path.")
    ] = None,
    until: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="The day to judge (UTC); default: the last 24 hours.")
    ] = None,
    registry: Uri = None,
    model: Model = None,
    max_requests: Annotated[int, typer.Option(min=1, help="Read about this many requests a day.")] = 1_000,
    max_age: Annotated[float, typer.Option(min=0, max=36500, help="Alarm if the champion is older, in days.")] = 7.0,
    metrics: Annotated[Path | None, typer.Option(help="Write figures for Prometheus to this file, *.prom.")] = None,
    as_json: AsJson = False,
) -> None:
    """Compare a day of the server's log and its clicks with the days before, and exit 3 if there is an alarm."""
    with answering("train"):
        from din.release.registry.registry import Registry
        from din_loop.served_options import options_of
        from din_loop.watch.watch import alarmed, watch

        options = options_of(params_here().fetch) if HERE.params.exists() else None
        folder = log or (Path(HERE.located(options.path)).expanduser() if options and options.path else None)
        if folder is None:
            raise InputError("LOG: missing; expected the folder of `din serve --log`, here or in fetch.options.path")
        clicks = options if options and options.clicks else None
        now = datetime.now(UTC).replace(tzinfo=None, minute=0, second=0, microsecond=0)
        newest = now.date() - timedelta(days=1)
        if until and until.date() > newest:
            raise InputError(f"--until {until:%Y-%m-%d}: the day is not over (UTC); expected {newest} or earlier")
        champions = Registry(*place(registry, model))
        command = partial(
            watch,
            HERE,
            folder,
            clicks,
            champions,
            end=until + timedelta(days=1) if until else now,
            most=max_requests,
            max_age=timedelta(days=max_age),
            metrics=metrics,
        )
        watched = print_result(command, as_json)
        if watched.alarms:
            tell(lambda: alarmed(champions, watched.alarms))
        watched.check()

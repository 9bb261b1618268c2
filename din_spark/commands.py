"""The command `din score-table`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from din.base.commandline import commands
from din.cli.champion import CHAMPION
from din.cli.options import MaxCandidates, MaxHistory, MaxRequestMB, Model, Uri, place
from din.cli.run import answering

app = typer.Typer()


@commands(app, CHAMPION)(
    "din score-table lake.requests --out scores",
    "din score-table requests/ --registry s3://models/ctr --out scores",
)
def score_table(
    requests: Annotated[str, typer.Argument(help="A folder of Parquet files or a table, with a request in each row.")],
    out: Annotated[Path, typer.Option(help="The new folder to write.")],
    registry: Uri = None,
    model: Model = None,
    max_candidates: MaxCandidates = 10_000,
    max_history: MaxHistory = 10_000,
    max_request_mb: MaxRequestMB = 16.0,
) -> None:
    """Score a table of requests with the champion on Apache Spark, and print version and rows. See docs/spark.md."""
    with answering("serve,spark"):
        from din.bundle.limits import Limits
        from din.release.registry.registry import Registry
        from din_spark.score import score_table

        limits = Limits(max_candidates, max_history, max_request_mb)
        print(json.dumps(score_table(Registry(*place(registry, model)), requests, out, limits)))

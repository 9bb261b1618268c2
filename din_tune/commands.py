"""The command `din tune`."""

from typing import Annotated

import typer

from din.base.commandline import AsJson, commands, print_result
from din.cli.run import HERE, answering, params_here

app = typer.Typer()


@commands(app, "Parameters")(
    "din tune                      # about 20 minutes; run it again to continue",
    "din tune --trials 50 --jobs 4",
    "din tune --keep train.model.ages",
)
def tune(
    minutes: Annotated[
        float | None, typer.Option(min=0.01, help="Minutes, roughly; default: 20, or with --trials no limit.")
    ] = None,
    trials: Annotated[
        int | None, typer.Option(min=1, help="Trials in all, with those of earlier calls; default: no limit.")
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, max=256, help="Processes that train; default: one a core, or one on a GPU.")
    ] = None,
    keep: Annotated[
        list[str] | None, typer.Option(help="A key that keeps today's value, e.g. train.model.ages; may be repeated.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Search better hyperparameters on validation rows, and write tuned.yaml and reports/tuning.html.

    It needs data/features/ of an earlier `dvc repro`, changes no other file, and keeps its trainings if it is killed.
    """
    with answering("tune"):
        from din_tune.tuning import tune

        limit = 20.0 if minutes is None and trials is None else minutes
        print_result(lambda: tune(HERE, params_here(), limit, trials, jobs, keep or ()), as_json)

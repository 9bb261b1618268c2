"""The commands about the candidate and the champion: pin, promote."""

from datetime import date
from functools import partial
from typing import Annotated

import typer

from din.base.commandline import AsJson, commands, print_result
from din.cli.run import HERE, answering, params_here, reporting, tell

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
        from din.cli.identity import identity
        from din.release.events import recorded
        from din.release.promote import promote
        from din.release.registry.registry import Registry

        params = params_here()
        who = identity()
        decide = partial(promote, HERE, params, by=by or who.name, reason=reason, override=override, identity=who)
        promotion = print_result(decide, as_json)
        tell(lambda: recorded(Registry.of(HERE, params), promotion.record))

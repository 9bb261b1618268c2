"""Options that several commands have, and what they mean by default."""

from pathlib import Path
from typing import Annotated

import typer

from din.base.errors import InputError
from din.cli.run import HERE, params_here


def not_blank(reason: str) -> str:
    """Return a reason, the value of an option, as it is.

    Raises:
        BadParameter: it is blank.
    """
    if not reason.strip():
        raise typer.BadParameter("is blank; say why, for those who read the log")
    return reason


def not_empty(value: str | None) -> str | None:
    """Return the value of an option as it is.

    Raises:
        BadParameter: it is empty, as `--registry "$STAGING"` is without such a variable; that is not the default.
    """
    if value == "":
        raise typer.BadParameter("is empty; give a value, or leave the option out: is a variable of the shell not set?")
    return value


Uri = Annotated[
    str | None,
    typer.Option("--registry", callback=not_empty, help="Registry URI; default: promote.registry of params.yaml."),
]
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        callback=not_empty,
        help="Model name; default: this job's, or with --registry its only model.",
    ),
]
Promotion = Annotated[str, typer.Argument(help="A record's number, or (the start of) a version.")]
Reason = Annotated[str, typer.Option(callback=not_blank, help="The reason, for the log.")]
MaxCandidates = Annotated[int, typer.Option(min=1, help="Refuse requests with more candidates.")]
MaxHistory = Annotated[int, typer.Option(min=0, help="Refuse requests with more behaviours.")]
MaxRequestMB = Annotated[float, typer.Option(min=0.001, max=1000, help="Refuse longer requests, in MB.")]
Plugins = Annotated[
    list[Path] | None,
    typer.Option("--plugin", help="A plugin's file that the bundle needs, one for each; default: those here."),
]
By = Annotated[str, typer.Option(help="Who decides, for the log; default: this user.")]


def default_registry() -> str:
    """Return `promote.registry` of params.yaml."""
    return HERE.located(params_here().promote.registry)


def place(uri: str | None, model: str | None) -> tuple[str, str]:
    """Return the registry and the model that two options name; see `Uri` and `Model`.

    Raises:
        InputError: params.yaml is needed and not valid, or the registry does not hold exactly one model.
    """
    if not uri:
        return default_registry(), model or params_here().model_name
    if model:
        return uri, model
    from din.release.registry.registry import list_models

    names = list_models(uri)
    if not names:
        raise InputError(f"{uri}: holds no models; check the URI, or promote one first (`dvc repro`, `din promote`)")
    if len(names) > 1:
        raise InputError(f"{uri}: holds {', '.join(names)}; name one with --model")
    return uri, names[0]

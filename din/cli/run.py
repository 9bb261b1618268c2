"""Run a command in the workspace of the current directory: as a stage, or without lock and outcome."""

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from din.base.errors import GateClosed, InputError, Unavailable, needing_space
from din.base.workspace import Workspace
from din.stages.here import HERE as HERE
from din.stages.here import check_root as check_root
from din.stages.here import running as running

if TYPE_CHECKING:
    from din.params.reading import Params
    from din.release.events import Event


@contextlib.contextmanager
def reporting(name: str, report: Path | None = None) -> Iterator[None]:
    """Run a command as a stage, and then write the run's reports, whether it succeeds or fails."""
    try:
        with running(name, report):
            yield
    except SystemExit:
        write_reports(HERE)
        raise
    write_reports(HERE)


def write_reports(workspace: Workspace) -> None:
    """Let each entry point in the group `din_ctr.reports` report on the run of a workspace.

    A report that fails is one warning, and changes nothing.
    """
    for entry in entry_points(group="din_ctr.reports"):
        try:
            with contextlib.redirect_stdout(sys.stderr):
                entry.load()(workspace)
        except Exception as error:
            print(f"warning: no run report was written: {type(error).__name__}: {error}", file=sys.stderr)


def tell(happened: Callable[[], "Event | None"]) -> None:
    """Give an event to each entry point in the group `din_ctr.listeners`; see docs/operations.md.

    A listener that fails, or an event that can't be described, is one warning, and changes nothing.

    Args:
        happened: returns the event, or None if there is nothing to tell.
    """
    event = None
    with _warning("nobody was notified"):
        event = happened()
    for entry in entry_points(group="din_ctr.listeners") if event else ():
        with _warning(f"{entry.name} told nobody"), contextlib.redirect_stdout(sys.stderr):
            entry.load()(event)


@contextlib.contextmanager
def _warning(outcome: str) -> Iterator[None]:
    """Make an error a warning."""
    try:
        yield
    except Exception as error:
        cause = str(error) if isinstance(error, InputError | Unavailable) else f"{type(error).__name__}: {error}"
        print(f"warning: {outcome}: {cause}", file=sys.stderr)


@contextlib.contextmanager
def answering(extra: str = "serve") -> Iterator[None]:
    """Run a command that is not a stage, without lock or outcome; an error becomes one message and an exit code.

    Args:
        extra: the extra to install if a package is missing.
    """
    from din.stages import stage

    try:
        with stage.packages(extra), needing_space(HERE.root.absolute()):
            yield
    except (InputError, Unavailable, GateClosed) as error:
        print(error, file=sys.stderr)
        raise typer.Exit(error.exit_code) from None
    except BrokenPipeError:  # the reader of the output has exited
        raise typer.Exit(1) from None


def params_here() -> "Params":
    """Return the parameters of the params.yaml here, checked before the first stage runs.

    Raises:
        InputError: the file is missing or not valid, names a model, a source, an engine, a gate or a kind of field that
            nothing registers, or sets what one of them does not accept.
    """
    from din.data import SOURCES
    from din.featurize import ENGINES
    from din.model import MODELS
    from din.params.reading import check_model, load
    from din.schema import parse_fields

    params = load(HERE.params)
    SOURCES.check(params.fetch.source, params.fetch.options, "fetch.source")
    ENGINES.check(params.featurize.engine, {}, "featurize.engine")
    MODELS.check(params.train.model.name, params.train.model.options, "train.model.name")
    check_model(params.train, MODELS.reads, HERE.params)
    parse_fields(params.featurize.fields or {})
    if params.gate.options:
        from din.release.gates import GATES  # its modules take half a second to import

        GATES.check_options(params.gate.options)
    return params


def load_kinds(files: Iterable[Path] | None) -> None:
    """Load plugins for a command that scores: these files, or else those of the params.yaml here, if there is one.

    Raises:
        InputError: a file is missing or can't be imported, or params.yaml is not valid.
    """
    from din.plugins import load_files

    if files:
        load_files(files)
    elif HERE.params.exists():
        params_here()

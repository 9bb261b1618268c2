"""Tune DIN, BaseModel and LR with the same budget, each from the parameters that `din init` guesses for a log.

The trial with the best validation metric is trained with several seeds, and its test rows are scored once for each. A
baseline must be tuned too, or it proves little.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks import harness, quality
from benchmarks.environments import ROOT
from benchmarks.features import featurized
from benchmarks.generated_tables import publish
from benchmarks.harness import parsed, positive
from benchmarks.searching import Found, searched, settings
from din.base.workspace import Workspace
from din.features.reader import Features
from din.params.blocks import parse, to_json
from din.params.overlays import nested, overlaid
from din.params.reading import Params, load
from din.params.train import Train
from din.train.evaluate import floor
from din_start.init.find import tables
from din_start.init.guess import guess
from din_start.params.defaults import written

STORE = harness.STORE / "tuned"
LOGS = ("kuairand-pure", "amazon-beauty", "ml-latest-small-2016")
"""The logs that `din init` guesses, by their folders."""
DEFAULT = "movielens-100k, the default job"
MODELS = {"LR": "lr", "BaseModel": "base", "DIN": "din"}
GUESSED = "DIN as guessed"


def main() -> int:
    """Run the command line and return the exit code: 0 = done, 2 = bad usage or input."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tuned", description="Tune DIN and its floors alike.")
    parser.add_argument("--data", type=Path, help="the folder of the prepared logs; default: MovieLens-100k alone")
    parser.add_argument("--trials", type=positive, default=2, help="of each search, by default %(default)s")
    parser.add_argument("--seeds", type=positive, default=1, help="of each row, by default %(default)s")
    parser.add_argument("--jobs", type=positive, default=1, help="processes of one thread each")
    parser.add_argument("--log", choices=[*LOGS, DEFAULT], help="only this log")
    parser.add_argument("--write", action="store_true", help="write the tables to docs/quality.md")
    options = parsed(parser, full={"trials": 10, "seeds": 5})

    def measured() -> str:
        logs = {name: guessed(options.data / name) for name in LOGS if options.data and options.log in (None, name)}
        if options.log in (None, DEFAULT):
            logs[DEFAULT] = load(ROOT / "params.yaml")
        return text(logs, options.trials, options.seeds, options.jobs)

    return publish("tuned" if options.write else "", measured)


def text(logs: Mapping[str, Params], trials: int, seeds: int, jobs: int, store: Path = STORE) -> str:
    """Run the missing searches and trainings, and return a table for each log.

    Raises:
        InputError: a log can't be read, or no trial of a search has a metric.
    """
    features = featurized(logs, store, jobs)
    cases = {}
    for log, params in logs.items():
        for name, model in MODELS.items():
            start = replace(params, train=_start(params, model, features[log]))
            cases[log, name] = harness.StudyCase(f"{log} {name}", searched, (features[log], start, trials))
    searches = dict(zip(cases, harness.results(store / "searches", [*cases.values()], jobs), strict=True))
    rows = []
    for log, params in logs.items():
        rows.append(quality.Row(log, GUESSED, "BaseModel", params.train))
        for name in MODELS:
            start = cases[log, name].arguments[1]
            rows.append(quality.Row(log, name, "BaseModel", settings(start, searches[log, name].changes)))
    tables = quality.text(rows, quality.trained(rows, features, seeds, jobs, store))
    return f"{tables}\n{_changes(searches)}"


def guessed(folder: Path) -> Params:
    """Return what `din init` guesses for the log in a folder.

    Raises:
        InputError: it can't be read, or holds no log.
    """
    place = folder.resolve()
    workspace = Workspace(place)
    choices = guess(workspace, tables(workspace, str(place), {}), {})
    values = nested({key: choice.value for key, choice in choices.items()})
    return parse(Params, overlaid(to_json(Params()), values, folder), folder)


def _start(params: Params, model: str, features: Path) -> Train:
    """Return the settings that a search starts from; those of LR are the floor's, since DIN's would cripple it."""
    if model == "lr":
        return floor(params, sum(Features(features).split_rows("train")))
    return replace(params.train, model=replace(params.train.model, name=model))


def _changes(searches: Mapping[tuple[str, str], Found]) -> str:
    """Return a table of what the best trials change."""
    lines: Sequence[Sequence[object]] = [
        (
            log,
            name,
            search.trials,
            ", ".join(f"`{key}: {written(value)}`" for key, value in search.changes.items()) or "–",
        )
        for (log, name), search in searches.items()
    ]
    return harness.table(("log", "model", "trials", "the best one changes"), lines)


if __name__ == "__main__":
    sys.exit(main())

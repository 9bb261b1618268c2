"""Tune DIN, BaseModel and LR with the same budget, each from the parameters that `din init` guesses for a log.

The trial with the best validation metric is trained with several seeds, and its test rows are scored once for each. A
floor that nobody has tuned is no floor.
"""

import argparse
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks import harness, quality
from benchmarks.environments import ROOT
from benchmarks.generated_tables import publish
from benchmarks.harness import positive
from din.errors import InputError
from din.features.reader import Features
from din.init.find import tables
from din.init.guess import guess
from din.params import Params, Train, load, parse, to_json
from din.params.defaults import written
from din.params.overlays import nested, overlaid
from din.train.evaluate import floor
from din.tune.space import Space
from din.tune.study import by_metric, ended, open_study, search
from din.tune.training import executor
from din.workspace import Workspace

STORE = harness.STORE / "tuned"
LOGS = ("kuairand-pure", "amazon-beauty", "ml-latest-small-2016")
"""The logs that `din init` guesses, by their folders."""
DEFAULT = "movielens-100k, the default job"
MODELS = {"LR": "lr", "BaseModel": "base", "DIN": "din"}
GUESSED = "DIN as guessed"


@dataclass(frozen=True)
class Found:
    """The result of a search.

    Attributes:
        trials: how many have ended.
        changes: the best one's values by dotted key below `train`, where they differ from the log's parameters.
    """

    trials: int
    changes: Mapping[str, Any]


def main() -> int:
    """Run the command line and return the exit code: 0 = done, 2 = bad usage or input."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tuned", description="Tune DIN and its floors alike.")
    parser.add_argument("--data", type=Path, default=Path(), help="folder of the logs, as docs/quality.md lists them")
    parser.add_argument("--trials", type=positive, default=16, help="of each search; the default is 16")
    parser.add_argument("--seeds", type=positive, default=5, help="of each row; the default is 5")
    parser.add_argument("--jobs", type=positive, default=1, help="processes of one thread each")
    parser.add_argument("--log", choices=[*LOGS, DEFAULT], help="only this log; writes no page")
    given = parser.parse_args()

    def measured() -> str:
        logs = {name: guessed(given.data / name) for name in LOGS if given.log in (None, name)}
        if given.log in (None, DEFAULT):
            logs[DEFAULT] = load(ROOT / "params.yaml")
        return text(logs, given.trials, given.seeds, given.jobs)

    return publish("" if given.log else "tuned", measured)


def text(logs: Mapping[str, Params], trials: int, seeds: int, jobs: int, store: Path = STORE) -> str:
    """Run the missing searches and trainings, and return a table for each log.

    Raises:
        InputError: a log can't be read, or no trial of a search has a metric.
    """
    features = quality.featurized(logs, jobs, store)
    cases = {}
    for log, params in logs.items():
        for name, model in MODELS.items():
            own = replace(params, train=_start(params, model, features[log]))
            cases[log, name] = harness.StudyCase(f"{log} {name}", searched, (features[log], own, trials))
    found = dict(zip(cases, harness.results(store / "searches", [*cases.values()], jobs), strict=True))
    rows = []
    for log, params in logs.items():
        rows.append(quality.Row(log, GUESSED, "BaseModel", params.train))
        for name in MODELS:
            own = cases[log, name].arguments[1]
            rows.append(quality.Row(log, name, "BaseModel", _settings(own, found[log, name])))
    tables = quality.text(rows, quality.trained(rows, features, seeds, jobs, store))
    return f"{tables}\n{_changes(found)}"


def guessed(folder: Path) -> Params:
    """Return what `din init` guesses for the log in a folder.

    Raises:
        InputError: it can't be read, or holds no log.
    """
    place = folder.resolve()
    workspace = Workspace(place)
    found = guess(workspace, tables(workspace, str(place), {}), {})
    values = nested({key: choice.value for key, choice in found.items()})
    return parse(Params, overlaid(to_json(Params()), values, folder), folder)


def searched(kept: Path, features: Path, params: Params, trials: int) -> Found:
    """Search as `din tune` does, for the model of the parameters alone.

    Args:
        kept: the document of the case; the trials are kept beside it.
        features: the feature directory.
        params: the parameters to start from.
        trials: how many.
    """
    workspace = Workspace(kept.with_suffix(""))
    if not workspace.features.exists():
        workspace.features.parent.mkdir(parents=True)
        workspace.features.symlink_to(features)
    space = Space.of(params, ["train.model.name"])
    study = open_study(workspace, space)
    with executor(workspace, params, 1) as pool:
        search(workspace, study, space, pool, 1, trials, math.inf)
    best = by_metric(study)
    if not best:
        raise InputError(f"{kept.stem}: no trial has a metric")
    return Found(len(ended(study)), space.changes(space.decoded(best[0].params)))


def _start(params: Params, model: str, features: Path) -> Train:
    """Return the settings that a search starts from; those of LR are the floor's, since DIN's would cripple it."""
    if model == "lr":
        return floor(params, sum(Features(features).split_rows("train")))
    return replace(params.train, model=replace(params.train.model, name=model))


def _settings(params: Params, found: Found) -> Train:
    return Space.of(params, ["train.model.name"]).settings(found.changes)


def _changes(found: Mapping[tuple[str, str], Found]) -> str:
    """Return a table of what the best trials change."""
    lines: Sequence[Sequence[object]] = [
        (log, name, one.trials, ", ".join(f"`{key}: {written(value)}`" for key, value in one.changes.items()) or "–")
        for (log, name), one in found.items()
    ]
    return harness.table(("log", "model", "trials", "the best one changes"), lines)


if __name__ == "__main__":
    sys.exit(main())

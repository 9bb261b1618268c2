"""One search as `python -m benchmarks.tuned` runs it, apart from how the features of its log were made."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from din.base.errors import InputError
from din.base.workspace import Workspace
from din.params.reading import Params
from din.params.train import Train
from din_tune.space import COMPARED, Space
from din_tune.study import by_metric, ended, open_study, search
from din_tune.training import executor


@dataclass(frozen=True)
class Found:
    """The result of a search.

    Attributes:
        trials: how many have ended.
        changes: the best one's values by dotted key below `train`, where they differ from the log's parameters.
    """

    trials: int
    changes: Mapping[str, Any]


def searched(kept: Path, features: Path, params: Params, trials: int) -> Found:
    """Search as `din tune` does, for the model of the parameters alone.

    Args:
        kept: the document of the case; the trials are kept beside it.
        features: the feature directory.
        params: the parameters to start from.
        trials: how many.
    """
    workspace = Workspace(kept.with_suffix(""))
    space = _space(params)
    study = open_study(workspace, features, space)
    with executor(workspace, params, 1) as pool:
        search(workspace, features, study, space, pool, 1, trials, math.inf)
    best = by_metric(study)
    if not best:
        raise InputError(f"{kept.stem}: no trial has a metric")
    return Found(len(ended(study)), space.changes(space.decoded(best[0].params)))


def settings(params: Params, changes: Mapping[str, Any]) -> Train:
    """Return the settings of a log's parameters with the changes that a search found."""
    return _space(params).settings(changes)


def _space(params: Params) -> Space:
    """Return the space around some parameters, for their model alone."""
    compared = params.train.model.name in COMPARED.values
    return Space.of(params, ["train.model.name"] if compared else [])

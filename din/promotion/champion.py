"""Which earlier models a candidate must not fall behind, on which rows that is a fair question, and their scores.

An earlier bundle answers raw ids, as in production: its own vocabularies, histories as long as it reads, for today's
test rows. Costs one fetch of the bundle and one scoring of the rows. It gives up rows that the earlier model trained
on: they would flatter it, so where they can't be told apart the comparison is not evaluated and the gate closes.
"""

from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from din.errors import InputError
from din.forms import Facts
from din.metrics.holdout import Training, unseen
from din.registry.records import Record
from din.registry.registry import Registry
from din.workspace import Workspace

ANCHOR_DAYS = 90

Score = Callable[[Workspace, Path, pa.Table], NDArray[np.float64]]
"""See `score_champion`."""


def score_champion(workspace: Workspace, bundle: Path, rows: pa.Table) -> NDArray[np.float64]:
    """Score test rows of a workspace with an earlier bundle, from raw ids on.

    Args:
        workspace: where the rows' log and features lie.
        bundle: the directory of the bundle.
        rows: B rows of the predictions of the test split.

    Returns:
        Probabilities [B].
    """
    from din.serve.requests import requests_for  # a first run has no champion and needs no onnxruntime
    from din.serve.scorer import Scorer

    scorer = Scorer.open(bundle)
    requests = requests_for(rows, workspace.raw, workspace.features, scorer.fields, scorer.max_history)
    return np.concatenate(scorer.score_many(requests))


def fair_rows(candidate: Facts, champion: Facts, timestamps: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return the mask of today's test rows that the champion can't have learned; see `din.metrics.holdout`.

    Args:
        candidate: facts.json of the candidate.
        champion: facts.json of the champion.
        timestamps: of the test rows [B], in µs.

    Raises:
        InputError: the rows can't be told apart, or none is left.
    """
    earlier = Training.of_bundle(champion)
    try:
        mask = unseen(earlier, Training.of_bundle(candidate), timestamps)
    except InputError as error:
        raise InputError(
            f"the champion may have trained on today's test rows: {error}; restore the old split, train on the newer "
            "log, or start a namespace of its own with promote.model_name"
        ) from None
    if not mask.any():
        until = earlier.train_until
        raise InputError(f"the champion trained on all of today's test rows (until {until}); train on a newer log")
    return mask


def until(facts: Facts) -> date:
    """The last day of the log a bundle was built from."""
    return date.fromisoformat(facts["until"])


def rolled_back(history: Sequence[Record]) -> dict[str, Record]:
    """Versions that a rollback removed and nobody reinstated since, with the record of that rollback."""
    removed: dict[str, Record] = {}
    for record in history:
        if record.action == "rollback" and record.previous:
            removed[record.previous] = record
        removed.pop(record.version, None)
    return removed


def anchor(registry: Registry, history: Sequence[Record], metric: Literal["auc", "gauc"]) -> Record | None:
    """The best champion of the last 90 days by its recorded test metric, so that small permitted losses don't add up.

    Days count back from the newest record, not from the clock. Champions that a rollback removed don't count.

    Returns:
        Its newest record; None where it is today's champion.

    Raises:
        InputError: a bundle of that time is missing or damaged.
    """
    since = datetime.fromisoformat(history[-1].at) - timedelta(days=ANCHOR_DAYS)
    removed = rolled_back(history)
    recent = {r.version: r for r in history if datetime.fromisoformat(r.at) >= since and r.version not in removed}

    def quality(record: Record) -> tuple[float, int]:
        value = registry.facts(record.version)["evaluation"]["test"][metric]
        return (-1.0 if value is None else value, record.number)

    best = max(recent.values(), key=quality)
    return None if best.version == history[-1].version else best

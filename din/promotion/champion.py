"""The earlier models that a candidate must not fall behind, their scores, and the rows of a fair comparison.

An earlier bundle scores today's test rows from raw ids, as in production: with its own vocabularies, and with histories
of its own length. Requests describe items that are newer than the bundle, so that it is not blamed for its age. This
takes one fetch of the bundle and one scoring of the rows. Rows that the earlier model learned would flatter it, so they
are left out. If it learned all of them, because the same day is run again, the comparison uses the predictions that its
run made by cross-fitting (`din.promotion.crossfit`). If rows can't be told apart, there is no comparison and the gate
closes.
"""

from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from din.document_types import Facts
from din.errors import InputError
from din.metrics.estimates import Metric
from din.metrics.holdout import Training, unseen
from din.names import Version
from din.registry.records import Record
from din.registry.registry import Registry
from din.workspace import Workspace

ANCHOR_DAYS = 90

Score = Callable[[Workspace, Path, pa.Table], NDArray[np.float64]]
"""See `score_champion`."""


def score_champion(workspace: Workspace, bundle: Path, rows: pa.Table) -> NDArray[np.float64]:
    """Score test rows of a workspace with an earlier bundle, starting from raw ids.

    Args:
        workspace: the workspace with the rows' log and features.
        bundle: the directory of the bundle.
        rows: B rows of the predictions of the test split.

    Returns:
        Probabilities [B].
    """
    from din.serve.requests import requests_for  # imported here, since a first run needs no onnxruntime
    from din.serve.scorer import Scorer

    scorer = Scorer.open(bundle)
    known = pq.read_table(bundle / "items.parquet", columns=["value"])["value"]
    requests = requests_for(rows, workspace.raw, workspace.features, scorer.fields, scorer.max_history, known)
    return np.concatenate(scorer.score_many(requests))


def fair_rows(candidate: Facts, champion: Facts, timestamps: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return the mask of today's test rows that the champion can't have learned; see `din.metrics.holdout`.

    Args:
        candidate: facts.json of the candidate.
        champion: facts.json of the champion.
        timestamps: the times of the test rows in µs, [B].

    Raises:
        InputError: the rows can't be told apart.
    """
    earlier = Training.of_bundle(champion)
    try:
        return unseen(earlier, Training.of_bundle(candidate), timestamps)
    except InputError as error:
        raise InputError(
            f"the champion may have trained on today's test rows: {error}; restore the old split, train on the newer "
            "log, or start a namespace of its own with promote.model_name"
        ) from None


def until(facts: Facts) -> date:
    """Return the last day of the log that a bundle was made from."""
    return date.fromisoformat(facts["until"])


def rolled_back(history: Sequence[Record]) -> dict[str, Record]:
    """Return the versions that a rollback removed and nobody has reinstated, with the record of the rollback."""
    removed: dict[str, Record] = {}
    for record in history:
        if record.action == "rollback" and record.previous:
            removed[record.previous] = record
        removed.pop(record.version, None)
    return removed


def started_from(facts: Facts) -> str | None:
    """Return the version of the bundle that a model started from: the champion that went on, or a warm start."""
    train = facts["params"]["train"]
    start: str | None = train.get("champion" if train.get("start") == "champion" else "warm_start")
    return None if start == "none" else start


def removed_lesson(registry: Registry, history: Sequence[Record], start: str | None) -> Record | None:
    """Return the rollback that removed a bundle or one whose lessons it holds, or None.

    The chain of lessons ends at a model from scratch. A bundle of the chain that became champion after a rollback is
    not doubted for it: the gate knew of it that day, or a person brought the bundle back. So usually nothing is read.

    Args:
        registry: the registry with the bundles.
        history: all records.
        start: the version of the bundle. None for a model from scratch.

    Raises:
        InputError: a bundle of the chain is missing or damaged.
    """
    removed = rolled_back(history)
    newest = max((record.number for record in removed.values()), default=0)
    crowned = {str(record.version): record.number for record in history}
    cleared = 0
    while start is not None:
        cleared = max(cleared, crowned.get(start, 0))
        if cleared >= newest:
            break
        if start in removed and removed[start].number > cleared:
            return removed[start]
        start = started_from(registry.facts(Version(start)))
    return None


def anchor(registry: Registry, history: Sequence[Record], metric: Metric) -> Record | None:
    """Return the newest record of the anchor, or None if it is today's champion.

    The anchor is the champion with the best recorded test metric of the last 90 days, without those that a rollback
    removed. Comparing with it keeps small permitted losses from adding up. Days count back from the newest record, not
    from the clock.

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

"""Which earlier models a candidate must not fall behind, on which rows that is a fair question, and their scores.

An earlier bundle answers raw ids, as in production: its own vocabularies, histories as long as it reads, for today's
test rows. Costs one fetch of the bundle and one scoring of the rows. It gives up rows that the earlier model trained
on: they would flatter it, so where they can't be told apart the comparison is not evaluated and the gate closes.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from din.errors import InputError
from din.forms import Facts
from din.record import Record
from din.registry import Registry

RAW, FEATURES = Path("data/raw"), Path("data/features")
ANCHOR_DAYS = 90
_DECISIVE = {"by_user": ("seed", "valid_fraction", "test_fraction"), "leave_last_out": ("seed", "valid_fraction")}

Score = Callable[[Path, pa.Table], NDArray[np.float64]]


def score_champion(bundle: Path, rows: pa.Table) -> NDArray[np.float64]:
    """Probabilities of a bundle for rows of reports/predictions/test.parquet, from raw ids on. Shape [B]."""
    from din.serve.requests import requests_for  # a first run has no champion and needs no onnxruntime
    from din.serve.scorer import Scorer

    scorer = Scorer.open(bundle)
    requests = requests_for(rows, RAW, FEATURES, scorer.fields, scorer.max_history)
    return np.concatenate(scorer.score_many(requests))


def fair_rows(candidate: Facts, champion: Facts, timestamps: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Mask over today's test rows: those the champion did not train on.

    temporal: rows later than its last training impression. by_user: all, as the same seed and fractions hold out the
    same users at any time. leave_last_out: all, unless the champion saw a later log, where these rows are not the last.

    Args:
        candidate: facts.json of the candidate: `protocol` {name, seed, valid_fraction, test_fraction}, `until`.
        champion: facts.json of the champion: the same, and `train_until`.
        timestamps: of the test rows, µs.

    Raises:
        InputError: the rows can't be told apart, or none is left.
    """
    ours, theirs = candidate["protocol"], champion["protocol"]
    name = ours["name"]
    if differing := [key for key in ("name", *_DECISIVE.get(name, ())) if ours[key] != theirs[key]]:
        key = differing[0]
        raise InputError(
            f"the champion's split has {key} {theirs[key]!r}, today's {ours[key]!r}, so it may have trained on today's "
            "test rows; restore the old split, or start a namespace of its own with promote.model_name"
        )
    if name == "leave_last_out" and until(champion) > until(candidate):
        raise InputError(
            f"the champion saw data until {until(champion)}, after this log's {until(candidate)}, so today's last rows "
            "are among its training rows; train on the newer log"
        )
    if name != "temporal":
        return np.ones(len(timestamps), dtype=bool)
    trained = datetime.fromisoformat(champion["train_until"])
    trained = trained if trained.tzinfo else trained.replace(tzinfo=UTC)
    mask = timestamps > (trained - datetime.fromtimestamp(0, UTC)) // timedelta(microseconds=1)
    if not mask.any():
        raise InputError(f"the champion trained on all of today's test rows (until {trained}); train on a newer log")
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

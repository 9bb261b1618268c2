"""Does one field alone tell the label? Then it is feedback in disguise, known only after the impression.

For each context and item field: the CTR of each value on one half of the users, as a score of the other half's
impressions (in the same half a value seen once would always tell). Standardised numbers go by hundredths. At most
`MAX_ROWS` training rows, the first users of each shard, which a hash dealt out.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from din.metrics import auc
from din.schema import Field, Group
from validation.checks import SAMPLE
from validation.shards import Features, integers, values

MAX_AUC = 0.995
MAX_ROWS = 200_000
_MIN_EACH = 30  # clicks and non-clicks in each half: with fewer, chance gets there too
_BINS = 100


@dataclass(frozen=True)
class Strongest:
    """The field that tells most. sample: its most frequent values, with rows and clicks."""

    field: Field
    auc: float
    sample: list[dict[str, Any]]


def strongest_field(features: Features) -> Strongest | None:
    """The context or item field with the highest held-out AUC; None where too few rows could tell."""
    shards = features.manifest["shards"]
    tables = [features.read(shard, "train")[1].slice(0, 1 + MAX_ROWS // shards) for shard in range(shards)]
    rows = pa.concat_tables(tables)
    label, item, half = integers(rows["label"]) == 1, integers(rows["item"]), integers(rows["user"]) % 2 == 1
    halves = [label[half], label[~half]]
    if min(min(part.sum(), (~part).sum()) for part in halves) < _MIN_EACH:
        return None
    columns = {field: rows[field.name] for field in features.of(Group.CONTEXT)}
    columns |= {field: features.items[field.name].take(pa.array(item)) for field in features.of(Group.ITEM)}
    found = [_judge(field, column, label, half, features) for field, column in columns.items()]
    return max(found, key=lambda one: one.auc)


def _judge(field: Field, column: pa.ChunkedArray, label: np.ndarray, half: np.ndarray, features: Features) -> Strongest:
    found, row = values(column, field)
    codes = _bins(found) if field.standardised else found
    fitted = half[row]
    size = int(codes.max()) + 1
    shown = np.bincount(codes[fitted], minlength=size)
    clicked = np.bincount(codes[fitted], weights=label[row][fitted], minlength=size)
    rate = (clicked + label.mean()) / (shown + 1)
    scores = np.bincount(row, weights=rate[codes], minlength=len(label)) / np.bincount(row, minlength=len(label))
    frequent = np.argsort(-shown, kind="stable")[:SAMPLE]
    names = None if field.standardised else features.vocabulary(field)["value"].to_pylist()
    sample = [
        {field.name: f"hundredth {c}" if names is None else names[c], "rows": shown[c], "clicks": clicked[c]}
        for c in frequent
        if shown[c]
    ]
    return Strongest(field, auc(label[~half], scores[~half]), sample)


def _bins(numbers: np.ndarray) -> np.ndarray:
    """1 … 100 by rank, 0 = missing."""
    known = np.isfinite(numbers)
    edges = np.quantile(numbers[known], np.linspace(0, 1, _BINS + 1)[1:-1]) if known.any() else np.empty(0)
    return np.where(known, 1 + np.searchsorted(edges, numbers, side="right"), 0)

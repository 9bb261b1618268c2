"""Draw the golden requests of a bundle (`din.bundle.golden`), and score them with PyTorch.

They are part of the bundle's version, so neither the processor nor the number of threads may change a digit: the scores
are computed in float64 and rounded, and the drawing calls no function of the C library.
"""

from collections.abc import Iterable
from copy import deepcopy
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from din.base.artifacts import write_json
from din.bundle.encode import Encoder
from din.bundle.golden import GOLDEN, Golden
from din.bundle.scorer import Scores, Vector
from din.contracts.manifests import FieldRecord
from din.features.packing import PackedBatch
from din.features.reader import Features
from din.kinds import NEVER_SEEN, text
from din.model.artifact import Trained
from din.model.embedding import to_tensors
from din.schema import ITEM_ID, TIMESTAMP, USER_ID, Group, parse_field

_CANDIDATES = (1, 2, 20)
_RARE = 0.1
"""The share of values that were never seen."""
_MOST_NUMBERS = 200_000
"""The most numbers in the vectors of all requests, about 7 MB of JSON: a document's reader accepts 16."""
_NO_VALUES = pa.chunked_array([], pa.string())
_DIGITS = 9
_NOW = 1_767_225_600
_WEEK = 604_800


def write_golden(folder: Path, features: Features, trained: Trained) -> None:
    """Add the golden requests to a bundle: histories from none to the longest, and 1 to 20 candidates.

    Args:
        folder: the bundle's other files, except for the manifest.
        features: the features, with the ids that the model knows.
    """
    encoder = Encoder(folder, ages=trained.model.reads_ages)
    requests = draw_requests(features, encoder.max_history)
    exact = Trained(deepcopy(trained.model).double(), trained.table.double())
    probabilities = [
        torch_scores(exact, encoder.pack([request])).probabilities.round(_DIGITS).tolist() for request in requests
    ]
    write_json(folder / GOLDEN, Golden(requests=requests, probabilities=probabilities))


def draw_requests(features: Features, max_history: int) -> list[dict[str, Any]]:
    """Return requests for each length of histories and each number of candidates."""
    draw = _Draw(features)
    return [draw.request(length, count) for length in (0, 1, 3, max_history) for count in _CANDIDATES]


def torch_scores(trained: Trained, batches: Iterable[PackedBatch]) -> Scores:
    """Return PyTorch's scores [N] of the N impressions of all batches."""

    def logits(packed: PackedBatch) -> Vector:
        return trained.model(trained.table, to_tensors(packed)).double().numpy()

    with torch.inference_mode():
        return Scores.of_logits(np.concatenate([logits(packed) for packed in batches if len(packed)]))


class _Draw:
    """Random requests. Each value is drawn by itself, and the user is unknown."""

    def __init__(self, features: Features) -> None:
        self._random = Random(0)
        self._numbers = 0
        self._items = features.raw_items()
        self._records = [record for record in features.records if record["name"] not in (USER_ID, ITEM_ID)]
        self._forms = {record["name"]: parse_field(record).form for record in self._records}
        self._vocabularies = {
            name: features.vocabulary(name)["value"] for name, form in self._forms.items() if form.has_vocabulary
        }

    def request(self, behaviours: int, candidates: int) -> dict[str, Any]:
        """Return a request with these numbers of behaviours and candidates."""
        return {
            "user": {USER_ID: NEVER_SEEN} | self._values(Group.USER),
            "history": [self._behaviour() for _ in range(behaviours)],
            "candidates": [self._item() for _ in range(candidates)],
            "context": self._values(Group.CONTEXT),
            "time": _NOW,
        }

    def _behaviour(self) -> dict[str, Any]:
        return self._item() | self._values(Group.BEHAVIOUR) | {TIMESTAMP: _NOW - self._random.randrange(_WEEK)}

    def _item(self) -> dict[str, Any]:
        """Return an item that states its side fields, or leaves them to the bundle."""
        item = {ITEM_ID: self._known(self._items)}
        return item | self._values(Group.ITEM) if self._random.random() < 0.5 else item

    def _values(self, group: Group) -> dict[str, Any]:
        return {record["name"]: self._value(record) for record in self._records if record["group"] is group}

    def _value(self, record: FieldRecord) -> Any:
        """Return a value, or None, i.e. a missing one, once all vectors would have more than `_MOST_NUMBERS`."""
        length = record.get("length", 0)
        self._numbers += length
        if length and self._numbers > _MOST_NUMBERS:
            return None
        known_value = partial(self._known, self._vocabularies.get(record["name"], _NO_VALUES))
        return self._forms[record["name"]].draw(self._random, record, known_value)

    def _known(self, values: pa.ChunkedArray) -> str | None:
        """Return a known value as text; rarely one that was never seen, or None if the values hold it."""
        if self._random.random() < _RARE or not len(values):
            return NEVER_SEEN
        return text(values[self._random.randrange(len(values))].as_py())

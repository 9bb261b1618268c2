"""The importance of fields: the AUC that is lost if a field's values are dealt to other owners at random.

One field is dealt at a time, between all users, all items, the behaviours of a shard, or its impressions. As
"history", each impression is given another impression's behaviours. The model is not trained again, so two fields with
the same information split its worth.

Only validation rows are read, and only the model that has not learned them scores them. So these figures may be used to
choose fields, and the test rows still judge the choice.

The figures are kept for the next page about the same model, because PyTorch alone takes longer to import than the rest
of a page takes.
"""

import json
import math
from dataclasses import astuple, dataclass, replace
from functools import cached_property
from hashlib import sha256

import numpy as np

from din.base import documents
from din.base.artifacts import write_json
from din.base.documents import Document
from din.base.errors import InputError
from din.base.names import Digest
from din.base.workspace import Workspace
from din.contracts.facts import EvaluationInputs
from din.features.reader import Features, Shard
from din.kinds import Column
from din.metrics.estimates import Interval, difference
from din.schema import Field, Group
from din.stages import code

MOST_ROWS = 5_000
_SEED = 17


@dataclass(frozen=True)
class Importance:
    """The AUC that is lost without the values of a field, with bounds clustered by user.

    Attributes:
        group: whose field it is; None for the whole history.
    """

    name: str
    group: Group | None
    loss: Interval


class _Kept(Document):
    """Figures of an earlier page, and the hash of what they were computed from. A bound that is NaN is null."""

    made_of: Digest
    fields: list[tuple[str, Group | None, tuple[float | None, float | None, float | None]]]


class _Dealt(Features):
    """Features whose values of one field went to other owners; without a field, whole histories did."""

    def __init__(self, features: Features, field: Field | None) -> None:
        super().__init__(features.root, features.known_until)
        self._field = field

    @cached_property
    def items(self) -> dict[str, Column]:
        return self._deal(Group.ITEM, super().items)

    @cached_property
    def users(self) -> dict[str, Column]:
        return self._deal(Group.USER, super().users)

    def shard(self, number: int, split: str) -> Shard:
        whole = super().shard(number, split)
        rows = whole.impressions
        if self._field is None:
            order = np.random.default_rng(_SEED).permutation(len(rows))
            start, end = rows.history_start[order], rows.history_end[order]
            return replace(whole, impressions=replace(rows, history_start=start, history_end=end))
        contexts = self._deal(Group.CONTEXT, rows.contexts)
        fields = self._deal(Group.BEHAVIOUR, whole.behaviours.fields)
        return Shard(replace(rows, contexts=contexts), replace(whole.behaviours, fields=fields))

    def _deal(self, group: Group, columns: dict[str, Column]) -> dict[str, Column]:
        field = self._field
        if field is None or field.group is not group:
            return columns
        column = columns[field.name]
        order = np.random.default_rng(_SEED).permutation(len(column))
        return columns | {field.name: column.take(order)}


def remembered(workspace: Workspace, inputs: EvaluationInputs, confidence: float) -> list[Importance]:
    """Return the fields of a trained model and its history, the most important first; see `importances`.

    Args:
        inputs: the hashes of features and model.

    Raises:
        InputError: the model or its features can't be read.
    """
    computed_from = [inputs.model_dump(), confidence, code.digest([__name__], ())]
    made_of = Digest(sha256(json.dumps(computed_from).encode()).hexdigest())
    try:
        kept = documents.read(_Kept, workspace.importances)
    except InputError:
        kept = None
    if kept and kept.made_of == made_of:
        return [Importance(name, group, Interval(*map(_or_nan, loss))) for name, group, loss in kept.fields]
    measured = importances(workspace, confidence)
    fields = [(each.name, each.group, tuple(map(_or_none, astuple(each.loss)))) for each in measured]
    write_json(workspace.importances, _Kept.model_validate({"made_of": made_of, "fields": fields}))
    return measured


def _or_nan(bound: float | None) -> float:
    return math.nan if bound is None else bound


def _or_none(bound: float) -> float | None:
    return None if math.isnan(bound) else bound


def importances(workspace: Workspace, confidence: float) -> list[Importance]:
    """Return the fields of a trained model and its history, the most important first.

    At most `MOST_ROWS` validation rows are scored, once for each field. There is nothing to return if the model has
    learned all validation rows.

    Raises:
        InputError: the model or its features can't be read.
    """
    from din.train.evaluate import unlearned, validation_model  # these import PyTorch
    from din.train.predict import predict

    model = validation_model(workspace)
    chosen = _sample(unlearned(model, "valid"))
    if not any(map(len, chosen)):
        return []
    rows = predict(model.trained, model.features, "valid", chosen=chosen)
    users = rows.rows["user"]
    labels = rows.rows["label"]

    def loss(field: Field | None) -> Interval:
        dealt = predict(model.trained, _Dealt(model.features, field), "valid", chosen=chosen).probabilities
        return difference("auc", labels, rows.probabilities, dealt, users).interval(confidence)

    losses = [Importance("history", None, loss(None))]
    losses += [Importance(field.name, field.group, loss(field)) for field in model.features.fields]
    return sorted(losses, key=lambda importance: -importance.loss.point)


def _sample(chosen: list[np.ndarray]) -> list[np.ndarray]:
    """Return at most `MOST_ROWS` rows, drawn at random from the first shards that have so many."""
    random = np.random.default_rng(_SEED)
    left = MOST_ROWS
    sample = []
    for rows in chosen:
        drawn = np.sort(random.choice(rows, min(left, len(rows)), replace=False))
        sample.append(drawn)
        left -= len(drawn)
    return sample

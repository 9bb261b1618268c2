"""The activations of real test impressions: how much each behaviour of a history counts for two candidates.

A user with a clicked and an unclicked test impression is drawn at random. The history of the clicked impression is
scored once with each of the two candidates, so the behaviours are the same and only the candidate differs.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from torch import Tensor, nn

from din.errors import shown
from din.features.packing import Packer
from din.features.reader import Features, Shard
from din.model import artifact
from din.model.din import DIN
from din.model.embedding import to_tensors
from din.ops.segments import segment_softmax
from din.schema import ITEM_ID, Group, Kind
from din.workspace import Workspace

USERS = 4
MOST_BEHAVIOURS = 50
SHORTEST = 5
_SEED = 17
_NAMES = ("title", "name", "item_title", "item_name", "product_title", "product_name", "headline", "description")


@dataclass(frozen=True)
class Candidate:
    """A candidate with its probability of a click."""

    name: str
    probability: float


@dataclass(frozen=True)
class Behaviour:
    """One behaviour with its activation for each of the two candidates."""

    name: str
    for_clicked: float
    for_unclicked: float


@dataclass(frozen=True)
class Strip:
    """One history; the oldest behaviour comes first, and only the newest `MOST_BEHAVIOURS` are kept.

    Attributes:
        sequence: the name of the behaviour sequence, or None if the model has one sequence of all behaviours.
        left_out: the number of older behaviours that the model reads and the strip does not show.
    """

    user: str
    sequence: str | None
    clicked: Candidate
    unclicked: Candidate
    behaviours: list[Behaviour]
    left_out: int

    @property
    def largest(self) -> float:
        """The largest absolute activation."""
        both = [weight for one in self.behaviours for weight in (one.for_clicked, one.for_unclicked)]
        return max(map(abs, both), default=0.0)

    @property
    def sign(self) -> float:
        """The sign that most of the weight has. It has no meaning of its own: layers above can turn it round."""
        total = sum(one.for_clicked + one.for_unclicked for one in self.behaviours)
        return -1.0 if total < 0 else 1.0

    def top(self, clicked: bool, count: int = 3) -> list[Behaviour]:
        """Return the behaviours whose activation for a candidate is largest in size."""
        return sorted(self.behaviours, key=lambda one: -abs(one.for_clicked if clicked else one.for_unclicked))[:count]


@dataclass(frozen=True)
class _Pair:
    """Two test impressions of one user: their positions in a shard."""

    clicked: int
    unclicked: int


def strips(workspace: Workspace) -> list[Strip]:
    """Return strips of users drawn at random, or none if the model has no activation unit.

    Raises:
        InputError: model, features or the item table can't be read.
    """
    features = artifact.known(Features(workspace.features), workspace.model)
    trained = artifact.load(features, workspace.model)
    model = trained.model
    if not isinstance(model, DIN):
        return []
    names = list(artifact.read_config(workspace.model).sequences) or [None]
    packer = Packer(features)
    random = np.random.default_rng(_SEED)
    found = []
    for shard in features.shards("test"):
        for pair in islice(_pairs(shard, random), USERS - len(found)):
            found += _strips_of(pair, shard, features, packer, model, trained.table, names)
        if len(found) >= USERS:
            break
    return _named(found, features, workspace.raw / "items.parquet")


def _pairs(shard: Shard, random: np.random.Generator) -> Iterator[_Pair]:
    """Yield pairs of users drawn at random, who have both classes and a history of at least `SHORTEST` behaviours.

    The candidate that was not clicked is not in the history. Else the model would score an item that the user has met.
    """
    rows = shard.impressions
    order = np.argsort(rows.user, kind="stable")
    clicked = rows.label[order] != 0
    usable = clicked & (rows.history_length[order] >= SHORTEST)
    _, first, count = np.unique(rows.user[order], return_index=True, return_counts=True)
    both = (np.add.reduceat(usable, first) > 0) & (np.add.reduceat(~clicked, first) > 0) if len(order) else first
    for start, rows_of_user in random.permutation(np.stack([first, count], axis=1)[both]):
        own = np.arange(start, start + rows_of_user)
        click = order[random.choice(own[usable[own]])]
        history = shard.behaviour_item[rows.history_start[click] : rows.history_end[click]]
        others = order[own[~clicked[own]]]
        new = others[~np.isin(rows.item[others], history)]
        if len(new):
            yield _Pair(int(click), int(random.choice(new)))


def _strips_of(
    pair: _Pair,
    shard: Shard,
    features: Features,
    packer: Packer,
    model: DIN,
    table: Tensor,
    names: Sequence[str | None],
) -> list[Strip]:
    """Return a strip for each sequence of the model, with rows of items.parquet in place of names."""
    rows = shard.impressions
    places = np.array([pair.clicked, pair.clicked])
    twice = _rows_of(shard, places, np.array([rows.item[pair.clicked], rows.item[pair.unclicked]], rows.item.dtype))
    batch = to_tensors(packer.pack(twice, np.arange(2)))
    weights = _activations(model, table, batch)
    history = shard.behaviour_item[rows.history_start[pair.clicked] : rows.history_end[pair.clicked]]
    length = len(history)
    kept = slice(max(length - MOST_BEHAVIOURS, 0), length)
    user = str(features.raw_users()[int(rows.user[pair.clicked])].as_py())
    found = []
    for name, weight in zip(names, weights.by_unit, strict=True):
        clicked, unclicked = weight[:length], weight[length:]
        behaviours = [
            Behaviour(str(row), float(yes), float(no))
            for row, yes, no in zip(history[kept], clicked[kept], unclicked[kept], strict=True)
        ]
        found.append(
            Strip(
                shown(user, quotes=False),
                name,
                Candidate(str(rows.item[pair.clicked]), weights.probabilities[0]),
                Candidate(str(rows.item[pair.unclicked]), weights.probabilities[1]),
                behaviours,
                kept.start,
            )
        )
    return found


def _rows_of(shard: Shard, places: np.ndarray, item: np.ndarray) -> Shard:
    """Return a shard with the impressions at some places, and other candidates."""
    return replace(shard, impressions=replace(shard.impressions.take(places), item=item))


@dataclass(frozen=True)
class _Activations:
    """The activation of each packed behaviour, one array [T] per unit, and the probability of each impression."""

    by_unit: list[np.ndarray]
    probabilities: list[float]


def _activations(model: DIN, table: Tensor, batch: Any) -> _Activations:
    """Score a batch and catch what the activation units return."""
    caught: list[Tensor] = []

    def catch(_: nn.Module, __: object, output: Tensor) -> None:
        caught.append(output)

    hooks = [unit.register_forward_hook(catch) for unit in model.units]
    try:
        with torch.inference_mode():
            logits = model(table, batch)
            members = [selection(batch) for selection in model.selections]
            weights = [
                _pooled(weight_T1, member_T, batch.segment, len(logits), model.softmax)
                for weight_T1, member_T in zip(caught, members, strict=True)
            ]
    finally:
        for hook in hooks:
            hook.remove()
    return _Activations([weight.squeeze(1).numpy() for weight in weights], logits.double().sigmoid().tolist())


def _pooled(weight_T1: Tensor, member_T: Tensor | None, segment_T: Tensor, impressions: int, softmax: bool) -> Tensor:
    """Return the weights with which the behaviours are added."""
    member_T1 = None if member_T is None else member_T.unsqueeze(1).to(weight_T1.dtype)
    if softmax:
        return segment_softmax(weight_T1, segment_T, impressions, member_T1)
    return weight_T1 if member_T1 is None else weight_T1 * member_T1


def _named(found: list[Strip], features: Features, items: Path) -> list[Strip]:
    """Replace rows of items.parquet by names."""
    rows = {int(name) for strip in found for name in _rows_named(strip)}
    raw = features.raw_items()
    ids = {row: raw[row].as_py() for row in rows}
    texts = _texts(items, features, [identity for identity in ids.values() if identity is not None])
    names = {str(row): texts.get(identity, _text(identity)) for row, identity in ids.items()}

    def candidate(one: Candidate) -> Candidate:
        return replace(one, name=names[one.name])

    return [
        replace(
            strip,
            clicked=candidate(strip.clicked),
            unclicked=candidate(strip.unclicked),
            behaviours=[replace(one, name=names[one.name]) for one in strip.behaviours],
        )
        for strip in found
    ]


def _rows_named(strip: Strip) -> list[str]:
    return [strip.clicked.name, strip.unclicked.name, *(one.name for one in strip.behaviours)]


def _texts(path: Path, features: Features, ids: list[Any]) -> dict[Any, str]:
    """Return the name of each item, or its id, followed by its first category."""
    if not path.exists():
        return {}
    columns = pq.read_schema(path).names
    name = next((column for column in _NAMES if column in columns), None)
    kinds = (Kind.CATEGORICAL, Kind.MULTI)
    fields = [field.name for kind in kinds for field in features.of(Group.ITEM) if field.kind is kind]
    category = next((column for column in fields if column in columns), None)
    table = pq.read_table(path, columns=[ITEM_ID, *{name, category} - {None}])
    table = table.filter(pc.is_in(table[ITEM_ID], value_set=pa.array(ids, table[ITEM_ID].type)))
    texts = {}
    for row in table.to_pylist():
        called = _text(row[name]) if name and row[name] is not None else _text(row[ITEM_ID])
        of = row[category] if category else None
        texts[row[ITEM_ID]] = called if of is None else f"{called} · {_category(of)}"
    return texts


def _category(value: Any) -> str:
    return ", ".join(map(_text, value[:3])) if isinstance(value, list) else _text(value)


def _text(value: Any) -> str:
    return "unknown item" if value is None else shown(value, quotes=False)

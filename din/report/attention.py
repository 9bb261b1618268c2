"""The activations of real test impressions: how much each behaviour of a history counts for two candidates.

A user with a clicked and an unclicked test impression is drawn at random. The history of the clicked impression is
scored once with each of the two candidates, so the behaviours are the same and only the candidate differs.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from din.features.packing import Packer
from din.features.reader import Features, Shard
from din.model import artifact
from din.model.artifact import Trained
from din.model.din import DIN
from din.model.embedding import Batch, to_tensors
from din.ops.segments import segment_softmax
from din.report.names import item_names, user_name
from din.workspace import Workspace

USERS = 4
MOST_BEHAVIOURS = 50
SHORTEST = 5
_SEED = 17


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


def strips(workspace: Workspace) -> list[Strip]:
    """Return strips of users drawn at random, or none if the model has no activation unit.

    Raises:
        InputError: model, features or the item table can't be read.
    """
    features = artifact.known(Features(workspace.features), workspace.model)
    trained = artifact.load(features, workspace.model)
    if not isinstance(trained.model, DIN):
        return []
    names = list(artifact.read_config(workspace.model).sequences) or [None]
    packer = Packer(features, ages=trained.model.reads_ages)
    random = np.random.default_rng(_SEED)
    users = 0
    found = []
    for shard in features.shards("test"):
        for clicked, unclicked in islice(_pairs(shard, random), USERS - users):
            users += 1
            rows = shard.impressions
            places = np.array([clicked, clicked])
            candidates = rows.item[[clicked, unclicked]]
            twice = replace(shard, impressions=replace(rows.take(places), item=candidates))
            weights, probabilities = _activations(trained, to_tensors(packer.pack(twice, np.arange(2))))
            history = shard.behaviour_item[rows.history_start[clicked] : rows.history_end[clicked]]
            called = item_names(workspace, features, [*candidates, *history[-MOST_BEHAVIOURS:]])
            user = user_name(features, int(rows.user[clicked]))
            first, second = (Candidate(*one) for one in zip(called[:2], probabilities, strict=True))
            left_out = max(len(history) - MOST_BEHAVIOURS, 0)
            for name, weight in zip(names, weights, strict=True):
                yes, no = weight.reshape(2, -1)[:, left_out:].tolist()
                behaviours = [Behaviour(*one) for one in zip(called[2:], yes, no, strict=True)]
                found.append(Strip(user, name, first, second, behaviours, left_out))
        if users >= USERS:
            break
    return found


def _pairs(shard: Shard, random: np.random.Generator) -> Iterator[tuple[int, int]]:
    """Yield the positions of a clicked and an unclicked impression for users drawn at random.

    A user has both classes and a history of at least `SHORTEST` behaviours. The candidate that was not clicked is not
    in the history. Else the model would score an item that the user has met.
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
            yield int(click), int(random.choice(new))


def _activations(trained: Trained, batch: Batch) -> tuple[list[np.ndarray], list[float]]:
    """Return the weight of each packed behaviour, an array [T] per unit, and the probability of each impression."""
    model = trained.model
    assert isinstance(model, DIN)
    caught: list[Tensor] = []
    hooks = [unit.register_forward_hook(lambda *called: caught.append(called[-1])) for unit in model.units]
    try:
        with torch.inference_mode():
            logits = model(trained.table, batch)
            members = [selection(batch) for selection in model.selections]
            weights = [
                _pooled(weight_T1, member_T, batch.segment, len(logits), model.softmax)
                for weight_T1, member_T in zip(caught, members, strict=True)
            ]
    finally:
        for hook in hooks:
            hook.remove()
    return [weight.squeeze(1).numpy() for weight in weights], logits.double().sigmoid().tolist()


def _pooled(weight_T1: Tensor, member_T: Tensor | None, segment_T: Tensor, impressions: int, softmax: bool) -> Tensor:
    """Return the weights with which the behaviours are added."""
    member_T1 = None if member_T is None else member_T.unsqueeze(1).to(weight_T1.dtype)
    if softmax:
        return segment_softmax(weight_T1, segment_T, impressions, member_T1)
    return weight_T1 if member_T1 is None else weight_T1 * member_T1

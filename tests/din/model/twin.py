"""A slow twin of the models, for one impression at a time. Histories are padded with zeros and masked.

Written from the paper and the official code (concatenated [q, k, q−k, q⊙k], Eq. 3, Eq. 9), for evaluation mode.
"""

import itertools
import math

import numpy as np
import torch
from torch import Tensor

from din.features.reader import Features, Shard
from din.kinds import Column
from din.model.attention import ActivationUnit
from din.model.deepfm import DeepFM
from din.model.din import DIN
from din.model.lr import LogisticRegression
from din.model.model import Model
from din.model.pnn import PNN
from din.ops.dice import Dice
from din.schema import UNKNOWN_TIME, Group


def field_vector(table: Tensor, offset: int, column: Column, owner: int) -> Tensor:
    """Return the embedding of one field of one owner.

    That is a row, the mean of several rows, number × row, or for a vector the sum of number × row.
    """
    if column.offsets is not None:
        ids = column.values[column.offsets[owner] : column.offsets[owner + 1]]
        return torch.stack([table[offset + int(i)] for i in ids]).mean(0)
    value = column.values[owner]
    if column.values.ndim == 2:
        if np.isnan(value).any():
            return table[offset]
        return torch.stack([float(number) * table[offset + 1 + n] for n, number in enumerate(value)]).sum(0)
    if column.values.dtype == np.float32:
        return table[offset] if math.isnan(value) else table[offset + 1] * float(value)
    return table[offset + int(value)]


class Twin:
    """Computes logits of single impressions by explicit loops; a field begins in the table at its offset."""

    def __init__(self, model: Model, table: Tensor, features: Features, offsets: dict[str, int]) -> None:
        self.model = model
        self.table = table
        self.features = features
        self.offsets = offsets

    def vectors(self, group: Group, columns: dict[str, Column], owner: int) -> list[Tensor]:
        return [
            field_vector(self.table, self.offsets[field.name], columns[field.name], owner)
            for field in self.features.of(group)
        ]

    def logit(self, shard: Shard, row: int, padding: int = 0) -> Tensor:
        impressions = shard.impressions
        item = self.vectors(Group.ITEM, self.features.items, int(impressions.item[row]))
        profile = self.vectors(Group.USER, self.features.users, int(impressions.user[row]))
        profile += self.vectors(Group.CONTEXT, impressions.contexts, row)
        places = range(impressions.history_start[row], impressions.history_end[row])
        history = [
            self.vectors(Group.ITEM, self.features.items, int(shard.behaviours.item[place]))
            + self.vectors(Group.BEHAVIOUR, shard.behaviours.fields, place)
            for place in places
        ]
        if isinstance(self.model, LogisticRegression):
            return linear_part(self.model, item, profile, history)
        start = self.model.linear
        query = torch.cat([v[start:] for v in item])
        keys = [
            torch.cat([v[start:] for v in past] + self.age(shard, row, place))
            for past, place in zip(history, places, strict=True)
        ]
        logit = self.head(query, self.interest(query, keys, padding), [v[start:] for v in profile])
        if self.model.wide:
            return logit + linear_part(self.model.wide, item, profile, history)
        return logit + item[0][0] if self.model.item_bias else logit

    def age(self, shard: Shard, row: int, place: int) -> list[Tensor]:
        if self.model.ages is None:
            return []
        then = shard.behaviours.time[place]
        minutes = (shard.impressions.timestamp[row] - then) / 60e6
        if then == UNKNOWN_TIME:
            step = 0
        elif minutes < 1:
            step = 1
        else:
            step = min(2 + math.floor(math.log2(minutes)), 25)
        return [self.model.ages.embedding.weight[step]]

    def interest(self, query: Tensor, keys: list[Tensor], padding: int) -> Tensor:
        mask = torch.tensor([1.0] * len(keys) + [0.0] * padding)
        keys = keys + [torch.zeros(self.model.key_width)] * padding
        if isinstance(self.model, DIN):
            weights = [activation_weight(self.model.unit, query, key) for key in keys]
            if self.model.softmax and mask.sum():
                powers = [real * math.e**weight for real, weight in zip(mask, weights, strict=True)]
                weights = [power / sum(powers) for power in powers]
        else:
            weights = [1 / mask.sum() if self.model.mean else 1.0] * len(keys)
        total = torch.zeros(self.model.key_width)
        for key, real, weight in zip(keys, mask, weights, strict=True):
            if real:
                total = total + weight * key
        return total

    def head(self, query: Tensor, interest: Tensor, profile: list[Tensor]) -> Tensor:
        model = self.model
        inputs = torch.cat([*profile, interest, query])
        vectors = list(inputs.split(model.dim))
        if model.interest_product:
            inputs = torch.cat([inputs, interest[: len(query)] * query])
        pairs = [torch.dot(left, right) for left, right in itertools.combinations(vectors, 2)]
        if isinstance(model, PNN):
            inputs = torch.cat([inputs, torch.stack(pairs)])
        logit = run(model.head, inputs)[0]
        return logit + sum(pairs) if isinstance(model, DeepFM) else logit


def linear_part(model: LogisticRegression, item: list, profile: list, history: list[list[Tensor]]) -> Tensor:
    """Return the logit of LR: the weights of the impression itself, and the mean weights of its history."""
    own = sum(v[0] for v in item) + sum(v[0] for v in profile) + model.bias[0]
    seen = [sum(v[1] for v in past) for past in history]
    return own + (sum(seen) / len(seen) if seen else 0.0)


def activation_weight(unit: ActivationUnit, query: Tensor, key: Tensor) -> Tensor:
    """Return a(k, q), computed from the plain concatenation."""
    shared = key[: len(query)]
    inputs, weights = [query, key], [unit.query_weight, unit.key_weight]
    if unit.interaction == "difference_product":
        inputs, weights = [*inputs, query - shared], [*weights, unit.difference_weight]
    inputs.append(query * shared)
    hidden = torch.cat([*weights, unit.product_weight], 1) @ torch.cat(inputs) + unit.bias
    return run(unit.rest, dice(unit.activation, hidden))[0]


def run(layers: torch.nn.Sequential, x: Tensor) -> Tensor:
    for layer in layers:
        x = layer.weight @ x + layer.bias if isinstance(layer, torch.nn.Linear) else dice(layer, x)
    return x


def dice(layer: torch.nn.Module, s: Tensor) -> Tensor:
    """Return Eq. 9 unit by unit, with the moving averages. Other activations run unchanged."""
    if not isinstance(layer, Dice):
        return layer(s.unsqueeze(0))[0]
    values = []
    for unit, value in enumerate(s):
        p = torch.sigmoid((value - layer.mean[unit]) / torch.sqrt(layer.variance[unit] + 1e-8))
        values.append(p * value + (1 - p) * layer.alpha[unit] * value)
    return torch.stack(values)

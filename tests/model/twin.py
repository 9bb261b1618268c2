"""The slow twin of the models: one impression at a time, histories padded with zeros and masked, no algebra.

Written from the paper and the official code (concatenated [q, k, q−k, q⊙k], Eq. 3, Eq. 9), for evaluation mode.
"""

import math

import numpy as np
import torch
from torch import Tensor

from din.eventlog.reader import Column, Features, Shard
from din.model.attention import ActivationUnit
from din.model.dice import Dice
from din.model.din import DIN, EmbeddingMLP, LogisticRegression, Model
from din.schema import Group


def field_vector(table: Tensor, offset: int, column: Column, owner: int) -> Tensor:
    """One field of one owner: its row, the mean of its rows, or value × row."""
    if column.offsets is not None:
        ids = column.values[column.offsets[owner] : column.offsets[owner + 1]]
        return torch.stack([table[offset + int(i)] for i in ids]).mean(0)
    value = column.values[owner]
    if column.values.dtype == np.float32:
        return table[offset] if math.isnan(value) else table[offset + 1] * float(value)
    return table[offset + int(value)]


class Twin:
    """Scores impression `row` of a shard by explicit loops."""

    def __init__(self, model: Model, table: Tensor, features: Features, offsets: dict[str, int]) -> None:
        self.model, self.table, self.features, self.offsets = model, table, features, offsets

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
        history = []
        for behaviour in range(impressions.history_start[row], impressions.history_end[row]):
            past = self.vectors(Group.ITEM, self.features.items, int(shard.behaviour_item[behaviour]))
            history.append((past, self.vectors(Group.BEHAVIOUR, shard.behaviour_fields, behaviour)))
        if isinstance(self.model, LogisticRegression):
            own = sum(v[0] for v in item) + sum(v[0] for v in profile) + self.model.bias[0]
            seen = [sum(v[1] for v in past) + sum(v[1] for v in feedback) for past, feedback in history]
            return own + (sum(seen) / len(seen) if seen else 0.0)
        query = torch.cat([v[1:] for v in item])
        keys = [torch.cat([v[1:] for v in (*past, *feedback)]) for past, feedback in history]
        mask = [1.0] * len(keys) + [0.0] * padding
        keys += [torch.zeros(self.model.key_width)] * padding
        interest = torch.zeros(self.model.key_width)
        for key, real in zip(keys, mask, strict=True):
            weight = activation_weight(self.model.unit, query, key) if isinstance(self.model, DIN) else 1.0
            interest = interest + real * weight * key
        if not isinstance(self.model, DIN) and self.model.mean:
            interest = interest / max(sum(mask), 1)
        return self.head(self.model, query, interest, profile, item[0][0])

    def head(self, model: EmbeddingMLP, query: Tensor, interest: Tensor, profile: list[Tensor], bias: Tensor) -> Tensor:
        inputs = [*(v[1:] for v in profile), interest, query]
        if model.interest_product:
            inputs.append(interest[: len(query)] * query)
        logit = run(model.head, torch.cat(inputs))[0]
        return logit + bias if model.item_bias else logit


def activation_weight(unit: ActivationUnit, query: Tensor, key: Tensor) -> Tensor:
    """a(k, q) from the plain concatenation."""
    shared = key[: len(query)]
    inputs = torch.cat([query, key, query - shared, query * shared])
    weights = [unit.query_weight, unit.key_weight, unit.difference_weight, unit.product_weight]
    hidden = torch.cat(weights, 1) @ inputs + unit.bias
    return run(unit.rest, dice(unit.activation, hidden))[0]


def run(layers: torch.nn.Sequential, x: Tensor) -> Tensor:
    """A plain feed-forward pass over one vector."""
    for layer in layers:
        x = layer.weight @ x + layer.bias if isinstance(layer, torch.nn.Linear) else dice(layer, x)
    return x


def dice(layer: torch.nn.Module, s: Tensor) -> Tensor:
    """Eq. 9 unit by unit, from the moving averages; other activations as they are."""
    if not isinstance(layer, Dice):
        return layer(s.unsqueeze(0))[0]
    values = []
    for unit, value in enumerate(s):
        p = torch.sigmoid((value - layer.mean[unit]) / torch.sqrt(layer.variance[unit] + 1e-8))
        values.append(p * value + (1 - p) * layer.alpha[unit] * value)
    return torch.stack(values)

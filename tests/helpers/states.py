"""Tensors of models: as copies, as a saved model holds them, and compared bit for bit."""

import torch

from din.model.artifact import Trained

State = dict[str, torch.Tensor]


def copied(state: State) -> State:
    return {name: tensor.clone() for name, tensor in state.items()}


def weights(trained: Trained) -> State:
    """Return all weights of a model, its table included."""
    return {**trained.model.state_dict(), "table": trained.table}


def same(one: State, other: State) -> bool:
    """Return whether two states have equal names and bits."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)

"""Activations by name, and multilayer perceptrons."""

from collections import OrderedDict
from collections.abc import Callable

from torch import Tensor, nn

from din.ops.dice import Dice
from din.ops.perceptron import perceptron

ACTIVATIONS: dict[str, Callable[[int], nn.Module]] = {
    "dice": Dice,
    "prelu": nn.PReLU,
    "relu": lambda units: nn.ReLU(),
    "sigmoid": lambda units: nn.Sigmoid(),
}


class MLP(nn.Sequential):
    """A sequence of linear layers, activations and dropouts, [N, I] to [N, 1]."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the outputs [N, 1] of inputs [N, I]."""
        return perceptron(input, list(self))


def multilayer_perceptron(inputs: int, hidden: tuple[int, ...], activation: str, dropout: float = 0.0) -> MLP:
    """Return a linear layer and an activation for each hidden layer, then a linear layer with one output.

    Args:
        inputs: I.
        hidden: the number of units of each hidden layer.
        activation: a name in `ACTIVATIONS`.
        dropout: the share of the inputs and of every hidden layer that a training step sets to 0. The others are scaled
            up to keep the mean.
    """
    # Linear layers keep their names with or without dropout, so that saved weights fit.
    layers: dict[str, nn.Module] = {"dropout": nn.Dropout(dropout)} if dropout else {}
    for number, units in enumerate(hidden):
        layers[f"{2 * number}"] = nn.Linear(inputs, units)
        layers[f"{2 * number + 1}"] = ACTIVATIONS[activation](units)
        if dropout:
            layers[f"dropout_{number}"] = nn.Dropout(dropout)
        inputs = units
    layers[f"{2 * len(hidden)}"] = nn.Linear(inputs, 1)
    return MLP(OrderedDict(layers))

"""Linear layers and activations in turn."""

from collections import OrderedDict

from torch import Tensor, nn

from din.model.activations import ACTIVATIONS
from din.ops.perceptron import perceptron


class MLP(nn.Sequential):
    """Linear layers, activations and dropouts in turn, [N, inputs] to [N, 1]."""

    def forward(self, input: Tensor) -> Tensor:
        return perceptron(input, list(self))


def multilayer_perceptron(inputs: int, hidden: tuple[int, ...], activation: str, dropout: float = 0.0) -> MLP:
    """Linear and activation per hidden layer, then one linear output: [N, inputs] to [N, 1].

    Args:
        dropout: share of the inputs and of every hidden layer that a training step sets to 0 (the rest is scaled up).
    """
    # Dropouts have names of their own, so that weights keep theirs whatever the rate.
    layers: dict[str, nn.Module] = {"dropout": nn.Dropout(dropout)} if dropout else {}
    for number, units in enumerate(hidden):
        layers[f"{2 * number}"] = nn.Linear(inputs, units)
        layers[f"{2 * number + 1}"] = ACTIVATIONS[activation](units)
        if dropout:
            layers[f"dropout_{number}"] = nn.Dropout(dropout)
        inputs = units
    layers[f"{2 * len(hidden)}"] = nn.Linear(inputs, 1)
    return MLP(OrderedDict(layers))

"""A reference for the time of a training step: only its packed matrix products, forward and backward, in torch.

The first attention layer is computed as W_k·k and W_p·(q⊙k) per behaviour, and W_q·q per impression. This is not a
lower bound: native operations fold the two products per behaviour into one matrix per impression, which halves the
products of that layer. Buffers are allocated once. Gathers, activations, updates and everything else are left out.
"""

from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from din.features.packing import TableLayout
from din.features.reader import Features
from din.model.din import DIN
from din.model.model import build
from din.params.train import Train

Sizes = list[tuple[int, int]]


def epoch_sizes(features: Features, params: Train) -> Sizes:
    """Return the numbers of behaviours and impressions of each batch of an epoch over the first shard."""
    lengths = features.shard(0, "train").impressions.history_length
    lengths = np.random.default_rng(params.learning.seed).permutation(lengths)
    batches = np.split(lengths, range(params.learning.batch_size, len(lengths), params.learning.batch_size))
    return [(int(batch.sum()), len(batch)) for batch in batches]


class Roofline:
    """The matrix products of the model `din` on batches of these sizes. The time of `run` is the reference."""

    def __init__(self, features: Features, params: Train, sizes: Sizes) -> None:
        model, _ = build(features.fields, TableLayout.of(features.fields, features.rows), params)
        assert isinstance(model, DIN), params.model.name
        head = next(layer for layer in model.head if isinstance(layer, nn.Linear))
        first, *rest = params.model.attention_hidden
        per_behaviour = [(model.key_width, first), (model.query_width, first), *pairwise([first, *rest, 1])]
        per_impression = [(model.query_width, first), *pairwise([head.in_features, *params.model.hidden, 1])]
        self._sizes = sizes
        self._products = [
            [_Product(max(rows), *shape) for shape in shapes]
            for rows, shapes in zip(zip(*sizes, strict=True), (per_behaviour, per_impression), strict=True)
        ]

    def run(self) -> None:
        """Compute the products of all batches."""
        for size in self._sizes:
            for products, rows in zip(self._products, size, strict=True):
                for product in products:
                    product.run(rows)


class _Product:
    """y = x·w, dx = dy·wᵀ and dw = xᵀ·dy of one layer."""

    def __init__(self, most: int, inputs: int, outputs: int) -> None:
        self.x = torch.randn(most, inputs)
        self.dx = torch.empty(most, inputs)
        self.y = torch.empty(most, outputs)
        self.dy = torch.randn(most, outputs)
        self.w = torch.randn(inputs, outputs)
        self.dw = torch.empty(inputs, outputs)

    def run(self, rows: int) -> Tensor:
        x = self.x[:rows]
        dy = self.dy[:rows]
        torch.mm(x, self.w, out=self.y[:rows])
        torch.mm(dy, self.w.T, out=self.dx[:rows])
        return torch.mm(x.T, dy, out=self.dw)

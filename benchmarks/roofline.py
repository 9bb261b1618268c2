"""What no implementation of this network can beat: its matrix products alone, forward and backward, packed.

The first attention layer counts as what its algebra needs: W_k·k and W_p·(q⊙k) per behaviour, W_q·q per impression.
Buffers are made once; gathers, activations, updates and everything else are left out.
"""

from itertools import pairwise
from time import perf_counter

import numpy as np
import torch
from torch import Tensor, nn

from din.eventlog.packing import TableLayout
from din.eventlog.reader import Features
from din.model.din import build
from din.model.embedding_mlp import EmbeddingMLP
from din.params import Train


class Roofline:
    """The products of one training epoch of `din`."""

    def __init__(self, features: Features, params: Train) -> None:
        model, _ = build(features.fields, TableLayout.of(features.fields, features.rows), params)
        assert isinstance(model, EmbeddingMLP)
        head = next(layer for layer in model.head if isinstance(layer, nn.Linear))
        first, *rest = params.attention_hidden
        per_behaviour = [(model.key_width, first), (model.query_width, first), *_chain([first, *rest, 1])]
        per_impression = [(model.query_width, first), *_chain([head.in_features, *params.hidden, 1])]
        lengths = features.shard(0, "train").impressions.history_length
        lengths = np.random.default_rng(params.seed).permutation(lengths)
        self._sizes = [
            (int(lengths[at : at + params.batch_size].sum()), len(lengths[at : at + params.batch_size]))
            for at in range(0, len(lengths), params.batch_size)
        ]
        most = max(behaviours for behaviours, _ in self._sizes)
        self._products = (
            [_Product(most, *shape) for shape in per_behaviour],
            [_Product(params.batch_size, *shape) for shape in per_impression],
        )

    def seconds(self) -> float:
        """Time of all batches' products."""
        start = perf_counter()
        for sizes in self._sizes:
            for products, rows in zip(self._products, sizes, strict=True):
                for product in products:
                    product.run(rows)
        return perf_counter() - start


class _Product:
    """y = x·w, dx = dy·wᵀ and dw = xᵀ·dy of one layer."""

    def __init__(self, most: int, inputs: int, outputs: int) -> None:
        self.x, self.dx = torch.randn(most, inputs), torch.empty(most, inputs)
        self.y, self.dy = torch.empty(most, outputs), torch.randn(most, outputs)
        self.w, self.dw = torch.randn(inputs, outputs), torch.empty(inputs, outputs)

    def run(self, rows: int) -> Tensor:
        x, dy = self.x[:rows], self.dy[:rows]
        torch.mm(x, self.w, out=self.y[:rows])
        torch.mm(dy, self.w.T, out=self.dx[:rows])
        return torch.mm(x.T, dy, out=self.dw)


def _chain(widths: list[int]) -> list[tuple[int, int]]:
    return list(pairwise(widths))

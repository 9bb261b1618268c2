"""Measure how far float32 rounding may move a score.

DIN multiplies its inputs with each other: candidate ⊙ behaviour gives a behaviour's weight, the weight times the
behaviour gives the interest, and interest ⊙ candidate enters the MLP. So the logit grows with the fourth power of a
number that scales an embedding. A number 100 standard deviations from the mean leads to logits of 10⁸, where float32
numbers are 8 apart, or to a small difference of such numbers. Neither has digits left that two programs could agree on:
judged by the tolerances alone, parity closed on two sound logs.

A stable computation in float32 gives the exact result for weights that are each wrong by about one rounding. (This is
its backward error: Higham, Accuracy and Stability of Numerical Algorithms, 2002, section 1.5.) So the weights are
rounded at random `_DRAWS` times, the model is run in float64, and the largest change of a score is its error for one
rounding. PyTorch and onnxruntime were up to 8 of these from the exact score, at logits from 0.02 to 6·10⁸.

It costs 17 runs of the model in float64, on copies of the embedding rows that a case reads. It suits a few hundred
impressions.
"""

from copy import deepcopy

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call

from din.features.packing import PackedBatch
from din.model.artifact import Trained
from din.model.embedding import Batch, to_tensors
from din.serve.cases import Case
from din.serve.scores import Scores

ROUNDINGS = 32
"""Roundings of each weight that explain a difference of two programs, each up to 8 from the exact score, with room."""
_UNIT = 2.0**-24
_DRAWS = 16


def explained(trained: Trained, cases: list[Case]) -> Scores:
    """Return the largest differences that rounding explains, [N], of logits and of probabilities."""
    parts = [_explained(trained, case.packed) for case in cases if len(case.packed)]
    logits = np.concatenate([part.logits for part in parts])
    return Scores(logits, np.concatenate([part.probabilities for part in parts]))


def _explained(trained: Trained, packed: PackedBatch) -> Scores:
    model = deepcopy(trained.model).double()
    rows, batch = own_rows(packed)
    table = trained.table[rows].double()
    random = torch.Generator().manual_seed(0)

    def scores(weights: dict[str, Tensor], table: Tensor) -> Scores:
        return Scores.of(functional_call(model, weights, (table, batch)).numpy())

    with torch.inference_mode():
        weights: dict[str, Tensor] = {name: weight.data for name, weight in model.named_parameters()}
        exact = scores(weights, table)
        draws = [
            scores({name: _rounded(weight, random) for name, weight in weights.items()}, _rounded(table, random))
            for _ in range(_DRAWS)
        ]
    logits = np.max([np.abs(draw.logits - exact.logits) for draw in draws], axis=0)
    probabilities = np.max([np.abs(draw.probabilities - exact.probabilities) for draw in draws], axis=0)
    return Scores(ROUNDINGS * logits, ROUNDINGS * probabilities)


def _rounded(weight: Tensor, random: torch.Generator) -> Tensor:
    """Return a weight in which each number is wrong by at most one rounding of float32."""
    return weight * (1 + _UNIT * torch.empty_like(weight).uniform_(-1, 1, generator=random))


def own_rows(packed: PackedBatch) -> tuple[Tensor, Batch]:
    """Return the rows of the joint table that a batch reads, and the batch with ids that are positions among these."""
    batch = to_tensors(packed)
    lookups = [lookup for group in batch.lookups.values() for lookup in group]
    rows = torch.cat([lookup.ids for lookup in lookups]).unique()
    relabelled = {
        group: tuple(lookup._replace(ids=torch.searchsorted(rows, lookup.ids)) for lookup in own)
        for group, own in batch.lookups.items()
    }
    return rows, batch._replace(lookups=relabelled, rows=rows)

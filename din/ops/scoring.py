"""Activation units and perceptrons with Dice, for scoring: numpy and C, without torch.

The equations are those of `activation_unit` and `perceptron`, which are the references. In scoring, the statistics of
Dice are fixed, so that a tile of rows goes through all layers at once. Weights are padded once, for many calls.

H hidden units, HP as many floats as its rows have in C. `din.ops` explains the other shape letters.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from din.ops.constants import EPSILON
from din.ops.native.library import Struct, load

Floats = NDArray[np.float32]


class ScoredDice(NamedTuple):
    """The state of a trained layer of Dice, [H] each."""

    alpha: Floats
    mean: Floats
    variance: Floats


class ScoredLayer(NamedTuple):
    """A trained linear layer, and the Dice after it; the last layer has none."""

    weight_HI: Floats
    bias_H: Floats
    dice: ScoredDice | None


class ScoredPerceptron:
    """Linear layers with Dice in between and one output, [N, I] to [N]."""

    def __init__(self, layers: Sequence[ScoredLayer]) -> None:
        self._library = load()
        self._first = _first_layer(layers)

    def __call__(self, x_NI: Floats) -> Floats:
        """Return the outputs [N]."""
        y_N = np.empty(len(x_NI), np.float32)
        self._library.din_score_perceptron(self._first, len(x_NI), x_NI, y_N)
        return y_N


class ScoredActivationUnit:
    """The interests of an activation unit.

    Args:
        query_HD, product_HD: the weights of q and of q⊙k in the first layer.
        layers: all layers, of which the first has the weights of k alone, and the bias.
        softmax: normalise the weights of a history's behaviours by a softmax.
    """

    def __init__(self, query_HD: Floats, product_HD: Floats, layers: Sequence[ScoredLayer], *, softmax: bool) -> None:
        self._library = load()
        self._query = _columns(query_HD)
        self._product = _columns(product_HD)
        self._first = _first_layer(layers)
        self._softmax = int(softmax)

    def __call__(self, query_BD: Floats, key_TK: Floats, offsets: NDArray[np.int64]) -> Floats:
        """Return the interests [B, K].

        Args:
            offsets: [B + 1], where each impression's history begins; [2] if all impressions share one history.
        """
        impressions, width = query_BD.shape
        key_width = key_TK.shape[1]
        histories = self._library.struct(
            "din_histories", impressions=len(offsets) - 1, key_width=key_width, keys=key_TK, offsets=offsets
        )
        pooled_BK = np.empty((impressions, key_width), np.float32)
        weights = (self._first, width, self._query, self._product)
        self._library.din_score_interests(*weights, impressions, query_BD, histories, self._softmax, pooled_BK)
        return pooled_BK


def product(x_NI: Floats, y_IW: Floats) -> Floats:
    """Return x·y, [N, W], in one thread. numpy's own product would use every core."""
    library = load()
    width = y_IW.shape[1]
    product_NH = np.empty((len(x_NI), library.din_hidden_size(1, width)), np.float32)
    weights = (np.ascontiguousarray(y_IW.T), np.zeros(width, np.float32))
    library.din_linear_forward(1, *x_NI.shape, width, x_NI, *weights, product_NH)
    return product_NH[:, :width]


def _first_layer(layers: Sequence[ScoredLayer]) -> Struct:
    """Return the first of the linked layers."""
    following: Struct | None = None
    for weight_HI, bias_H, dice in reversed(layers):
        units, inputs = weight_HI.shape
        state = dict.fromkeys(("rate", "shift", "alpha"))
        if dice:
            rate = 1 / np.sqrt(dice.variance.astype(np.float64) + EPSILON)
            vectors = {"rate": rate, "shift": dice.mean * rate, "alpha": dice.alpha}
            state = {name: _columns(vector) for name, vector in vectors.items()}
        weight = _columns(weight_HI if dice else weight_HI.T)
        following = load().struct(
            "din_scored_layer",
            inputs=inputs,
            units=units,
            weight=weight,
            bias=_columns(bias_H),
            **state,
            next=following,
        )
    assert following is not None
    return following


def _columns(rows_HX: NDArray) -> Floats:
    """Return the transpose [X, HP] of rows [H, X], padded with zeros; a vector [H] is one column.

    It begins at a cache line. If vectors lay across two lines, a request would take 5 % longer.
    """
    columns = np.atleast_2d(rows_HX.T)
    width = load().din_hidden_size(1, columns.shape[1])
    memory = np.zeros(len(columns) * width + 16, np.float32)
    first = -memory.ctypes.data % 64 // 4
    padded = memory[first : first + len(columns) * width].reshape(len(columns), width)
    padded[:, : columns.shape[1]] = columns
    return padded

"""Updates of the rows that a batch touches, so that the time of a step does not grow with the table.

A table has R rows of width W, and a batch touches N of them. With g the gradient of a row w, learning rate η and the
row's decay λ:

    coupled penalty     g ← g + λ·w,              w ← w − η·direction(g)
    decoupled penalty   w ← w·(1 − min(η·λ, 1)),  w ← w − η·direction(g)

    sgd                 direction = g
    adam                m ← β₁·m + (1 − β₁)·g,  v ← β₂·v + (1 − β₂)·g²,
                        direction = m/(1 − β₁ᵗ) / (√(v/(1 − β₂ᵗ)) + ε)       at step t

The penalty applies only to some columns. The native forms support float32 on the CPU and make one pass over the rows.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from din.ops.native.library import Library, Struct
from din.ops.table_rows import library_for

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8


class RowUpdate(NamedTuple):
    """One update step for some rows of a table, in place.

    Attributes:
        rows_N: int64, distinct.
        gradient_NW: the gradient of these rows.
        rate: η.
        decay_R: λ of each row of the table.
        coupled: the penalty is part of the gradient.
        penalised_W: 1 where a column is penalised, else 0.
    """

    table_RW: Tensor
    rows_N: Tensor
    gradient_NW: Tensor
    rate: float
    decay_R: Tensor
    coupled: bool
    penalised_W: Tensor


def sgd(update: RowUpdate) -> None:
    """Update rows by plain SGD."""
    library = library_for(update.table_RW)
    if library:
        library.din_sgd(torch.get_num_threads(), _struct(library, update))
    else:
        _apply(update, lambda gradient_NW: gradient_NW)


def adam(update: RowUpdate, first_RW: Tensor, second_RW: Tensor, step: int) -> None:
    """Update rows by lazy Adam, as torch.optim.SparseAdam does: moments of rows outside the batch do not change.

    Args:
        first_RW, second_RW: the moments m and v, updated in place.
        step: the number t of this step, from 1, counted over all batches.
    """
    scale = (1 - BETA_2**step) ** 0.5
    correction = scale / (1 - BETA_1**step)
    epsilon = EPSILON * scale
    library = library_for(update.table_RW)
    if library:
        factors = (1 - BETA_1, BETA_2, 1 - BETA_2, correction, epsilon)
        library.din_adam(torch.get_num_threads(), _struct(library, update), first_RW, second_RW, *factors)
        return

    def direction(gradient_NW: Tensor) -> Tensor:
        first = first_RW.index_select(0, update.rows_N).lerp_(gradient_NW, 1 - BETA_1)
        second = second_RW.index_select(0, update.rows_N).mul_(BETA_2)
        second.addcmul_(gradient_NW, gradient_NW, value=1 - BETA_2)
        first_RW.index_copy_(0, update.rows_N, first)
        second_RW.index_copy_(0, update.rows_N, second)
        return first.mul_(correction).div_(second.sqrt_().add_(epsilon))

    _apply(update, direction)


def _apply(update: RowUpdate, direction: Callable[[Tensor], Tensor]) -> None:
    """Update the rows, given the direction [N, W] for a gradient [N, W] (the reference)."""
    weights_NW = update.table_RW.index_select(0, update.rows_N)
    decay_NW = update.decay_R.index_select(0, update.rows_N).unsqueeze(1) * update.penalised_W
    gradient_NW = update.gradient_NW
    if update.coupled:
        gradient_NW = gradient_NW + decay_NW * weights_NW
    else:
        weights_NW.mul_(1 - (update.rate * decay_NW).clamp_max(1))
    weights_NW.sub_(direction(gradient_NW), alpha=update.rate)
    update.table_RW.index_copy_(0, update.rows_N, weights_NW)


def _struct(library: Library, update: RowUpdate) -> Struct:
    count, width = update.gradient_NW.shape
    return library.struct(
        "din_row_update",
        count=count,
        width=width,
        rows=update.rows_N,
        gradient=update.gradient_NW.contiguous(),
        decay=update.decay_R,
        coupled=int(update.coupled),
        penalised=update.penalised_W,
        rate=update.rate,
        table=update.table_RW,
    )

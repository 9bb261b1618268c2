"""Rows of a table: copy them, and add to them.

    take_rows   out[i] = table[ids[i]]
    add_rows    table[ids[i]] += rows[i], where repeated ids are summed in the order of `ids`

A table has R rows of width W; a call names N of them. The native forms are for float32 on the CPU, and give the same
values.
"""

import torch
from torch import Tensor

from din.ops import backend


def take_rows(table_RW: Tensor, ids_N: Tensor) -> Tensor:
    """Return a copy of rows `ids` of a table, [N, W]."""
    library = backend.library()
    if not (library and table_RW.is_cpu and table_RW.dtype == torch.float32):
        return table_RW.index_select(0, ids_N)
    count, width = len(ids_N), table_RW.shape[1]
    rows_NW = table_RW.new_empty(count, width)
    library.din_take_rows(torch.get_num_threads(), count, ids_N, table_RW, width, 0, width, rows_NW, width, 0)
    return rows_NW


def add_rows(table_RW: Tensor, ids_N: Tensor, rows_NV: Tensor) -> None:
    """Add the first W columns of rows [N, V], V ≥ W, to rows `ids` of a table, in place."""
    library = backend.library()
    width = table_RW.shape[1]
    if not (library and table_RW.is_cpu and table_RW.dtype == torch.float32):
        table_RW.index_add_(0, ids_N, rows_NV[:, :width])
        return
    count = len(ids_N)
    library.din_add_rows(
        torch.get_num_threads(), count, ids_N, len(table_RW), table_RW, width, 0, width, rows_NV, rows_NV.shape[1], 0
    )

"""Add to rows of a table.

    table[ids[i]] += rows[i], where repeated ids are summed in the order of `ids`

A table has R rows of width W; a call names N of them. The native form supports float32 on the CPU, and gives the same
values.
"""

import torch
from torch import Tensor

from din.ops import backend
from din.ops.native.library import Library


def library_for(table: Tensor) -> Library | None:
    """Return the library of native forms if it is chosen and supports the tensor: float32 on the CPU."""
    return backend.library() if table.is_cpu and table.dtype == torch.float32 else None


def add_rows(table_RW: Tensor, ids_N: Tensor, rows_NV: Tensor) -> None:
    """Add the first W columns of rows [N, V], V ≥ W, to rows `ids` of a table, in place."""
    library = library_for(table_RW)
    rows, width = table_RW.shape
    if not library:
        table_RW.index_add_(0, ids_N, rows_NV[:, :width])
        return
    table = (rows, table_RW, width, 0, width)
    library.din_add_rows(torch.get_num_threads(), len(ids_N), ids_N, *table, rows_NV, rows_NV.shape[1], 0)

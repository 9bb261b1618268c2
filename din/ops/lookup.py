"""Lookups of fields in the embedding table, with the fields of a group side by side.

    out_i = [e(field 1 of owner i), e(field 2 of owner i), …]       [owners, fields × width]

The embedding e depends on the form of a field's values:

    an id             its row
    a list of ids     the mean of their rows
    a number          its row times the number
    a vector          the sum of its rows, each times one of its numbers: a linear projection

The table [R, W] is an argument, not a parameter. Training passes the rows of a batch as one dense leaf; evaluation and
export pass the whole table. N owners of a field have M ids in all.

The native form supports groups of plain fields (one id per owner, no weight) when the table needs a gradient. It needs
a contiguous float32 table on the CPU. All groups share one gradient of the table, where autograd would make one for
each field and add them.
"""

from collections.abc import Iterator, Sequence
from itertools import compress
from typing import Any, NamedTuple

import torch
from torch import Tensor

from din.kinds import Lookup
from din.ops.native.library import Library
from din.ops.segments import segment_sum
from din.ops.table_rows import library_for


class Columns(NamedTuple):
    """Fields of a group of owners, and the columns of the table to read for them: column … column + width − 1."""

    lookups: tuple[Lookup[Tensor], ...]
    owners: int
    column: int
    width: int

    @property
    def plain(self) -> bool:
        """True if all fields are plain."""
        return all(lookup.plain for lookup in self.lookups)


def lookup(table_RW: Tensor, groups: Sequence[Columns]) -> list[Tensor]:
    """Return the embeddings of each group, [owners, fields × width]."""
    wanted = table_RW.requires_grad and torch.is_grad_enabled()
    library = library_for(table_RW) if wanted and table_RW.is_contiguous() else None
    natively = [library is not None and group.plain for group in groups]
    embeddings: Iterator[Tensor] = iter(())
    if any(natively):
        embeddings = iter(_Take.apply(library, table_RW, list(compress(groups, natively))))
    return [
        next(embeddings) if native else _reference(table_RW, group)
        for group, native in zip(groups, natively, strict=True)
    ]


def _reference(table_RW: Tensor, group: Columns) -> Tensor:
    table = table_RW[:, group.column : group.column + group.width]
    fields = (_field(table, ids, group.owners) for ids in group.lookups)
    return torch.cat([table_RW.new_zeros(group.owners, 0), *fields], 1)


def _field(table_RW: Tensor, lookup: Lookup[Tensor], owners: int) -> Tensor:
    # index_select, since the backward pass of table[ids] is several times slower on CPUs
    rows_MW = table_RW.index_select(0, lookup.ids)
    if lookup.weights is not None and lookup.weights.dim() == 2:
        return lookup.weights.to(rows_MW.dtype) @ rows_MW
    if lookup.weights is not None:
        rows_MW = rows_MW * lookup.weights.unsqueeze(1)
    if lookup.owners is None:
        return rows_MW
    total_NW = segment_sum(rows_MW, lookup.owners, owners)
    return total_NW / segment_sum(rows_MW.new_ones(rows_MW.shape[0], 1), lookup.owners, owners)


class _Take(torch.autograd.Function):
    """`lookup` of plain groups, [R, W] to [owners, fields × width] each. Backward adds all gradients into one table."""

    @staticmethod
    def forward(ctx: Any, library: Library, table_RW: Tensor, groups: Sequence[Columns]) -> tuple[Tensor, ...]:
        threads = torch.get_num_threads()
        table_width = table_RW.shape[1]
        embeddings = []
        for group in groups:
            embedding = table_RW.new_empty(group.owners, len(group.lookups) * group.width)
            columns = (group.column, group.width)
            for number, field in enumerate(group.lookups):
                target = (embedding, embedding.shape[1], number * group.width)
                library.din_take_rows(threads, group.owners, field.ids, table_RW, table_width, *columns, *target)
            embeddings.append(embedding)
        ctx.library = library
        ctx.groups = groups
        ctx.shape = table_RW.shape
        return tuple(embeddings)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        threads = torch.get_num_threads()
        rows, table_width = ctx.shape
        d_table_RW = gradients[0].new_zeros(ctx.shape)
        table = (rows, d_table_RW, table_width)
        for gradient, group in zip(gradients, ctx.groups, strict=True):
            dense = gradient.contiguous()
            columns = (group.column, group.width)
            for number, field in enumerate(group.lookups):
                source = (dense, dense.shape[1], number * group.width)
                ctx.library.din_add_rows(threads, group.owners, field.ids, *table, *columns, *source)
        return None, d_table_RW, None

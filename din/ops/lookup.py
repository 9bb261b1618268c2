"""Lookups of fields in the embedding table, the fields of a group side by side.

    out_i = [e(field 1 of owner i), e(field 2 of owner i), …]       [owners, fields × width]

e is the row of an id; for a `multi` field the mean of its values' rows; for a standardised field its row times the
value; for a vector the sum of its rows by its numbers, which is a linear projection. The table is an argument, not a
parameter: training passes the rows of a batch as one dense leaf, evaluation and export pass the whole table.

Native for groups of plain fields (one id per owner, no weight) while a gradient of the table is wanted: on the CPU, in
float32, from a contiguous table. Several groups then share one pass over the table's gradient, where autograd would
make and add one for each field.
"""

from collections.abc import Iterator, Sequence
from itertools import compress
from typing import Any, NamedTuple

import torch
from torch import Tensor

from din.ops import backend
from din.ops.native.library import Library
from din.ops.segments import segment_sum


class Ids(NamedTuple):
    """Rows of the table for one field of N owners.

    ids: int64 [M]. owners: int64 [M], the owner of each id, non-decreasing, each owner at least once; None where
    owner i has id i. weights: float32 [M], a factor on each row; None = 1. Weights [N, M] are of a vector: owner i has
    the sum of all M rows by weights i.
    """

    ids: Tensor
    owners: Tensor | None
    weights: Tensor | None

    @property
    def plain(self) -> bool:
        """Whether each owner has one id, whose row is taken as it is."""
        return self.owners is None and self.weights is None


class Columns(NamedTuple):
    """Fields of `owners` owners, and which columns of their rows to read: column … column + width."""

    lookups: tuple[Ids, ...]
    owners: int
    column: int
    width: int

    @property
    def plain(self) -> bool:
        """Whether all fields are plain."""
        return all(lookup.plain for lookup in self.lookups)


def lookup(table_RW: Tensor, groups: Sequence[Columns]) -> list[Tensor]:
    """Return one [owners, fields × width] for each group."""
    library = backend.library()
    wanted = table_RW.requires_grad and torch.is_grad_enabled()
    fits = wanted and table_RW.is_cpu and table_RW.dtype == torch.float32 and table_RW.is_contiguous()
    natively = [bool(library) and fits and group.plain for group in groups]
    taken: Iterator[Tensor] = iter(())
    if any(natively):
        taken = iter(_Take.apply(library, table_RW, list(compress(groups, natively))))
    return [
        next(taken) if native else _reference(table_RW, group) for group, native in zip(groups, natively, strict=True)
    ]


def _reference(table_RW: Tensor, group: Columns) -> Tensor:
    table = table_RW[:, group.column : group.column + group.width]
    fields = (_field(table, ids, group.owners) for ids in group.lookups)
    return torch.cat([table_RW.new_zeros(group.owners, 0), *fields], 1)


def _field(table_RW: Tensor, lookup: Ids, owners: int) -> Tensor:
    rows_MW = table_RW.index_select(0, lookup.ids)  # not table[ids], whose backward is several times slower on CPUs
    if lookup.weights is not None and lookup.weights.dim() == 2:
        return lookup.weights.to(rows_MW.dtype) @ rows_MW
    if lookup.weights is not None:
        rows_MW = rows_MW * lookup.weights.unsqueeze(1)
    if lookup.owners is None:
        return rows_MW
    total_NW = segment_sum(rows_MW, lookup.owners, owners)
    return total_NW / segment_sum(rows_MW.new_ones(rows_MW.shape[0], 1), lookup.owners, owners)


class _Take(torch.autograd.Function):
    """`lookup` of plain groups. Backward adds all their gradients into one table."""

    @staticmethod
    def forward(ctx: Any, library: Library, table: Tensor, groups: Sequence[Columns]) -> tuple[Tensor, ...]:
        threads, table_width = torch.get_num_threads(), table.shape[1]
        found = [table.new_empty(group.owners, len(group.lookups) * group.width) for group in groups]
        for to, (lookups, owners, column, width) in zip(found, groups, strict=True):
            for number, (ids, _, _) in enumerate(lookups):
                place = (to, to.shape[1], number * width)
                library.din_take_rows(threads, owners, ids, table, table_width, column, width, *place)
        ctx.library, ctx.groups, ctx.shape = library, groups, table.shape
        return tuple(found)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        threads, (rows, table_width) = torch.get_num_threads(), ctx.shape
        table = gradients[0].new_zeros(ctx.shape)
        for gradient, (lookups, owners, column, width) in zip(gradients, ctx.groups, strict=True):
            dense = gradient.contiguous()
            for number, (ids, _, _) in enumerate(lookups):
                source = (dense, dense.shape[1], number * width)
                ctx.library.din_add_rows(threads, owners, ids, rows, table, table_width, column, width, *source)
        return None, table, None

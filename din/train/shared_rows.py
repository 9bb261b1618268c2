"""The rows that two tables have in common, and copies of these rows from the old table to the new one.

The weights of a table and the state of its optimizer move from one layout to another when

    ids become known    they follow the earlier ids of their field, so the earlier ids keep their numbers
    the log is another  ids are matched by value (`din.train.champion_start`)

Rows that only the new table has are left unchanged.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from din.features.packing import TableLayout
from din.features.reader import Features


@dataclass(frozen=True)
class SharedRows:
    """N rows of an old and of a new table, of one field or of all.

    Attributes:
        old: rows of the old table, int64 [N].
        new: their places in the new table, int64 [N].
    """

    old: Tensor
    new: Tensor

    @classmethod
    def joined(cls, parts: Iterable[Self]) -> Self:
        """Return the rows of all parts."""
        listed = list(parts)
        return cls(torch.cat([part.old for part in listed]), torch.cat([part.new for part in listed]))

    @classmethod
    def by_number(cls, before: Features, now: Features) -> Self:
        """Return the rows of joint tables in which each field's earlier ids keep their numbers.

        Args:
            before: the features as they were known to the old table.
            now: the same features, with at least as many rows in each field.
        """
        old, new = (TableLayout.of(features.fields, features.rows) for features in (before, now))
        ids = {name: torch.arange(rows) for name, rows in before.rows.items()}
        return cls.joined(
            cls(field_ids, field_ids).placed(old.offsets[name], new.offsets[name]) for name, field_ids in ids.items()
        )

    def placed(self, old_offset: int, new_offset: int) -> Self:
        """Return the rows of joint tables, given the rows of one field and its first row in each joint table."""
        return type(self)(self.old + old_offset, self.new + new_offset)

    def copy(self, source: Tensor, target: Tensor) -> None:
        """Copy these rows of the old table to their places in the new one."""
        target[self.new.to(target.device)] = source[self.old.to(source.device)].to(target.device)

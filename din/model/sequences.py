"""Several sequences in one history: the behaviours that belong to each (`train.model.sequences`).

    behaviour   a      b      c      d           action   click  long   click  share
    clicks      a             c                  {action: [click]}
    watched            b                         {action: [long]}

A sequence selects behaviours by their fields, so a behaviour may be in two sequences or in none. Values are looked up
once, when a model is first built, and saved as ids with its weights.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from din.base.errors import InputError
from din.features.packing import TableLayout
from din.features.reader import Features
from din.kinds import UNKNOWN, text
from din.model.embedding import Batch
from din.params.blocks import Scalar
from din.schema import Field, Group

Sequences = dict[str, dict[str, list[int]]]
_NAMED = 20  # the number of values that an error lists


def resolve(declared: Mapping[str, Mapping[str, tuple[Scalar, ...]]], features: Features) -> Sequences:
    """Replace values by their ids: `{name: {behaviour field: ids}}`, sorted by name. Null is the unknown value.

    Raises:
        InputError: a field can't select behaviours, or a value is not in its vocabulary.
    """
    return {
        name: {
            field: _ids(f"train.model.sequences.{name}.{field}", field, values, features)
            for field, values in conditions.items()
        }
        for name, conditions in sorted(declared.items())
    }


def selections(sequences: Sequences, fields: tuple[Field, ...], layout: TableLayout) -> nn.ModuleList:
    """Return one `Selection` per sequence. Without sequences, return one that selects all behaviours."""
    names = [field.name for field in fields if field.group is Group.BEHAVIOUR]
    return nn.ModuleList(
        Selection({names.index(field): [layout.offsets[field] + i for i in ids] for field, ids in conditions.items()})
        for conditions in sequences.values() or [{}]
    )


class Selection(nn.Module):
    """The behaviours that have one of the listed values in each named field, or all behaviours if no field is named.

    Args:
        rows: the listed values as rows of the joint table, by the field's position among the behaviour fields.
    """

    def __init__(self, rows: dict[int, list[int]]) -> None:
        super().__init__()
        self.fields = tuple(rows)
        for field, listed in rows.items():
            self.register_buffer(f"rows_{field}", torch.tensor(listed), persistent=False)

    def forward(self, batch: Batch) -> Tensor | None:
        """Return the selected behaviours, bool [T], or None for all."""
        member = None
        for field, rows in zip(self.fields, self.buffers(), strict=True):
            ids = batch.lookups[Group.BEHAVIOUR][field].ids
            if batch.rows is not None:
                ids = batch.rows.index_select(0, ids)
            matches = (ids.unsqueeze(1) == rows).any(1)
            member = matches if member is None else member & matches
        return member


def _ids(key: str, name: str, values: tuple[Scalar, ...], features: Features) -> list[int]:
    valid = [field.name for field in features.of(Group.BEHAVIOUR) if field.form.has_vocabulary and field.form.scalar]
    if name not in valid:
        raise InputError(
            f"{key}: not a behaviour field of kind id or categorical; expected one of {', '.join(valid) or 'none'}"
        )
    ids = {text(value): i for i, value in enumerate(features.vocabulary(name)["value"].to_pylist())}
    ids[None] = UNKNOWN
    unknown = [value for value in values if text(value) not in ids]
    if unknown:
        examples = sorted(value for value in ids if value is not None)[:_NAMED]
        raise InputError(
            f"{key}: {unknown[0]!r} is not a value of {name!r}, which has {len(ids) - 1}: {', '.join(examples)} …"
        )
    return sorted(ids[text(value)] for value in values)

"""The graphs' inputs: a packed batch as named arrays.

    item.<field>        int64 [U or values]   rows of the joint table; one per distinct item, or several where multi
    item.<field>.owners   int64 [values]      multi fields: whose value it is
    item.<field>.weights  float32 [U]         standardised fields: what scales the row
    item.<field>.weights  float32 [U, 1 + n]  vectors: the weights of the field's rows, whose ids are int64 [1 + n]
    behaviour.<field>…, user.<field>…, context.<field>…    the same for behaviours, users, contexts
    candidate, behaviour, segment                          positions, see `din.features.packing`

Ids are rows of the joint table (a field's own id + its `offset` in signature.json), exactly what training packs, so
graphs need no arithmetic on them. In request.onnx users and contexts have one owner, and there is no segment.
"""

import numpy as np

from din.features.packing import PackedBatch


def feeds(packed: PackedBatch) -> dict[str, np.ndarray]:
    """Every input by name; a graph takes those of them that its model reads."""
    arrays: dict[str, np.ndarray] = {}
    for group, lookups in packed.lookups.items():
        for name, lookup in lookups.items():
            arrays |= {f"{group}.{name}{ending}": part for ending, part in lookup.parts().items()}
    return arrays | {"candidate": packed.candidate, "behaviour": packed.behaviour, "segment": packed.segment}

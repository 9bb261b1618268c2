"""The inputs of the ONNX graphs: a packed batch as named arrays.

    item.<field>          int64 [U]           rows of the joint table, one per distinct item
    item.<field>          int64 [values]      for a `multi` field: rows of all values of all items
    item.<field>.owners   int64 [values]      for a `multi` field: the item of each value
    item.<field>.weights  float32 [U]         for a standardised field: a factor on each row
    item.<field>.weights  float32 [U, 1 + n]  for a vector: factors on the field's rows, whose ids are int64 [1 + n]
    behaviour.<field>…, user.<field>…, context.<field>…    the same for behaviours, users and contexts
    candidate, behaviour, segment                          positions, see `din.features.packing`
    age                   float32 [behaviours]             seconds from each behaviour to its impression

An id is a row of the joint table: the field's own id plus the field's `offset` in signature.json. Training packs the
same ids, so graphs need no arithmetic on them. In request.onnx, users and contexts have one owner, and there is no
segment.
"""

import numpy as np
from pydantic import Field, PositiveInt

from din.base.documents import Document
from din.base.names import Digest
from din.base.workspace import Format
from din.contracts.manifests import CodedPlacedField
from din.features.packing import PackedBatch

AGE = "age"


class Signature(Document):
    """The signature.json of a bundle: fields, maximal history length, and input names by graph.

    `plugins` has the sha256 of each plugin that registers a kind of the fields, by the name of its module.
    """

    format: Format
    fields: list[CodedPlacedField]
    max_history: PositiveInt
    inputs: dict[str, list[str]]
    plugins: dict[str, Digest] = Field(default_factory=dict)


def feeds(packed: PackedBatch) -> dict[str, np.ndarray]:
    """Return all inputs by name. A graph has only the inputs that its model reads."""
    arrays: dict[str, np.ndarray] = {}
    for group, lookups in packed.lookups.items():
        for name, lookup in lookups.items():
            arrays |= {f"{group}.{name}{ending}": part for ending, part in lookup.parts().items()}
    places = {"candidate": packed.candidate, "behaviour": packed.behaviour, "segment": packed.segment}
    return arrays | places | ({} if packed.age is None else {AGE: packed.age})

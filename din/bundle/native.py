"""DIN in numpy and C: what request.onnx and batch.onnx compute, in less time.

`NativeModel.open` reads the saved model in a bundle, from which the graphs were traced. onnxruntime scores what this
module does not support: other models, which it scores as fast, activations other than Dice, and `linear: wide`.

`din.ops` explains the shape letters. O is the number of histories and of profiles: B, or 1 in a request, whose
impressions share them.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from din.base import documents
from din.base.artifacts import read_json
from din.base.errors import InputError
from din.bundle.native_blend import NativeBlend
from din.bundle.native_histories import ScoredHistories
from din.features.packing import PackedBatch
from din.kinds import Lookup
from din.ops import backend
from din.ops.constants import AGE_STARTS
from din.ops.scoring import Floats, ScoredActivationUnit, ScoredDice, ScoredLayer, ScoredPerceptron, product
from din.schema import Group

Weights = Mapping[str, Floats]


def supports(config: Mapping[str, Any]) -> bool:
    """Return whether a saved model with this configuration has a native form, and this machine can run it."""
    model = config["train"]["model"]
    has_form = model["activation"] == "dice" and model["interaction"] in ("difference_product", "product")
    return model["name"] == "din" and has_form and model["linear"] != "wide" and backend.scores()


class NativeModel:
    """A saved DIN.

    Args:
        config: its config.json, which `supports` accepts.
        weights: its weights, with the embedding table as `table`.
    """

    def __init__(self, config: Mapping[str, Any], weights: Weights) -> None:
        settings = config["train"]["model"]
        self._interest_product: bool = settings["interest_product"]
        self._dim: int = settings["embedding_dim"]
        self._table = weights["table"]
        self._item_bias = settings["linear"] == "item_bias"
        self._ages = weights.get("ages.embedding.weight")
        self._unit = _unit(weights, "units.0", softmax=settings["softmax"])
        self._head = ScoredPerceptron(_layers(weights, "head"))
        self._blend = NativeBlend.of(config, weights)

    @classmethod
    def open(cls, bundle: Path) -> Self | None:
        """Open the saved model in a verified bundle. Return None if onnxruntime has to score it."""
        config = read_json(bundle / "model/config.json")
        return cls(config, _read_weights(bundle / "model/weights.safetensors")) if supports(config) else None

    @property
    def reads_ages(self) -> bool:
        """Whether it reads how old behaviours are."""
        return self._ages is not None

    @np.errstate(all="ignore")  # numbers too extreme give logits that are not finite, which the caller refuses
    def __call__(self, packed: PackedBatch, *, request: bool) -> Floats:
        """Return the logits [B].

        Args:
            request: the impressions share one history and one profile.
        """
        owners = 1 if request else len(packed)
        offsets = np.searchsorted(packed.segment, np.arange(owners + 1))
        logit_B = self._head(self._inputs(packed, offsets))
        if self._item_bias:
            item_id = next(iter(packed.lookups[Group.ITEM].values()))
            logit_B = logit_B + self._table[item_id.ids[packed.candidate], 0]
        return self._blend(logit_B, packed, offsets) if self._blend else logit_B

    def _inputs(self, packed: PackedBatch, offsets: NDArray[np.int64]) -> Floats:
        """Return the inputs of the MLP side by side: embeddings, and interest ⊙ candidate if it reads this."""
        lookups = packed.lookups
        items = lookups[Group.ITEM].values()
        item_UD = self._embedded(items, len(next(iter(items))))
        query_BD = item_UD.take(packed.candidate, 0)  # faster than item_UD[…]
        keys = [
            item_UD.take(packed.behaviour, 0),
            self._embedded(lookups[Group.BEHAVIOUR].values(), len(packed.behaviour)),
        ]
        if self._ages is not None and packed.age is not None:
            keys.append(self._ages[_steps(packed.age)])
        interest_BK = self._unit(query_BD, np.concatenate(keys, 1), offsets)
        profile_OP = self._embedded([*lookups[Group.USER].values(), *lookups[Group.CONTEXT].values()], len(offsets) - 1)
        profile_BP = np.broadcast_to(profile_OP, (len(packed), profile_OP.shape[1]))
        columns = [profile_BP, interest_BK, query_BD]
        if self._interest_product:
            columns.append(interest_BK[:, : query_BD.shape[1]] * query_BD)
        return np.concatenate(columns, 1)

    def _embedded(self, lookups: Iterable[Lookup], owners: int) -> Floats:
        """Look up the embeddings of a group's fields, side by side for each owner."""
        nothing = np.zeros((owners, 0), np.float32)
        return np.concatenate([nothing, *(self._field(lookup, owners) for lookup in lookups)], 1)

    def _field(self, lookup: Lookup, owners: int) -> Floats:
        row_MW = self._table.take(lookup.ids, 0)[:, -self._dim :]
        if lookup.weights is not None and lookup.weights.ndim == 2:
            return product(lookup.weights, row_MW)
        if lookup.weights is not None:
            return row_MW * lookup.weights[:, np.newaxis]
        if lookup.owners is None:
            return row_MW
        return ScoredHistories(row_MW, np.searchsorted(lookup.owners, np.arange(owners + 1))).mean()


def _steps(age_T: Floats) -> NDArray[np.int64]:
    """Return the steps of `din.model.ages.Ages` that ages fall into: 0 for an unknown age, which is NaN."""
    return (age_T[:, np.newaxis] >= np.array(AGE_STARTS, np.float32)).sum(1)


def _unit(weights: Weights, name: str, *, softmax: bool) -> ScoredActivationUnit:
    query_HD = weights[f"{name}.query_weight"]
    key_HK = weights[f"{name}.key_weight"]
    difference_HD = weights.get(f"{name}.difference_weight")
    if difference_HD is not None:  # of q − k
        query_HD = query_HD + difference_HD
        key_HK = key_HK - np.pad(difference_HD, ((0, 0), (0, key_HK.shape[1] - difference_HD.shape[1])))
    first = ScoredLayer(key_HK, weights[f"{name}.bias"], _dice(weights, f"{name}.activation"))
    layers = [first, *_layers(weights, f"{name}.rest")]
    return ScoredActivationUnit(query_HD, weights[f"{name}.product_weight"], layers, softmax=softmax)


def _layers(weights: Weights, name: str) -> Sequence[ScoredLayer]:
    """Return the layers of a `din.model.mlp.multilayer_perceptron`: each linear layer n has its Dice at n + 1."""
    numbers = sorted(int(key.split(".")[-2]) for key in weights if key.startswith(f"{name}.") and key.endswith("bias"))
    return [
        ScoredLayer(weights[f"{name}.{n}.weight"], weights[f"{name}.{n}.bias"], _dice(weights, f"{name}.{n + 1}"))
        for n in numbers
    ]


def _dice(weights: Weights, name: str) -> ScoredDice | None:
    if f"{name}.alpha" not in weights:
        return None
    return ScoredDice(*(weights[f"{name}.{part}"] for part in ScoredDice._fields))


def _read_weights(path: Path) -> Weights:
    """Map the tensors of a safetensors file, all float32: the length of a JSON header, the header, and the numbers.

    Raises:
        InputError: the file is of another form.
    """
    content = np.asarray(np.memmap(path, np.uint8, "r"))
    start = 8 + int.from_bytes(content[:8].tobytes(), "little")
    numbers = content[start:]
    try:
        header = documents.decode(content[8:start].tobytes(), "its header")
        header.pop("__metadata__", None)
        return {
            name: numbers[slice(*tensor["data_offsets"])].view(np.float32).reshape(tensor["shape"])
            for name, tensor in header.items()
        }
    except (ValueError, InputError) as error:
        raise InputError(f"{path}: not readable ({error}); run `dvc repro -f export`") from None

"""The built-in models in numpy and C: what request.onnx and batch.onnx compute, in less time.

`NativeModel.open` reads the saved model in a bundle, from which the graphs were traced. onnxruntime scores what this
module does not support: models of plugins, LR, and activations other than Dice.

`din.ops` explains the shape letters. O is the number of histories and of profiles: B, or 1 in a request, whose
impressions share them. E is a number of owners, fields × width of a table the columns of their embeddings.
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

_MODELS = ("base", "deepfm", "din", "pnn", "wide_deep")

Weights = Mapping[str, Floats]


def supports(config: Mapping[str, Any]) -> bool:
    """Return whether a saved model with this configuration has a native form, and this machine can run it."""
    model = config["train"]["model"]
    has_form = model["activation"] == "dice" and model["interaction"] in ("difference_product", "product")
    return model["name"] in _MODELS and has_form and backend.scores()


class NativeModel:
    """A saved model.

    Args:
        config: its config.json, which `supports` accepts.
        weights: its weights, with the embedding table as `table`.
    """

    def __init__(self, config: Mapping[str, Any], weights: Weights) -> None:
        settings = config["train"]["model"]
        name = settings["name"]
        self._mean = settings["pooling"] == "mean"
        self._interest_product: bool = settings["interest_product"]
        self._dim: int = settings["embedding_dim"]
        self._table = weights["table"]
        self._wide_bias = weights.get("wide.bias")
        self._item_bias = settings["linear"] == "item_bias" and self._wide_bias is None
        self._reads_pairs = name == "pnn"
        self._adds_pairs = name == "deepfm"
        self._ages = weights.get("ages.embedding.weight")
        self._unit = _unit(weights, "units.0", softmax=settings["softmax"]) if name == "din" else None
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
        vectors, products = self._inputs(packed, offsets)
        columns = [vectors, *products]
        logit_B = self._linear_part(packed, offsets)
        if self._reads_pairs or self._adds_pairs:
            pairs = _inner_products(vectors.reshape(len(vectors), -1, self._dim))
            if self._reads_pairs:
                columns.append(pairs)
            else:
                logit_B = logit_B + pairs.sum(1)
        logit_B = self._head(np.concatenate(columns, 1)) + logit_B
        return self._blend(logit_B, packed, offsets) if self._blend else logit_B

    def _inputs(self, packed: PackedBatch, offsets: NDArray[np.int64]) -> tuple[Floats, list[Floats]]:
        """Return the embeddings that the MLP reads, side by side, and interest ⊙ candidate if it reads this."""
        lookups = packed.lookups
        item_UD = self._embedded(lookups[Group.ITEM].values(), _owners_of(packed))
        query_BD = item_UD.take(packed.candidate, 0)  # faster than item_UD[…]
        keys = [
            item_UD.take(packed.behaviour, 0),
            self._embedded(lookups[Group.BEHAVIOUR].values(), len(packed.behaviour)),
        ]
        if self._ages is not None and packed.age is not None:
            keys.append(self._ages[_steps(packed.age)])
        interest = self._pooled(query_BD, ScoredHistories(np.concatenate(keys, 1), offsets))
        profile_OP = self._embedded(_profile(packed), len(offsets) - 1)
        every = (profile_OP, interest, query_BD)
        vectors = np.concatenate([np.broadcast_to(part, (len(packed), part.shape[1])) for part in every], 1)
        products = [interest[:, : query_BD.shape[1]] * query_BD] if self._interest_product else []
        return vectors, products

    def _pooled(self, query_BD: Floats, histories: ScoredHistories) -> Floats:
        """Return the interests [B, K], or [O, K] for a model that weighs all behaviours alike."""
        if self._unit:
            return self._unit(query_BD, *histories)
        return histories.mean() if self._mean else histories.total()

    def _linear_part(self, packed: PackedBatch, offsets: NDArray[np.int64]) -> Floats:
        """Return what is added to the logit of the MLP, [B]: the item bias, LR's logit, or zeros."""
        items = packed.lookups[Group.ITEM].values()
        if self._item_bias:
            return self._table[next(iter(items)).ids[packed.candidate], 0]
        if self._wide_bias is None:
            return np.zeros(len(packed), np.float32)
        of_impression, of_history = slice(0, 1), slice(1, 2)
        number = _owners_of(packed)
        feedback = packed.lookups[Group.BEHAVIOUR].values()
        impression_B = self._read(of_impression, items, number).sum(1)[packed.candidate]
        profile_O = self._read(of_impression, _profile(packed), len(offsets) - 1).sum(1)
        history_T = self._read(of_history, items, number).sum(1)[packed.behaviour]
        history_T = history_T + self._read(of_history, feedback, len(history_T)).sum(1)
        history_O = ScoredHistories(history_T[:, np.newaxis], offsets).mean()[:, 0]
        return impression_B + profile_O + history_O + self._wide_bias

    def _embedded(self, lookups: Iterable[Lookup], owners: int) -> Floats:
        return self._read(slice(-self._dim, None), lookups, owners)

    def _read(self, columns: slice, lookups: Iterable[Lookup], owners: int) -> Floats:
        """Look up the fields of a group side by side, [owners, fields × columns]."""
        nothing = np.zeros((owners, 0), np.float32)
        return np.concatenate([nothing, *(self._field(columns, lookup, owners) for lookup in lookups)], 1)

    def _field(self, columns: slice, lookup: Lookup, owners: int) -> Floats:
        row_MW = self._table.take(lookup.ids, 0)[:, columns]
        if lookup.weights is not None and lookup.weights.ndim == 2:
            return product(lookup.weights, row_MW)
        if lookup.weights is not None:
            return row_MW * lookup.weights[:, np.newaxis]
        if lookup.owners is None:
            return row_MW
        return ScoredHistories(row_MW, np.searchsorted(lookup.owners, np.arange(owners + 1))).mean()


def _owners_of(packed: PackedBatch) -> int:
    """Return the number of items."""
    return len(next(iter(packed.lookups[Group.ITEM].values())))


def _profile(packed: PackedBatch) -> list[Lookup]:
    return [*packed.lookups[Group.USER].values(), *packed.lookups[Group.CONTEXT].values()]


def _inner_products(vectors_BFd: Floats) -> Floats:
    """Return ⟨v_i, v_j⟩ of all pairs i < j, [B, F·(F − 1)/2]."""
    first, second = np.triu_indices(vectors_BFd.shape[1], 1)
    return np.einsum("bfd,bfd->bf", vectors_BFd[:, first], vectors_BFd[:, second])


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

"""The models: functions from embedding rows and a packed batch to logits, with dense weights of their own.

Names of tensors end in their shapes, `query_BD` for [B, D]. `din.ops` explains the letters; in `pnn` and `deepfm`, F
counts field vectors, each of width d.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any

from typing_extensions import override

from din.base.errors import InputError, listed
from din.seams import C, Seam

NETWORK = frozenset(
    {
        "model.embedding_dim",
        "model.ages",
        "model.linear",
        "learning.dropout",
        "learning.renew_embeddings",
    }
)
"""Keys below `train` that every subclass of `EmbeddingMLP` reads, unless it says otherwise."""


class Models(Seam[Callable[..., Any]]):
    """The models, and the keys that each reads. No torch is needed to know either.

    Args:
        built_in: maps names of models to their modules.
        reads: maps them to the keys below `train` that they read. A key that no model names is read by all.
    """

    def __init__(self, built_in: Mapping[str, str], reads: Mapping[str, Collection[str]]) -> None:
        super().__init__("model", built_in)
        self._reads = dict(reads)

    @override
    def register(
        self, name: str, options: type[Any] | None = None, reads: Collection[str] = NETWORK
    ) -> Callable[[C], C]:
        """Return a decorator that makes a model known by this name.

        Args:
            name: the name in params.yaml and in reports.
            options: see `Registered`; keys that it does not declare are errors.
            reads: the keys below `train` that a plugin's model reads. Keys that no model names need no mention.

        Raises:
            InputError: another module has registered the name, or no model of this package reads one of the keys.
        """
        if unknown := set(reads) - self._optional:
            expected = listed(sorted(self._optional))
            raise InputError(f"model {name!r} reads {listed(sorted(unknown))}; expected keys among {expected}")
        add = super().register(name, options)

        def declare(model: C) -> C:
            add(model)
            self._reads.setdefault(name, reads)
            return model

        return declare

    def reads(self, name: str, key: str) -> bool:
        """Return whether a model reads a key below `train`, such as `learning.dropout`.

        A model whose plugin is not loaded counts as a network.
        """
        return key not in self._optional or key in self._reads.get(name, NETWORK)

    @property
    def _optional(self) -> frozenset[str]:
        """The keys that only some models read."""
        return frozenset().union(*self._reads.values())


MODELS: Models = Models(
    built_in={
        "din": "din.model.din",
        "base": "din.model.base",
        "lr": "din.model.lr",
        "wide_deep": "din.model.wide_deep",
        "pnn": "din.model.pnn",
        "deepfm": "din.model.deepfm",
    },
    reads={
        "din": NETWORK | {"model.softmax"},
        "base": NETWORK | {"model.pooling"},
        "lr": (),
        "wide_deep": NETWORK - {"model.linear"} | {"model.pooling"},
        "pnn": NETWORK | {"model.pooling"},
        "deepfm": NETWORK - {"model.linear"} | {"model.pooling"},
    },
)

"""Old names of modules and parameters, which plugins may import until release 0.2, with a warning."""

import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_MOVED = {
    "din.artifacts": "din.base.artifacts",
    "din.bundle.explain": "din_loop.explain",
    "din.data.download": "din_logs.download",
    "din.data.movielens": "din_logs.movielens",
    "din.data.publisher": "din_logs.publisher",
    "din.documents": "din.base.documents",
    "din.errors": "din.base.errors",
    "din.gates": "din.release.gates",
    "din.names": "din.base.names",
    "din.progress": "din.base.progress",
    "din.registry": "din.release.registry",
    "din.report": "din_report",
    "din.serve": "din.bundle",
    "din.sources": "din.data",
    "din.workspace": "din.base.workspace",
}

_BLOCKS = {
    "Data": "data",
    "Featurize": "featurize",
    "Params": "reading",
    "Simulate": "fetch",
    "Table": "fetch",
    "Train": "train",
    "load": "reading",
    "parse": "blocks",
    "to_json": "blocks",
}
"""The modules below `din.params` of names that were imported from `din.params` itself."""


def today(name: str) -> str:
    """Return today's name of a module."""
    old = next((old for old in _MOVED if f"{name}.".startswith(f"{old}.")), None)
    return name if old is None else today(_MOVED[old] + name.removeprefix(old))


class OldNames(MetaPathFinder, Loader):
    """Imports a module by its old name: the same module, and a warning that says today's name."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return how to import a module that has moved."""
        return ModuleSpec(fullname, self) if today(fullname) != fullname else None

    def exec_module(self, module: ModuleType) -> None:
        """Put the moved module in the place of the new one."""
        name = module.__name__
        _warn(name, today(name))
        sys.modules[name] = import_module(today(name))


def parameter(name: str) -> Any:
    """Return what `din.params` had by this name.

    Raises:
        AttributeError: it had nothing of this name.
    """
    if name not in _BLOCKS:
        raise AttributeError(f"module 'din.params' has no attribute {name!r}")
    module = f"din.params.{_BLOCKS[name]}"
    _warn(f"din.params.{name}", f"{module}.{name}")
    return getattr(import_module(module), name)


def accept_old_names() -> None:
    """Let imports use old names from now on."""
    if not any(isinstance(finder, OldNames) for finder in sys.meta_path):
        sys.meta_path.insert(0, OldNames())  # before the finder that takes an empty folder for a package


def _warn(old: str, new: str) -> None:
    warnings.warn(f"{old} is now {new}; write that in your plugin", FutureWarning, stacklevel=3)

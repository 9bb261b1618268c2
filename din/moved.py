"""Old names of modules, which plugins may import until release 0.2, with a warning."""

import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

_MOVED = {
    "din.artifacts": "din.base.artifacts",
    "din.documents": "din.base.documents",
    "din.errors": "din.base.errors",
    "din.gates": "din.release.gates",
    "din.names": "din.base.names",
    "din.progress": "din.base.progress",
    "din.registry": "din.release.registry",
    "din.serve": "din.bundle",
    "din.sources": "din.data",
    "din.workspace": "din.base.workspace",
}


def today(name: str) -> str:
    """Return today's name of a module."""
    old = next((old for old in _MOVED if f"{name}.".startswith(f"{old}.")), None)
    return name if old is None else _MOVED[old] + name.removeprefix(old)


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
        warnings.warn(f"{name} is now {today(name)}; write that in your plugin", FutureWarning, stacklevel=2)
        sys.modules[name] = import_module(today(name))


def accept_old_names() -> None:
    """Let imports use old names from now on."""
    if not any(isinstance(finder, OldNames) for finder in sys.meta_path):
        sys.meta_path.insert(0, OldNames())  # before the finder that takes an empty folder for a package

"""Plugins: Python files that register models, sources, gates or advice (`din.seams`).

A plugin is a file of the repository that `plugins` of params.yaml names, or a module of an installed package with an
entry point in the group `din_ctr.plugins`. A plugin runs with the rights of the pipeline, so only the repository's own
params.yaml may name files: parameters of a single run can't (see `dags`).
"""

import sys
from collections.abc import Iterable
from functools import cache
from hashlib import sha256
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path

from din.base.errors import InputError
from din.base.names import Digest
from din.moved import accept_old_names

GROUP = "din_ctr.plugins"
_PREFIX = "din_plugins."


def load(files: Iterable[str], root: Path) -> None:
    """Import the installed plugins, and then the plugins in `files`.

    Args:
        files: paths relative to `root`.
        root: the folder of params.yaml.

    Raises:
        InputError: a file is missing or outside of `root`, or a plugin can't be imported.
    """
    accept_old_names()
    for entry in entry_points(group=GROUP):
        _load_installed(entry)
    for path in located(files, root):
        _load_file(path)


def installed() -> list[Path]:
    """Return the files of the installed plugins."""
    specs = [find_spec(entry.module) for entry in entry_points(group=GROUP)]
    return [Path(spec.origin) for spec in specs if spec and spec.origin]


def located(files: Iterable[str], root: Path) -> list[Path]:
    """Return the paths of the files of plugins.

    Raises:
        InputError: one is not a Python file below `root`, or two have the same name.
    """
    found: dict[str, Path] = {}
    for file in files:
        path = (root / file).resolve()
        if path.suffix != ".py" or not path.is_relative_to(root.resolve()) or not path.is_file():
            raise InputError(f"plugins: {file}: not found; expected a Python file below the folder of params.yaml")
        if found.setdefault(path.stem, path) != path:
            raise InputError(f"plugins: {file}: another plugin has the name {path.name}; rename one of them")
    return [*found.values()]


def digest_of(module: str) -> dict[str, Digest]:
    """Return the sha256 of a plugin's file by the name of its module, or nothing for a module of this package."""
    loaded = sys.modules[module]
    if module.startswith("din."):
        return {}
    source = loaded.source if module.startswith(_PREFIX) else Path(loaded.__file__ or "").read_bytes()
    return {module: Digest(sha256(source).hexdigest())}


@cache
def _load_installed(entry: EntryPoint) -> None:
    try:
        entry.load()
    except Exception as error:
        raise InputError(f"plugin {entry.name} ({entry.value}): {_fault(error)}; fix or uninstall it") from error


def _load_file(path: Path) -> None:
    name = _PREFIX + path.stem
    loaded = sys.modules.get(name)
    source = path.read_bytes()
    if loaded is not None and getattr(loaded, "source", None) == source:
        return
    spec = spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    module.source = source  # type: ignore[attr-defined]
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        if isinstance(error, InputError):
            raise
        raise InputError(f"plugins: {path}{_line(error, path)}: {_fault(error)}; correct it") from error


def _fault(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _line(error: Exception, path: Path) -> str:
    """Return the last line of a plugin that an error passed through, e.g. `:12`, or nothing if there is none."""
    line = error.lineno if isinstance(error, SyntaxError) else None
    trace = error.__traceback__
    while trace is not None:
        line = trace.tb_lineno if trace.tb_frame.f_code.co_filename == str(path) else line
        trace = trace.tb_next
    return "" if line is None else f":{line}"

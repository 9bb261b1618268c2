"""Plugins: Python files that register models, sources, kinds of field, gates or advice (`din.seams`).

A plugin is a file of the repository that `plugins` of params.yaml names, or a module of an installed package with an
entry point in the group `din_ctr.plugins`. A plugin runs with the rights of the pipeline, so only the repository's own
params.yaml may name files: parameters of a single run can't (see `dags`).

A plugin may import its neighbours, Python files of the same folder: `from .attention import Block`. They are modules of
the package `din_plugins`, as plugins are, so all of them need different names. Wherever a plugin's code counts, the
code of the neighbours that it imports counts too.

A process that scores has no params.yaml. It loads installed plugins, and the files that its command names. A bundle
names the plugins that its kinds of field need, and never brings their code.
"""

import sys
from collections.abc import Iterable, Mapping
from functools import cache
from hashlib import sha256
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from din.base.errors import InputError
from din.base.names import Digest
from din.neighbours import PACKAGE, PREFIX, with_neighbours

GROUP = "din_ctr.plugins"
PACKAGES = (
    "din",
    "din_logs",
    "din_loop",
    "din_report",
    "din_spark",
    "din_start",
    "din_tune",
    "validation",
)
"""The packages of this distribution, whose code may decide what a stage writes."""


def load(files: Iterable[str], root: Path) -> None:
    """Import the installed plugins, and then the plugins in `files`.

    Args:
        files: paths relative to `root`.
        root: the folder of params.yaml.

    Raises:
        InputError: a file is missing or outside of `root`, or a plugin can't be imported.
    """
    _load_all(located(files, root))


def load_files(files: Iterable[Path]) -> None:
    """Import the installed plugins, and then plugins in files anywhere, for a process that scores.

    Raises:
        InputError: a file is missing, or a plugin can't be imported.
    """
    paths = [file.resolve() for file in files]
    for path in paths:
        if path.suffix != ".py" or not path.is_file():
            raise InputError(f"plugin {path}: not found; expected a Python file")
    _load_all(with_neighbours(paths))


def files_of(modules: Iterable[str]) -> list[Path]:
    """Return the files of those modules that were loaded from files of plugins."""
    return [Path(sys.modules[name].__file__ or "") for name in dict.fromkeys(modules) if name.startswith(PREFIX)]


def require(needed: Mapping[str, Digest], where: object) -> None:
    """Check that the plugins that a bundle needs are loaded as they were when it was made; load installed ones first.

    Args:
        needed: the sha256 of the file of each plugin and neighbour, by the name of its module.
        where: the bundle, for errors.

    Raises:
        InputError: a plugin is not loaded, or another file of its name is.
    """
    if needed:
        load_files(())
    for module, digest in needed.items():
        loaded = digest_of(module).get(module) if module in sys.modules else None
        if loaded != digest:
            name = f"{module.removeprefix(PREFIX)}.py" if module.startswith(PREFIX) else module
            problem = f"but {name} here has {loaded}" if loaded else "which is not loaded"
            raise InputError(
                f"{where}: needs the plugin {name} with sha256 {digest}, {problem}; name its file in "
                "plugins of params.yaml, or with --plugin, or install its package"
            )


def installed() -> list[Path]:
    """Return the files of the installed plugins."""
    specs = [find_spec(entry.module) for entry in entry_points(group=GROUP)]
    return [Path(spec.origin) for spec in specs if spec and spec.origin]


def located(files: Iterable[str], root: Path) -> list[Path]:
    """Return the paths of the files of plugins and their neighbours, each after the neighbours that it imports.

    Raises:
        InputError: one is not a Python file below `root`, imports a neighbour that does not exist, or two have the same
            name.
    """
    paths: list[Path] = []
    for file in files:
        path = (root / file).resolve()
        if path.suffix != ".py" or not path.is_relative_to(root.resolve()) or not path.is_file():
            raise InputError(f"plugins: {file}: not found; expected a Python file below the folder of params.yaml")
        paths.append(path)
    return with_neighbours(paths)


def digest_of(module: str) -> dict[str, Digest]:
    """Return the sha256 of the files of a plugin and its neighbours by the names of their modules.

    A module of this distribution has none.
    """
    loaded = sys.modules[module]
    if module.partition(".")[0] in PACKAGES:
        return {}
    sources = loaded.sources if module.startswith(PREFIX) else {module: Path(loaded.__file__ or "").read_bytes()}
    return {name: Digest(sha256(source).hexdigest()) for name, source in sources.items()}


def _load_all(files: Iterable[Path]) -> None:
    from din.moved import accept_old_names  # only a plugin needs it

    accept_old_names()
    for entry in entry_points(group=GROUP):
        _load_installed(entry)
    for path in files:
        _load_file(path)


@cache
def _load_installed(entry: EntryPoint) -> None:
    try:
        entry.load()
    except Exception as error:
        raise InputError(f"plugin {entry.name} ({entry.value}): {_fault(error)}; fix or uninstall it") from error


def _load_file(path: Path) -> None:
    """Import a file after its neighbours, unless it and they are loaded as they are now."""
    name = PREFIX + path.stem
    loaded = sys.modules.get(name)
    sources = {PREFIX + file.stem: file.read_bytes() for file in reversed(with_neighbours([path]))}
    if loaded is not None and getattr(loaded, "sources", None) == sources:
        return
    sys.modules.setdefault(PACKAGE, _package())
    spec = spec_from_file_location(name, path)
    assert spec is not None
    module = module_from_spec(spec)
    module.sources = sources  # type: ignore[attr-defined]
    sys.modules[name] = module
    try:
        # The bytes that are hashed run, not bytecode kept from an edit within the same second.
        exec(compile(sources[name], path, "exec", dont_inherit=True), module.__dict__)
    except Exception as error:
        del sys.modules[name]
        if isinstance(error, InputError):
            raise
        raise _broken(path, error) from error


def _package() -> ModuleType:
    """Return the package of plugins and neighbours, which has no folder, since all its modules are loaded by name."""
    package = ModuleType(PACKAGE)
    package.__path__ = []
    return package


def _broken(path: Path, error: Exception) -> InputError:
    advice = "correct it"
    if isinstance(error, ModuleNotFoundError) and error.name:
        neighbour = error.name.rpartition(".")[2]
        if error.name.startswith(PREFIX):
            advice = f"{path.name} and {neighbour}.py import each other; move what both need to a third file"
        elif path.with_name(f"{neighbour}.py").is_file() or error.name == path.parent.name:
            advice = "import a file of the same folder with a dot: `from .NAME import …`"
    return InputError(f"plugins: {fault(path, error)}; {advice}")


def fault(path: Path, error: Exception) -> str:
    """Describe the error of a plugin's code, with the file and the last of its lines that the error passed through."""
    return f"{path}{_line(error, path)}: {_fault(error)}"


def _fault(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _line(error: Exception, path: Path) -> str:
    """Return the last line of a plugin that an error passed through, e.g. `:12`, or nothing if there is none."""
    line = None
    trace = error.__traceback__
    while trace is not None:
        line = trace.tb_lineno if trace.tb_frame.f_code.co_filename == str(path) else line
        trace = trace.tb_next
    return "" if line is None else f":{line}"

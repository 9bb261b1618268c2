"""Neighbours: the Python files that a plugin imports from its own folder, as `from .attention import Block`.

They are found in the source, without running it. Plugins and neighbours are modules of the package `din_plugins`, under
the names of their files.
"""

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

from din.base.errors import InputError

PACKAGE = "din_plugins"
PREFIX = f"{PACKAGE}."


def with_neighbours(paths: Iterable[Path]) -> list[Path]:
    """Return files and the neighbours that they import, directly or not, each after the neighbours that it imports.

    Raises:
        InputError: a file imports a neighbour that does not exist, or two files have the same name.
    """
    reached: dict[Path, None] = {}
    begun: set[Path] = set()

    def reach(path: Path) -> None:
        if path not in begun:
            begun.add(path)
            for neighbour in _imported_by(path):
                reach(neighbour)
            reached[path] = None

    for path in paths:
        reach(path)
    names: dict[str, Path] = {}
    for path in reached:
        if names.setdefault(path.stem, path) != path:
            raise InputError(f"plugins: {path}: {names[path.stem]} has the same name; rename one of them")
    return [*reached]


def _imported_by(path: Path) -> Iterator[Path]:
    """Yield the neighbours that a file imports by their names.

    Raises:
        InputError: one does not exist.
    """
    try:
        tree = ast.parse(path.read_bytes())
    except SyntaxError as error:
        raise InputError(f"plugins: {path}:{error.lineno}: SyntaxError: {error.msg}; correct it") from None
    for node in ast.walk(tree):
        if not isinstance(node, ast.Import | ast.ImportFrom):
            continue
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module == PACKAGE:
            names = [f".{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = ["." * node.level + node.module]
        else:
            dots = "." * node.level if isinstance(node, ast.ImportFrom) else ""
            names = [dots + alias.name for alias in node.names]
        relative = [f".{name.removeprefix(PREFIX)}" if name.startswith(PREFIX) else name for name in names]
        for name in (name[1:] for name in relative if name.startswith(".")):
            neighbour = path.with_name(f"{name}.py")
            if not neighbour.is_file():
                text = ast.unparse(node)
                raise InputError(f"plugins: {path}:{node.lineno}: `{text}`: expected a file {name}.py in this folder")
            yield neighbour

"""The code and the packages that each stage depends on: `reports/code/<stage>.json`, a dependency in dvc.yaml.

A stage depends on the import closure of its command: every module of this repository's packages that it may import, and
the installed version of every package that those modules import. The closure is found in the source, without running
it. Comments and docstrings don't count, so only a change of what runs makes a stage run again. The C sources in a
package count with it, without their comments.

Every stage imports all of `din.params` to read params.yaml. Modules of blocks that the stage does not list under
`params` in dvc.yaml are left out there, so a new limit of the gate changes no other stage.

A seam imports its modules by name, so a module that imports a seam counts as importing the modules that the call of
`Seam` names, and those behind the group of entry points that it names. A plugin's file and its neighbours count for the
stages that hold a seam from whose package one of them imports, so a new model reruns training, but not fetch.

Not seen: the thin commands themselves (`din.cli`), modules imported by a computed name, the compiler, and packages that
only other packages import, unless the stage names them under `meta.packages`.
"""

import ast
import hashlib
import json
import re
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from functools import cache
from importlib.metadata import PackageNotFoundError, entry_points, packages_distributions, version
from pathlib import Path
from typing import Any

from din.base.artifacts import replace_directory, write_json
from din.base.documents import Document
from din.base.errors import InputError, shown
from din.base.names import Digest
from din.base.workspace import SUITES, Workspace
from din.contracts.expectations import digest_of_user_file
from din.moved import today
from din.neighbours import with_neighbours
from din.params.reading import Params
from din.plugins import PACKAGES, installed, located
from din.stages.pipeline import Stage, stages_of

_ROOT = Path(__file__).parents[2]
_C_SOURCES = (".c", ".h")
_SEAMS = ("Seam", "Gates", "Models")  # the classes of seams
_GROUPS = "din_ctr."  # how the names of their groups of entry points begin
_COMMENT_OR_LITERAL = re.compile(r"""//[^\n]*|/\*.*?\*/|(?P<literal>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')""", re.DOTALL)


class StageCode(Document):
    """The code that a stage may run: digests of its files, without comments, and versions of the packages it uses."""

    files: dict[str, Digest]
    packages: dict[str, str | None]


@dataclass(frozen=True)
class Module:
    """A module of this repository.

    Attributes:
        digests: sha256 of its source, and of the C sources next to a package's `__init__.py`, by path from the root.
        imports: the full names of everything that it imports, in functions too, and of its own package.
        built_in: by the full name of each seam that it creates, the modules that the seam imports on demand.
    """

    digests: dict[str, Digest]
    imports: frozenset[str]
    built_in: Mapping[str, frozenset[str]]


def write_code(workspace: Workspace, params: Params) -> None:
    """Write `workspace.code_of(stage)` for each stage of the pipeline that has it as a dependency.

    Raises:
        InputError: the pipeline can't be read, such a stage runs no command of this repository, or a file of
            expectations is missing.
    """
    stages = stages_of(workspace)
    names = [name for name in stages if workspace.relative(workspace.code_of(name)) in stages[name].deps]
    files = [*installed(), *located(params.plugins, workspace.root)]
    with replace_directory(workspace.code) as folder:
        for name in names:
            code = code_of(stages[name], files)
            code.files.update(_expectations(workspace, params, name))
            write_json(folder / workspace.code_of(name).name, code)
    print(f"code: what {len(names)} stages depend on is in {workspace.code}")


def code_of(stage: Stage, plugins: Iterable[Path] = ()) -> StageCode:
    """Return the digests of the files and the versions of the packages that a stage of dvc.yaml may run.

    The stage's `meta.packages` names packages that it uses, but that only other packages import.

    Args:
        plugins: the files of all plugins. A file and the neighbours that it imports count if one of them imports from
            the package of a seam of the stage.

    Raises:
        InputError: the stage runs no command of this repository, or a plugin imports a neighbour that does not exist.
    """
    blocks = {key.partition(".")[0] for key in stage.params}
    modules = closure(imports_of_command(stage.command), blocks)
    packages = _packages(name for module in modules for name in _module(module).imports)
    packages |= set(stage.meta.get("packages", ()))
    files = digests(modules)
    owners = {name for name in modules if _module(name).built_in}
    for plugin in plugins:
        trees = {path: ast.parse(path.read_bytes()) for path in with_neighbours([plugin])}
        imports = {today(name) for tree in trees.values() for name in _imports(tree, neighbours=True)}
        if any(f"{name}.".startswith(f"{owner}.") for name in imports for owner in owners):
            files |= {f"plugins/{path.name}": _sha256(_without_docstrings(tree)) for path, tree in trees.items()}
            files |= digests(closure(imports, blocks))
            packages |= _packages(imports)
    return StageCode(files=files, packages={name: _version(name) for name in packages})


def _expectations(workspace: Workspace, params: Params, stage: str) -> dict[str, Digest]:
    """Return the digest of the file with the user's own expectations that a stage checks, by path."""
    for suite in SUITES:
        if stage == f"validate_{suite}" and (digest := digest_of_user_file(workspace, suite, params)):
            return {getattr(params, stage).expectations: digest}
    return {}


def imports_of_command(command: str) -> set[str]:
    """Return the imports of the function behind a command, and those that its file makes for all commands.

    Raises:
        InputError: the command is not one of this repository.
    """
    match command.split():
        case ["din", name]:
            file = _module_of(name)
        case ["python", "-m", "validation", name]:
            file = _ROOT / "validation" / "__main__.py"
        case _:
            raise InputError(f"dvc.yaml: {shown(command)}: expected din COMMAND, or python -m validation COMMAND")
    body = ast.parse(file.read_bytes()).body
    other = {node for node in body if isinstance(node, ast.FunctionDef) and node.name != name.replace("-", "_")}
    imported = {name for node in body if node not in other for name in _imports(node)}
    return {name for name in imported if not name.startswith("din.cli")}  # it imports the page, which no stage runs


def _module_of(command: str) -> Path:
    """Return the file in `din/cli` that defines a command, or `stages.py` if none does."""
    function = f"\ndef {command.replace('-', '_')}("
    modules = sorted((_ROOT / "din" / "cli").glob("*.py"))
    stages = _ROOT / "din" / "cli" / "stages.py"
    return next((path for path in modules if function in path.read_text(encoding="utf-8")), stages)


def closure(
    modules: Iterable[str], blocks: Collection[str], built_in: bool = True, packages: Collection[str] = PACKAGES
) -> set[str]:
    """Return the modules of this repository that an import of `modules` may import, including these.

    Args:
        modules: full names. Modules of other packages are ignored.
        blocks: names of the blocks of params.yaml that are read.
        built_in: whether to follow seams to everything that is built in.
        packages: the top-level packages whose modules count.
    """
    block_types: dict[str, Any] = {field.name: field.type for field in fields(Params)}
    read = {block_types[block].__module__ for block in blocks}
    unread = {block.__module__ for block in block_types.values()} - read
    reached: set[str] = set()
    waiting = set(modules)
    while waiting:
        name = waiting.pop()
        if name.partition(".")[0] in packages and name not in reached | unread and _path(name):
            reached.add(name)
            imports = {imported for imported in _module(name).imports if imported.partition(".")[0] in packages}
            waiting |= imports
            if built_in:
                waiting |= {module for imported in imports for module in _behind(imported)}
    return reached


def digest(
    modules: Iterable[str],
    blocks: Collection[str],
    others: Mapping[str, str] | None = None,
    built_in: bool = True,
    packages: Collection[str] = PACKAGES,
) -> Digest:
    """Return one digest of the code of some modules and of all that they may import; see `closure`.

    Args:
        others: digests of further files, such as a plugin's, by name.
    """
    files = digests(closure(modules, blocks, built_in, packages)) | dict(others or {})
    return Digest(hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest())


def digests(modules: Iterable[str]) -> dict[str, Digest]:
    """Return the sha256 of the files of modules, by path."""
    return {path: digest for name in modules for path, digest in _module(name).digests.items()}


def _packages(imports: Iterable[str]) -> set[str]:
    """Return the names, as pip knows them, of the installed packages that imports come from, including this one."""
    tops = {name.partition(".")[0] for name in imports}
    return {name for top in tops - sys.stdlib_module_names for name in _installed().get(top, ())}


@cache
def _installed() -> Mapping[str, list[str]]:
    return packages_distributions()


def _version(package: str) -> str | None:
    """Return a package's version. None if it is not installed, which its stage reports."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


@cache
def _path(name: str) -> Path | None:
    """Return the file of a module beside `din`. None if there is none."""
    place = _ROOT.joinpath(*name.split("."))
    return next((path for path in (place / "__init__.py", place.with_suffix(".py")) if path.is_file()), None)


@cache
def _module(name: str) -> Module:
    path = _path(name)
    assert path is not None
    tree = ast.parse(path.read_bytes())
    texts = {path: _without_docstrings(tree)}
    if path.name == "__init__.py":
        sources = [file for file in path.parent.iterdir() if file.suffix in _C_SOURCES]
        texts |= {file: _without_comments(file.read_text(encoding="utf-8")) for file in sources}
    return Module(
        {file.relative_to(_ROOT).as_posix(): _sha256(text) for file, text in texts.items()},
        frozenset(_imports(tree)) | {name.rpartition(".")[0]} - {""},
        {f"{name}.{seam}": modules for seam, modules in _built_in(tree)},
    )


def _sha256(text: str) -> Digest:
    return Digest(hashlib.sha256(text.encode()).hexdigest())


def _imports(tree: ast.AST, neighbours: bool = False) -> Iterator[str]:
    """Yield the imported names below a node that may be modules: for `from a import b`, both `a` and `a.b`.

    Raises:
        InputError: an import is relative, and not allowed to be one of a plugin's `neighbours`.
    """
    for node in _executed(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if neighbours and node.level:
                continue
            if node.module is None or node.level:
                raise InputError(f"`{ast.unparse(node)}`: a relative import; expected the full name of a module")
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _behind(name: str) -> frozenset[str]:
    """Return the modules that a seam imports, or nothing if the name is not that of a seam."""
    owner = name.rpartition(".")[0]
    return _module(owner).built_in.get(name, frozenset()) if _path(owner) else frozenset()


def _built_in(tree: ast.Module) -> Iterator[tuple[str, frozenset[str]]]:
    """Yield the name of each seam that a module creates, and the modules that the seam names, itself or by a group."""
    for node in tree.body:
        if (
            isinstance(node, ast.AnnAssign)
            and isinstance(node.value, ast.Call)
            and ast.unparse(node.value.func) in _SEAMS
        ):
            constants = (part.value for part in ast.walk(node.value) if isinstance(part, ast.Constant))
            texts = [value for value in constants if isinstance(value, str)]
            groups = [text for text in texts if text.startswith(_GROUPS)]
            behind = [entry.module for group in groups for entry in entry_points(group=group)]
            yield (
                ast.unparse(node.target),
                frozenset(name for name in (*texts, *behind) if name.partition(".")[0] in PACKAGES and _path(name)),
            )


def _executed(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes of a tree that may be imports, so no expressions, except those that only type checkers read."""
    waiting = [node]
    while waiting:
        node = waiting.pop()
        yield node
        if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            waiting += (child for child in ast.iter_child_nodes(node) if not isinstance(child, ast.expr))


def _without_docstrings(tree: ast.AST) -> str:
    """Return Python source without comments, docstrings, other strings that are statements, and the text of `Doc`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Doc":
            node.args = []
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [part for part in node.body if not _is_text(part)]
    return ast.unparse(tree)


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _without_comments(source: str) -> str:
    """Return C source without comments, blank lines, and space at the ends of lines."""
    code = _COMMENT_OR_LITERAL.sub(lambda match: match["literal"] or " ", source)
    return "\n".join(line.strip() for line in code.splitlines() if line.strip())

"""Write the files of a repository, and merge a later release's with the user's edits.

`.din-init/` keeps the guess, and the files as they were rendered. An update renders the guess with the installed
release, and merges three ways, as git does:

    .din-init/dvc.yaml (old release)  ──┬── dvc.yaml (the user's edits)
                                        └── dvc.yaml (new release)         ──> dvc.yaml, with conflicts marked
"""

import subprocess
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

from din import documents
from din.artifacts import write_bytes, write_json
from din.errors import InputError
from din.init.render import render
from din.init.split import Set
from din.process import environment, query

FOLDER = ".din-init"
GUESS = "guess.json"


@dataclass(frozen=True)
class Kept:
    """A parameter as `.din-init/guess.json` keeps it."""

    __pydantic_config__ = documents.STRICT

    key: str
    value: Any
    reason: str


@dataclass(frozen=True)
class Merged:
    """The result of an update: paths of files that changed, and of those with conflicts."""

    changed: tuple[str, ...]
    conflicts: tuple[str, ...]


def create(root: Path, sets: Iterable[Set]) -> list[str]:
    """Write the files of a new repository, and return their paths.

    Raises:
        InputError: one of them exists, and holds something else.
    """
    sets = tuple(sets)
    files = render(sets)
    if other := [name for name, text in files.items() if (root / name).exists() and (root / name).read_text() != text]:
        raise InputError(
            f"{root / other[0]}: exists already; run `din init` in an empty folder, or `din init --update` to merge a "
            "later release into one that `din init` made"
        )
    if not (root / ".git").exists():
        query(["git", "init", "--quiet", str(root)], None, environment())
    for name, text in files.items():
        write_bytes(root / name, text.encode())
    _keep(root, sets, files)
    return sorted(files)


def update(root: Path) -> Merged:
    """Merge the files of the installed release into a repository.

    Raises:
        InputError: `din init` did not make it, or it has edits that are not committed.
    """
    kept = root / FOLDER / GUESS
    if not kept.exists():
        raise InputError(f"{kept}: not found; run `din init --update` in the root of a repository that `din init` made")
    sets = [Set(one.key, _value(one.key, one.value), one.reason) for one in documents.read(list[Kept], kept)]
    files = render(sets)
    status = query(["git", "-C", str(root), "status", "--porcelain", "--", *files], None, environment())
    if status.strip():
        raise InputError(
            f"{root}: not committed: {', '.join(status.split()[1::2])}; commit first, so that git can undo"
        )
    changed = []
    conflicts = []
    for name, text in files.items():
        merged = _merged(root / name, root / FOLDER / "files" / name, text)
        if merged.clean and (root / name).exists() and merged.text == (root / name).read_text():
            continue
        write_bytes(root / name, merged.text.encode())
        changed.append(name)
        if not merged.clean:
            conflicts.append(name)
    _keep(root, sets, files)
    return Merged(tuple(changed), tuple(conflicts))


@dataclass(frozen=True)
class _Text:
    text: str
    clean: bool


def _merged(mine: Path, base: Path, new: str) -> _Text:
    """Merge a file three ways; a file that the user removed stays removed only if the release did not change it."""
    if not base.exists():
        return _Text(new, not mine.exists() or mine.read_text() == new)
    if not mine.exists() or base.read_text() == new:
        return _Text(mine.read_text() if mine.exists() else new, True)
    with tempfile.TemporaryDirectory() as folder:
        theirs = Path(folder) / "new"
        theirs.write_text(new)
        command = ["git", "merge-file", "-p", "-L", "yours", "-L", "before", "-L", "new release"]
        done = subprocess.run([*command, str(mine), str(base), str(theirs)], capture_output=True, text=True)
    if done.returncode < 0 or done.returncode > 127:
        raise InputError(f"{mine}: git can't merge it: {done.stderr.strip()}")
    return _Text(done.stdout, done.returncode == 0)


def _keep(root: Path, sets: Iterable[Set], files: dict[str, str]) -> None:
    write_json(root / FOLDER / GUESS, [asdict(one) | {"value": _plain(one.value)} for one in sets])
    for name, text in files.items():
        write_bytes(root / FOLDER / "files" / name, text.encode())


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, date) else value


def _value(key: str, value: Any) -> Any:
    return date.fromisoformat(value) if key == "data.until" else value

"""Write the files of a repository, and merge a later release's with the user's edits.

`.din-init/` keeps the guess, and the files as they were rendered. An update renders the guess with the installed
release, and merges three ways, as git does:

    .din-init/dvc.yaml (old release)  ──┬── dvc.yaml (the user's edits)
                                        └── dvc.yaml (new release)         ──> dvc.yaml, with conflicts marked
"""

import json
import subprocess
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from shutil import which
from typing import Any

from din import documents
from din.artifacts import write_bytes
from din.errors import InputError
from din.init.render import render
from din.init.split import Set
from din.process import environment, query

FOLDER = ".din-init"
GUESS = "guess.json"
_MOST_CONFLICTS = 127  # git exits with their number, at most


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


def guess_of(root: Path) -> Path:
    """Return the file in a repository that keeps the guess: a list of parameters, each with its reason."""
    return root / FOLDER / GUESS


def create(root: Path, sets: Iterable[Set]) -> list[str]:
    """Write the files of a repository, and return their paths; files of an earlier guess are replaced.

    Raises:
        InputError: one of them exists, and somebody wrote or edited it.
    """
    sets = tuple(sets)
    files = render(sets)
    for name, text in files.items():
        known = (text, _text(root / FOLDER / "files" / name))
        if (root / name).exists() and _text(root / name) not in known:
            raise InputError(
                f"{root / name}: exists already, and is not what `din init` wrote; run it in an empty folder, correct "
                f"{name} by hand, or run `din init --update` to merge a later release"
            )
    if not (root / ".git").exists():
        _init_git(root)
    for name, text in files.items():
        write_bytes(root / name, text.encode())
    _keep(root, sets, files)
    return sorted(files)


def _init_git(root: Path) -> None:
    """Make a folder a git repository.

    Raises:
        InputError: git is not installed, or the folder lies in a repository.
    """
    if which("git") is None:
        raise InputError("git: not found; install it, since a run is known by its commit")
    command = ["git", "-C", str(root), "rev-parse", "--show-toplevel"]
    around = subprocess.run(command, env=environment(), capture_output=True, text=True)
    if around.returncode == 0:
        raise InputError(
            f"{root}: lies in the git repository {around.stdout.strip()}; expected a folder outside of any, since a "
            "pipeline needs its own: run `din init` elsewhere, or `git init` here before it"
        )
    query(["git", "init", "--quiet", str(root)], None, environment())


def update(root: Path) -> Merged:
    """Merge the files of the installed release into a repository.

    Raises:
        InputError: `din init` did not make it, or it has edits that are not committed.
    """
    kept = guess_of(root)
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
        mine = _text(root / name)
        base = _text(root / FOLDER / "files" / name)
        if text in (mine, base):  # where the release changes nothing, edits stay, and removed files stay removed
            continue
        merged = _merged(mine or "", base or "", text)
        write_bytes(root / name, merged.text.encode())
        changed.append(name)
        if merged.conflicts:
            conflicts.append(name)
    _keep(root, sets, files)
    return Merged(tuple(changed), tuple(conflicts))


@dataclass(frozen=True)
class _Merge:
    text: str
    conflicts: int


def _merged(mine: str, base: str, new: str) -> _Merge:
    """Merge a text three ways.

    Raises:
        InputError: git can't merge it.
    """
    with tempfile.TemporaryDirectory() as folder:
        names = []
        for name, text in (("yours", mine), ("before", base), ("new release", new)):
            names += ["-L", name]
            (Path(folder) / name).write_text(text, encoding="utf-8")
        command = ["git", "merge-file", "-p", *names, "yours", "before", "new release"]
        done = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True)
    if not 0 <= done.returncode <= _MOST_CONFLICTS:
        raise InputError(f"git merge-file failed: {done.stderr.strip()}")
    return _Merge(done.stdout, done.returncode)


def _text(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.exists() else None


def _keep(root: Path, sets: Iterable[Set], files: dict[str, str]) -> None:
    guess = [asdict(one) | {"value": _plain(one.value)} for one in sets]
    text = json.dumps(guess, indent=2, ensure_ascii=False)  # unlike `write_json`, it keeps the order of mappings
    write_bytes(guess_of(root), text.encode())
    for name, text in files.items():
        write_bytes(root / FOLDER / "files" / name, text.encode())


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, date) else value


def _value(key: str, value: Any) -> Any:
    return date.fromisoformat(value) if key == "data.until" else value

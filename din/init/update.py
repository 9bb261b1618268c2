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
from pathlib import Path
from shutil import which

from din import documents
from din.artifacts import write_bytes
from din.errors import InputError
from din.init.render import render
from din.init.split import Set
from din.process import environment, query

FOLDER = ".din-init"
_MOST_CONFLICTS = 127  # git exits with their number, at most


@dataclass(frozen=True)
class Merged:
    """The result of an update: paths of files that changed, and of those with conflicts."""

    changed: tuple[str, ...]
    conflicts: tuple[str, ...]


def guess_of(root: Path) -> Path:
    """Return the file in a repository that keeps the guess: a list of parameters, each with its reason."""
    return root / FOLDER / "guess.json"


def create(root: Path, sets: Iterable[Set]) -> list[str]:
    """Write the files of a repository, and return their paths; files of an earlier guess are replaced.

    Raises:
        InputError: one of them exists, and somebody wrote or edited it.
    """
    sets = tuple(sets)
    files = render(sets)
    for name, text in files.items():
        mine = _text(root / name)
        if mine not in (None, text, _text(root / FOLDER / "files" / name)):
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
    sets = documents.read(list[Set], kept)
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
        changed.append(name)
        if _merge(root / name, base or "", text):
            conflicts.append(name)
    _keep(root, sets, files)
    return Merged(tuple(changed), tuple(conflicts))


def _merge(mine: Path, base: str, new: str) -> int:
    """Merge a file three ways, and return the number of conflicts, which are marked in it.

    Raises:
        InputError: git can't merge it.
    """
    with tempfile.TemporaryDirectory() as folder:
        names = []
        for name, text in (("yours", _text(mine) or ""), ("before", base), ("new release", new)):
            names += ["-L", name]
            (Path(folder) / name).write_text(text, encoding="utf-8")
        command = ["git", "merge-file", "-p", *names, "yours", "before", "new release"]
        done = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True)
    if not 0 <= done.returncode <= _MOST_CONFLICTS:
        raise InputError(f"git merge-file failed: {done.stderr.strip()}")
    write_bytes(mine, done.stdout.encode())
    return done.returncode


def _text(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.exists() else None


def _keep(root: Path, sets: Iterable[Set], files: dict[str, str]) -> None:
    text = json.dumps([asdict(one) for one in sets], indent=2, ensure_ascii=False)  # keeps the order of mappings
    write_bytes(guess_of(root), text.encode())
    for name, text in files.items():
        write_bytes(root / FOLDER / "files" / name, text.encode())

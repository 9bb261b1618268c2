"""Write the files of a repository, and merge a later release's with the user's edits.

`.din-init/` keeps the guess, and the files as they were rendered. An update renders the guess with the installed
release, and merges three ways, as git does:

    .din-init/dvc.yaml (old release)  ──┬── dvc.yaml (the user's edits)
                                        └── dvc.yaml (new release)         ──> dvc.yaml, with conflicts marked
"""

import json
import os
import subprocess
import tempfile
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from shutil import which

from din import documents
from din.artifacts import write_bytes
from din.errors import InputError, listed
from din.init.render import render
from din.init.split import Set
from din.process import environment, query

FOLDER = ".din-init"
_GUESS = f"{FOLDER}/guess.json"  # a list of parameters, each with its reason
_MOST_CONFLICTS = 127  # git exits with their number, at most


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


def update(root: Path) -> None:
    """Merge the files of the installed release into a repository, and print what changed.

    Raises:
        InputError: `din init` did not make it, it has edits that are not committed, or lines of both conflict.
    """
    kept = root / _GUESS
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
        mine = root / name
        base = root / FOLDER / "files" / name
        # Where the release changes nothing, edits stay, and a removed file stays removed.
        if text in (_text(mine), _text(base)) or (base.exists() and not mine.exists()):
            continue
        changed.append(name)
        if not mine.exists():
            write_bytes(mine, text.encode())
        elif _merge(mine, base, text):
            conflicts.append(name)
    _keep(root, sets, files)
    if changed:
        print(f"merged {listed(changed)}; look at the changes with git diff")
    else:
        print("up to date: this release renders the same files")
    if conflicts:
        raise InputError(
            f"{listed(conflicts)}: your edits and the new release change the same lines; choose between <<<<<<< and "
            ">>>>>>> there, and commit"
        )


def _merge(mine: Path, base: Path, new: str) -> int:
    """Merge a file three ways, and return the number of conflicts, which are marked in it.

    Raises:
        InputError: git can't merge it.
    """
    with tempfile.TemporaryDirectory() as folder:
        later = Path(folder) / mine.name
        later.write_text(new, encoding="utf-8")
        labels = ["-L", "yours", "-L", "before", "-L", "new release"]
        command = ["git", "merge-file", *labels, str(mine), str(base if base.exists() else os.devnull), str(later)]
        done = subprocess.run(command, env=environment(), capture_output=True, text=True)
    if not 0 <= done.returncode <= _MOST_CONFLICTS:
        raise InputError(f"git merge-file failed: {done.stderr.strip()}")
    return done.returncode


def _text(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.exists() else None


def _keep(root: Path, sets: Iterable[Set], files: dict[str, str]) -> None:
    text = json.dumps([asdict(one) for one in sets], indent=2, ensure_ascii=False)  # keeps the order of mappings
    write_bytes(root / _GUESS, text.encode())
    for name, text in files.items():
        write_bytes(root / FOLDER / "files" / name, text.encode())

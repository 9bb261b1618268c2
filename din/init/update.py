"""Write the files of a repository, and merge a later release's with the user's edits.

`.din-init/` keeps the guess, and the files as they were rendered. An update renders the guess with the installed
release, and merges three ways, as git does:

    .din-init/files/dvc.yaml (old release)  ──┬── dvc.yaml (the user's edits)
                                              └── dvc.yaml (new release)         ──> dvc.yaml, with conflicts marked
"""

import json
import os
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from shutil import which

from din import documents
from din.artifacts import write_bytes
from din.errors import InputError, listed
from din.git import git
from din.init.choice import Choice
from din.init.render import render
from din.process import environment, query

_GUESS = ".din-init/guess.json"
_FILES = ".din-init/files"
_MOST_CONFLICTS = 127  # git exits with their number, at most


def create(root: Path, guessed: Mapping[str, Choice]) -> list[str]:
    """Write the files of a repository, and return their paths; files of an earlier guess are replaced.

    Raises:
        InputError: one of them exists, and somebody wrote or edited it.
    """
    files = render(guessed)
    for name, text in files.items():
        if _text(root / name) not in (None, text, _text(root / _FILES / name)):
            raise InputError(
                f"{root / name}: exists already, and is not what `din init` wrote; run it in an empty folder, correct "
                f"{name} by hand, or run `din init --update` to merge a later release"
            )
    if not (root / ".git").exists():
        _init_git(root)
    for name, text in files.items():
        write_bytes(root / name, text.encode())
    _keep(root, guessed, files)
    return sorted(files)


def _init_git(root: Path) -> None:
    if which("git") is None:
        raise InputError("git: not found; install it: each run is identified by its commit")
    for parent in root.resolve().parents:
        if (parent / ".git").exists():
            raise InputError(
                f"{root}: lies in the git repository {parent}; a pipeline needs a repository of its own: run `din "
                "init` in a folder outside of it, or `git init` here first"
            )
    query(["git", "init", "--quiet", str(root)], None, environment())


def update(root: Path) -> None:
    """Merge the files of the installed release into a repository, and print what changed.

    Raises:
        InputError: `din init` did not make it, it has edits that are not committed, or lines of both conflict.
    """
    guessed = documents.read(dict[str, Choice], root / _GUESS, "run `din init --update` where `din init` was run")
    files = render(guessed)
    if status := git(root, "status", "--porcelain", "--", *files).split():
        raise InputError(f"{root}: not committed: {', '.join(status[1::2])}; commit first, so that git can undo")
    changed = []
    conflicts = []
    for name, text in files.items():
        mine = root / name
        base = root / _FILES / name
        # Where the release changes nothing, edits stay, and a removed file stays removed.
        if text in (_text(mine), _text(base)) or (base.exists() and not mine.exists()):
            continue
        changed.append(name)
        if not mine.exists():
            write_bytes(mine, text.encode())
        elif _merge(mine, base, text):
            conflicts.append(name)
    _keep(root, guessed, files)
    merged = f"merged {listed(changed)}; look at the changes with git diff"
    print(merged if changed else "up to date: this release renders the same files")
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
    with tempfile.NamedTemporaryFile() as later:
        Path(later.name).write_text(new, encoding="utf-8")
        labels = ["-L", "yours", "-L", "before", "-L", "new release"]
        command = ["git", "merge-file", *labels, str(mine), str(base if base.exists() else os.devnull), later.name]
        done = subprocess.run(command, env=environment(), capture_output=True, text=True)
    if not 0 <= done.returncode <= _MOST_CONFLICTS:
        raise InputError(f"git merge-file failed: {done.stderr.strip()}")
    return done.returncode


def _text(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.exists() else None


def _keep(root: Path, guessed: Mapping[str, Choice], files: Mapping[str, str]) -> None:
    text = json.dumps({key: asdict(one) for key, one in guessed.items()}, indent=2, ensure_ascii=False)
    write_bytes(root / _GUESS, text.encode())  # keys in their order, as a mapping has them in params.yaml
    for name, text in files.items():
        write_bytes(root / _FILES / name, text.encode())

"""The command `din init`: guess, write the files of a repository, and print what was guessed and what to do next.

`.din-init/` keeps the guess, and the files as they were rendered. `din init --update` renders the guess with the
installed release into `.din-init/files`, and git applies to the user's files what changed there.
"""

import json
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from shutil import which

from din.base import documents
from din.base.artifacts import write_bytes
from din.base.errors import InputError, listed
from din.base.git import git
from din.base.process import CommandFailed, environment, query
from din.base.workspace import Workspace
from din.data import times
from din_start.init import find
from din_start.init.choice import Choice
from din_start.init.guess import guess, of_publisher
from din_start.init.look import look
from din_start.init.render import render

_GUESS = ".din-init/guess.json"
_FILES = ".din-init/files"


def init(workspace: Workspace, place: str | None, tables: Mapping[str, str], overrides: Mapping[str, str]) -> None:
    """Make a repository that trains a model of a log, and print what was guessed.

    Args:
        workspace: an empty folder, or one with nothing but the log.
        place: a folder, a zip or a file, to search for tables, or None.
        tables: the paths of `events`, `items`, `users` and `history`; a named table wins over a found one.
        overrides: what a person named: columns by their role, the unit, the label, the split and the encoding.

    Raises:
        InputError: the log can't be read, a role can't be guessed, or the folder holds other files of these names.
    """
    options = {**tables, **overrides}
    if empty := [name for name, text in {"the log": place, **options}.items() if text == ""]:
        raise InputError(f"{listed(empty)}: empty; expected a path or a column: is a variable of the shell not set?")
    if place is not None and (source := find.publisher(workspace, place)):
        guessed = _published(workspace, source, options)
    else:
        guessed = _from_tables(workspace, place, tables, overrides)
    written = create(workspace.root, guessed)
    for key, choice in guessed.items():
        value = str(choice.value)
        print(f"{key}: {value if value.isprintable() else repr(value)}")
        print("\n".join(f"    {line}" for line in choice.lines), end="\n\n")
    events = guessed.get("fetch.table.events")
    for line in events.lines[1:] if events else ():
        print(line)
    print(f"wrote {listed(written)}")
    print("Every guess and its reason is in params.yaml; correct what is wrong there. Then run:\n")
    if which("dvc") is None:
        print("    pip install --requirement requirements.txt")
    print("    dvc repro && din promote")
    if "train.start" in guessed:
        print("    din pin && dvc repro && din promote   # whenever the log has grown: continue the champion")
    print("    din tune                    # search for better hyperparameters; needs the extra `tune`")


def _published(workspace: Workspace, source: Mapping[str, Choice], options: Mapping[str, str]) -> dict[str, Choice]:
    """Return the parameters of a publisher's log.

    Raises:
        InputError: there are options, which its reader does not have, or the files are others of these names.
    """
    name = source["fetch.source"].value
    advice = "name the files with --events, --items, --users and --history to read them as tables of your own"
    if others := options.keys() - {"split"}:
        flags = listed(f"--{option}" for option in sorted(others))
        raise InputError(f"{flags}: the reader of {name} decides the tables and columns itself; drop this, or {advice}")
    try:
        return of_publisher(workspace, source, options.get("split"))
    except InputError as error:
        raise InputError(f"{error}, or {advice}") from None


def _from_tables(
    workspace: Workspace, place: str | None, tables: Mapping[str, str], overrides: Mapping[str, str]
) -> dict[str, Choice]:
    """Return the parameters of a log in tables of one's own; see `init` for the arguments.

    Raises:
        InputError: see `init`. The message names the option of the unit, because there is no params.yaml yet.
    """
    try:
        looks = find.tables(workspace, place, overrides) if place is not None else {}
        for table, paths in tables.items():
            looks[table] = look(workspace, paths, f"--{table}", overrides.get("encoding"))
        return guess(workspace, looks, overrides, place)
    except InputError as error:
        raise InputError(str(error).replace(times.UNIT_KEY, "--unit")) from None


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
    guess = json.dumps({key: asdict(choice) for key, choice in guessed.items()}, indent=2, ensure_ascii=False)
    _write(root / _FILES, files)  # first, or a kill would leave files that look like somebody's
    _write(root, files | {_GUESS: guess})  # keys in their order, as a mapping has them in params.yaml
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
    """Merge the files of the installed release into a repository, stage the result, and print what changed.

    Raises:
        InputError: `din init` did not make it, it has edits that are not committed, or lines of both conflict.
        CommandFailed: git can't merge.
    """
    root = root.resolve()
    guessed = documents.read(dict[str, Choice], root / _GUESS, "run `din init --update` where `din init` was run")
    files = render(guessed)
    if status := git(root, "status", "--porcelain", "--", *files, _GUESS).split():
        raise InputError(f"{root}: not committed: {', '.join(status[1::2])}; commit first, so that git can undo")
    _forget_rendering(root)
    # A removed file stays removed.
    wanted = [name for name in files if (root / name).exists() or not (root / _FILES / name).exists()]
    _write(root / _FILES, {name: files[name] for name in wanted})
    git(root, "add", _FILES)
    conflicts: list[str] = []
    with tempfile.NamedTemporaryFile() as patch:
        news = [f"{_FILES}/{name}" for name in wanted]
        where = (f"--output={patch.name}", f"--relative={_FILES}")
        git(root, "diff-index", "--cached", "--patch", *where, "HEAD", "--", *news)
        if not Path(patch.name).stat().st_size:
            print("up to date: this release renders the same files")
            return
        try:
            git(root, "apply", "--3way", patch.name)
        except CommandFailed:
            conflicts = git(root, "diff", "--name-only", "--diff-filter=U").split()
            if not conflicts:
                _forget_rendering(root)
                raise
    changed = git(root, "diff", "--name-only", "HEAD", "--", *files).split()
    print(f"merged {listed(changed)}; look at the changes with git diff HEAD")
    if conflicts:
        raise InputError(
            f"{listed(conflicts)}: your edits and the new release change the same lines; choose between <<<<<<< and "
            ">>>>>>> there, and commit"
        )


def _forget_rendering(root: Path) -> None:
    """Restore the rendered files of the last commit: an update that was interrupted has rendered, but merged nothing.

    With its files, the next update would find nothing new.
    """
    git(root, "restore", "--staged", "--worktree", "--", _FILES)
    git(root, "clean", "--quiet", "--force", "-d", "--", _FILES)


def _text(path: Path) -> str | None:
    """Return a file's text, or None if there is no file. It may hold anything, since others may have written it."""
    return path.read_text(encoding="utf-8", errors="surrogateescape") if path.exists() else None


def _write(folder: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        write_bytes(folder / name, text.encode())

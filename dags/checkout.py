"""A run's workspace on this worker: the commit alone, the run's parameters, the shared cache and registry.

A shallow fetch of one commit, the same for a folder and a URL; nothing is shared with the repository or another
workspace, so nothing can be pruned or locked from outside. Costs a copy of the tracked files. Built beside its place
and renamed, so it is complete or absent; one lock a run and worker.
"""

import fcntl
import logging
import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

from ruamel.yaml import YAML

from dags.process import environment, query
from din.artifacts import atomic_path
from din.errors import InputError, Unavailable
from din.names import RunId
from din.params import path_keys
from din.workspace import Workspace

FOREIGN_DAYS = 7
"""A workspace that nobody used for so long is removed: its run was closed on another worker."""

log = logging.getLogger("dags")


@dataclass(frozen=True)
class Settings:
    """The settings of this worker.

    Attributes:
        repository: an absolute path or a URL.
        home: workspaces, DVC's cache, what `din fetch` remembers; this worker's own.
        remote: DVC remote that all workers share: a folder, s3://, ...
        registry: instead of `promote.registry`; shared by all workers.
    """

    repository: str
    home: Path
    remote: str
    registry: str | None

    @classmethod
    def from_env(cls) -> "Settings":
        """From `DIN_REPOSITORY`, `DIN_HOME`, `DIN_DVC_REMOTE`, `DIN_REGISTRY`; see docs/workers.md for the defaults."""
        repository = os.environ.get("DIN_REPOSITORY") or str(Path(__file__).resolve().parent.parent)
        home = os.environ.get("DIN_HOME")
        if _remote(repository) and not home:
            raise InputError(f"DIN_REPOSITORY is {repository}: set DIN_HOME to a folder of this worker for workspaces")
        repository = repository if _remote(repository) else str(Path(repository).expanduser().resolve())
        folder = Path(home).expanduser().resolve() if home else Workspace(Path(repository)).runs
        remote = os.environ.get("DIN_DVC_REMOTE") or str(folder / "remote")
        settings = cls(repository, folder, remote, os.environ.get("DIN_REGISTRY"))
        return replace(settings, remote=settings.shared(remote, "DIN_DVC_REMOTE"))

    def commit(self, name: str | None) -> str:
        """The full id of a commit of the repository, by default of its HEAD. Says so where the checkout is dirty.

        Raises:
            InputError: there is none of that name.
        """
        try:
            if not _remote(self.repository):
                here = ("-C", self.repository)
                if not name and (dirty := self._git(*here, "status", "--short").splitlines()):
                    log.warning("%s: not committed, so not part of the run: %s", self.repository, ", ".join(dirty))
                found = self._git(*here, "rev-parse", "--verify", f"{name or 'HEAD'}^{{commit}}").split()
            elif name and re.fullmatch("[0-9a-f]{40}", name):
                found = [name]
            else:
                places = ("", "refs/", "refs/tags/", "refs/heads/")  # git's order of looking (gitrevisions)
                refs = [f"{place}{name or 'HEAD'}{peeled}" for place in places for peeled in ("^{}", "")]
                listed = self._git("ls-remote", self.repository, *refs).splitlines()  # also refs that end so
                ids = {ref: commit for commit, ref in (line.split("\t") for line in listed)}
                found = [ids[ref] for ref in refs if ref in ids]
        except Unavailable as error:
            raise InputError(
                f"{self.repository}: no commit {name or 'HEAD'} ({error}); name one with --commit"
            ) from None
        if not found:
            raise InputError(f"{self.repository}: no commit {name or 'HEAD'}; give a branch, a tag or the full id")
        return found[0]

    def absolute(self, path: str) -> str:
        """A path that starts at the repository; absolute ones and URLs as they are."""
        if "://" in path or Path(path).expanduser().is_absolute() or _remote(self.repository):
            return path
        return os.path.normpath(Path(self.repository) / path)

    def shared(self, place: str, setting: str) -> str:
        """Return `absolute` of a place that all workers use.

        Raises:
            InputError: the place is relative, and the repository is not a folder.
        """
        place = self.absolute(place)
        if "://" not in place and not Path(place).expanduser().is_absolute():
            raise InputError(
                f"{place!r} is relative, and the repository {self.repository} is no folder; "
                f"set {setting} to a place that all workers share"
            )
        return place

    @staticmethod
    def _git(*arguments: str) -> str:
        return query(["git", *arguments], None, environment())


@contextmanager
def workspace(settings: Settings, run_id: str) -> Iterator[tuple[Workspace, int]]:
    """The workspace of a run on this worker (there or not), and the descriptor of its lock, held until the end.

    Raises:
        InputError: the run's id can't be a name.
    """
    name = RunId.of(run_id)
    root = settings.home / "workspaces" / name
    locked = settings.home / "locks" / name
    for folder in (root.parent, locked.parent):
        folder.mkdir(parents=True, exist_ok=True)
    lock = _lock(locked, wait=False)
    if lock is None:
        log.info("waiting for another task of run %s on this worker", run_id)
        lock = _lock(locked, wait=True)
    assert lock is not None
    with lock:
        os.utime(lock.fileno())
        _sweep(settings)
        yield Workspace(root), lock.fileno()


def _lock(path: Path, wait: bool) -> IO[str] | None:
    """The locked file, which nobody removes while it is locked; None: locked by another, and not waited for."""
    while True:
        lock = path.open("a")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            lock.close()
            return None
        if os.fstat(lock.fileno()).st_nlink:
            return lock
        lock.close()  # swept while we waited


def _sweep(settings: Settings) -> None:
    """Remove workspaces that nobody used for `FOREIGN_DAYS` and nobody uses now, and their locks."""
    for path in (settings.home / "locks").iterdir():
        lock = _lock(path, wait=False)
        if lock is None:
            continue
        with lock:
            if time.time() - os.fstat(lock.fileno()).st_mtime > FOREIGN_DAYS * 86_400:
                discard(settings.home / "workspaces" / path.name)
                path.unlink()


def discard(root: Path) -> None:
    """Remove a workspace and what kills left beside it."""
    shutil.rmtree(_new(root), ignore_errors=True)
    _clear(root)


def _new(root: Path) -> Path:
    """Return where a workspace is built."""
    return root.with_name(f".new-{root.name}")


def _clear(root: Path) -> None:
    """Remove a workspace. It leaves its place at once, so it is complete or absent."""
    old = root.with_name(f".old-{root.name}")
    shutil.rmtree(old, ignore_errors=True)
    if root.exists():
        root.rename(old)
    shutil.rmtree(old, ignore_errors=True)


def check_out(settings: Settings, commit: str, workspace: Workspace) -> None:
    """Make a workspace a checkout of the commit alone, unless it is; DVC's cache and remote are this worker's.

    The checkpoints of another commit stay: each is bound to its parameters and code. Opening a run again under a branch
    that has moved passes through here, and must not lose what a killed training left.

    Raises:
        Unavailable: git failed.
    """
    root = workspace.root
    if _head(root) != commit:
        new = _new(root)
        shutil.rmtree(new, ignore_errors=True)
        query(["git", "init", "--quiet", str(new)], None, environment())
        _git(new, "fetch", "--quiet", "--depth=1", settings.repository, commit)
        _git(new, "checkout", "--quiet", "--detach", "FETCH_HEAD")
        # params.yaml and dvc.lock are the run's: kept in its record, no change of the code
        _git(new, "update-index", "--skip-worktree", *_git(new, "ls-files", "params.yaml", "dvc.lock").split())
        Workspace(new).lock.unlink(missing_ok=True)
        copy_files(settings.home / "fetch", Workspace(new).fetched)
        if workspace.checkpoints.is_dir():
            workspace.checkpoints.rename(Workspace(new).checkpoints)
        _clear(root)
        new.rename(root)
    cache = settings.home / "cache"
    config = f"[core]\nremote = runs\n[cache]\ndir = {cache}\n['remote \"runs\"']\nurl = {settings.remote}\n"
    (root / ".dvc" / "config.local").write_text(config)


def _head(root: Path) -> str | None:
    """The commit that is checked out in a folder; None: no sound repository."""
    try:
        return _git(root, "rev-parse", "HEAD").strip()
    except Unavailable:
        return None


def copy_files(source: Path, target: Path) -> None:
    """Copy the files of a folder, each complete or absent: what `din fetch` remembers, from run to run of a worker."""
    target.mkdir(parents=True, exist_ok=True)
    for path in source.iterdir() if source.is_dir() else ():
        if path.is_file() and not path.name.startswith("."):
            new = target / f".{path.name}-{os.getpid()}"  # runs on one worker copy at the same time
            shutil.copy2(path, new)
            new.replace(target / path.name)


def set_params(settings: Settings, workspace: Workspace, values: Mapping[str, Any]) -> None:
    """Write params.yaml: the commit's, with the run's values by dotted key, and with paths that hold anywhere.

    Raises:
        InputError: an unknown key, or a registry that other workers would not find.
    """
    yaml = YAML()
    params = yaml.load(_git(workspace.root, "show", "HEAD:params.yaml"))
    for key, value in values.items():
        block, name = _find(params, key)
        block[name] = value
    for key in path_keys():
        block, name = _find(params, key)
        if block[name]:
            block[name] = ",".join(settings.absolute(part.strip()) for part in str(block[name]).split(","))
    promote = params["promote"]
    promote["registry"] = settings.shared(settings.registry or promote["registry"], "DIN_REGISTRY")
    with atomic_path(workspace.params) as temporary:
        yaml.dump(params, temporary)


def _find(params: Any, key: str) -> tuple[Any, str]:
    """The block that holds a dotted key, and the key's name in it."""
    block, name, value = params, "", params
    for part in key.split("."):
        if not isinstance(value, dict) or part not in value:
            known = ", ".join(value) if isinstance(value, dict) else "no further keys"
            raise InputError(f"parameter {key!r} is unknown: no {part!r} there; expected one of: {known}")
        block, name, value = value, part, value[part]
    return block, name


def _remote(repository: str) -> bool:
    """Whether git reaches it by URL or `host:path`, not as a folder."""
    return "://" in repository or (":" in repository and not Path(repository).exists())


def _git(root: Path, *arguments: str) -> str:
    """Git in a workspace, never in a repository around it."""
    return query(["git", "-C", str(root), *arguments], None, environment(GIT_CEILING_DIRECTORIES=str(root.parent)))

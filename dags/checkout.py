"""A run's workspace on this worker: a checkout of one commit, with the run's parameters and the shared cache.

The commit is fetched shallowly, from a folder in the same way as from a URL. Nothing is shared with the repository or
with another workspace, so nothing can be pruned or locked from outside, at the cost of a copy of the tracked files. A
checkout is complete or absent, and each run has one lock per worker.
"""

import fcntl
import logging
import os
import re
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from shutil import which
from typing import IO, Any

from ruamel.yaml import YAML

from din.base.artifacts import atomic_path, replace_directory
from din.base.errors import InputError, Unavailable, shown
from din.base.git import absolute, check_out_commit, git, is_remote, resolved
from din.base.names import RunId
from din.base.process import CommandFailed, environment, query
from din.base.workspace import Workspace
from din.params.blocks import parse
from din.params.overlays import make_paths_absolute, nested, overlaid
from din.params.reading import Params, plain

FOREIGN_DAYS = 7
"""A workspace is removed after this number of days without use, since its run was closed on another worker."""

log = logging.getLogger("dags")


@dataclass(frozen=True)
class WorkerSettings:
    """The settings of this worker.

    Attributes:
        repository: an absolute path or a URL.
        home: this worker's own folder for workspaces, DVC's cache, and the memory of `din fetch`.
        remote: the DVC remote that all workers share: a folder, s3://, ...
        registry: the registry that all workers share, if it is not `promote.registry`.
    """

    repository: str
    home: Path
    remote: str
    registry: str | None

    @classmethod
    def from_env(cls) -> "WorkerSettings":
        """Read `DIN_REPOSITORY`, `DIN_HOME`, `DIN_DVC_REMOTE` and `DIN_REGISTRY`; docs/workers.md has the defaults.

        Raises:
            InputError: a setting is missing or relative where other workers would not find it, or git or DVC is not
                installed.
        """
        if which("git") is None:
            raise InputError("git: not found; install it on this worker: each run is a checkout of a commit")
        if find_spec("dvc") is None:
            raise InputError(f"dvc: not installed for {sys.executable}; pip install dvc: it runs the stages")
        code_root = Path(__file__).resolve().parent.parent
        here = (
            code_root if Workspace(code_root).pipeline.exists() else Path.cwd()
        )  # an installed package holds no pipeline
        repository = os.environ.get("DIN_REPOSITORY") or str(here)
        home = os.environ.get("DIN_HOME")
        if is_remote(repository) and not home:
            raise InputError(f"DIN_REPOSITORY is {repository}: set DIN_HOME to a folder of this worker for workspaces")
        repository = resolved(repository)
        folder = Path(home).expanduser().resolve() if home else Workspace(Path(repository)).runs
        remote = _shared(os.environ.get("DIN_DVC_REMOTE") or str(folder / "remote"), repository, "DIN_DVC_REMOTE")
        return cls(repository, folder, remote, os.environ.get("DIN_REGISTRY"))

    def commit(self, name: str | None) -> str:
        """Return the full id of a commit of the repository, by default of HEAD, and warn of uncommitted changes.

        Raises:
            InputError: no commit has that name.
            Unavailable: the repository is a URL and does not answer.
        """
        if name and re.fullmatch("[0-9a-f]{40}", name):
            return name
        places = ("", "refs/", "refs/tags/", "refs/heads/")  # the order in which git looks (gitrevisions)
        refs = [f"{place}{name or 'HEAD'}{peeled}" for place in places for peeled in ("^{}", "")]
        no_commit = f"{self.repository}: no commit {shown(name or 'HEAD', quotes=False)}"
        try:
            if not name and not is_remote(self.repository):
                dirty = git(Path(self.repository), "status", "--short").splitlines()
                if dirty:
                    log.warning("%s: not committed, so not part of the run: %s", self.repository, ", ".join(dirty))
            listed = query(["git", "ls-remote", self.repository, *refs], None, environment()).split()
        except Unavailable as error:
            if is_remote(self.repository) and "\0" not in (name or ""):
                raise
            raise InputError(f"{no_commit} ({error}); name one with --commit") from None
        ids = dict(zip(listed[1::2], listed[::2], strict=True))  # also of refs that only end alike
        for ref in refs:
            if ref in ids:
                return ids[ref]
        raise InputError(f"{no_commit}; give a branch, a tag or the full id")


def _shared(place: str, repository: str, setting: str) -> str:
    """Return `absolute` of a place that all workers use; raise InputError if it is relative to a URL."""
    place = absolute(place, repository)
    if "://" not in place and not Path(place).expanduser().is_absolute():
        raise InputError(
            f"{place!r} is relative, but the repository {repository} is not a folder; "
            f"set {setting} to a place that all workers share"
        )
    return place


@contextmanager
def workspace(settings: WorkerSettings, run_id: str) -> Iterator[tuple[Workspace, int]]:
    """Lock the workspace of a run on this worker, and yield it and the lock's file descriptor.

    The workspace need not exist. The package `filelock` would not do: it keeps the descriptor private, which
    `dags.pinned_run` hands to the process in the checkout, and its release unlocks even while that process still works.

    Raises:
        InputError: the run's id can't be the name of a folder.
    """
    name = RunId.of(run_id)
    root = settings.home / "workspaces" / name
    locks = settings.home / "locks"
    for folder in (root.parent, locks):
        folder.mkdir(parents=True, exist_ok=True)
    with (locks / name).open("a") as lock:
        if not _locked(lock):
            log.info("waiting for another task of run %s on this worker", run_id)
            fcntl.flock(lock, fcntl.LOCK_EX)
        os.utime(lock.fileno())
        _sweep(root.parent, locks)
        yield Workspace(root), lock.fileno()


def _locked(lock: IO[str]) -> bool:
    """Lock a file, unless another process holds its lock."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _sweep(workspaces: Path, locks: Path) -> None:
    """Remove workspaces that nobody uses and nobody has used for `FOREIGN_DAYS`, and what killed tasks left of them."""
    for name in {re.sub(r"^\.tmp-(new|old)-", "", path.name) for path in workspaces.iterdir()}:
        with (locks / name).open("a") as lock:
            unused = time.time() - os.fstat(lock.fileno()).st_mtime > FOREIGN_DAYS * 86_400
            if unused and _locked(lock):
                discard(workspaces / name)


def discard(root: Path) -> None:
    """Remove a workspace, and what killed tasks have left beside it; a kill leaves it whole or empty."""
    with replace_directory(root):
        pass
    root.rmdir()


def check_out(settings: WorkerSettings, commit: str, workspace: Workspace) -> None:
    """Make a workspace a checkout of one commit, unless it is one already, with this worker's DVC cache and remote.

    The checkpoints of another commit are kept, since each is bound to its parameters and code: a run that is opened
    again under a moved branch must not lose the checkpoints of a killed training.

    Raises:
        InputError: the repository has no such commit, or the commit holds no pipeline.
        Unavailable: git failed.
    """
    root = workspace.root
    if _head(root) != commit:
        with replace_directory(root) as folder:
            _fetch(settings.repository, commit, folder)
            new = Workspace(folder)
            for name in ("params.yaml", "dvc.yaml", ".dvc/config"):
                if not (folder / name).exists():
                    raise InputError(f"{settings.repository}: commit {commit} holds no {name}; name one that does")
            new.lock.unlink(missing_ok=True)
            new.state.mkdir(exist_ok=True)
            memory = settings.home / "fetch"
            memory.mkdir(parents=True, exist_ok=True)
            new.fetched.symlink_to(memory)  # runs share it; one at a time fetches
            if workspace.checkpoints.is_dir():
                workspace.checkpoints.rename(new.checkpoints)
    cache = settings.home / "cache"
    config = f"""[core]\nremote = runs\n[cache]\ndir = "{cache}"\n['remote "runs"']\nurl = "{settings.remote}"\n"""
    (root / ".dvc" / "config.local").write_text(config)


def _fetch(repository: str, commit: str, folder: Path) -> None:
    try:
        check_out_commit(repository, commit, folder)
    except CommandFailed as error:
        if "not our ref" in str(error):
            raise InputError(f"{repository}: no commit {commit}; push it, or name another with --commit") from None
        raise


def _head(root: Path) -> str | None:
    """Return the commit that is checked out in a folder, or None if it is not a sound repository."""
    try:
        return git(root, "rev-parse", "HEAD").strip()
    except Unavailable:
        return None


def set_params(settings: WorkerSettings, workspace: Workspace, values: Mapping[str, Any]) -> None:
    """Write the commit's params.yaml with the run's values, given by dotted key, and with absolute paths.

    Raises:
        InputError: a key is unknown, the commit's file is not valid, or other workers would not find the registry.
    """
    text = git(workspace.root, "show", "HEAD:params.yaml")
    committed = plain(text, "params.yaml of the commit")
    parse(Params, committed, "params.yaml of the commit")
    params = overlaid(committed, nested(values), "the run's parameters")
    make_paths_absolute(params, settings.repository)
    registry = settings.registry or params["promote"]["registry"]
    params["promote"]["registry"] = _shared(registry, settings.repository, "DIN_REGISTRY")
    with atomic_path(workspace.params) as temporary:
        YAML().dump(params, temporary)

"""Run git in a checkout, make a checkout of one commit, and distinguish folders from URLs.

A repository is given as a folder, or as another address that `git fetch` accepts: a URL or `host:path`.
"""

import os
from pathlib import Path

from din.base.process import environment, query


def git(root: Path, *arguments: str) -> str:
    """Run git in a checkout, never in a repository around it, and return its output.

    Raises:
        CommandFailed: git failed.
    """
    return query(["git", "-C", str(root), *arguments], None, environment(GIT_CEILING_DIRECTORIES=str(root.parent)))


def check_out_commit(repository: str, commit: str, root: Path) -> None:
    """Make a new folder a shallow checkout of one commit, which shares nothing with the repository.

    Args:
        repository: a folder or a URL.
        commit: the full id.
        root: an empty folder, or one that does not exist yet.

    Raises:
        CommandFailed: the repository can't be read, or lacks the commit.
    """
    query(["git", "init", "--quiet", str(root)], None, environment())
    git(root, "fetch", "--quiet", "--depth=1", repository, commit)
    git(root, "checkout", "--quiet", "--detach", "FETCH_HEAD")


def is_remote(repository: str) -> bool:
    """Return whether a repository is a URL or `host:path`, not a folder."""
    return "://" in repository or (":" in repository and not Path(repository).exists())


def resolved(repository: str) -> str:
    """Return a repository that means the same in any directory: an absolute folder, or its URL."""
    return repository if is_remote(repository) else str(Path(repository).expanduser().resolve())


def absolute(path: str, repository: str) -> str:
    """Return a path relative to a resolved repository as an absolute one.

    Absolute paths and URLs are returned unchanged, and so are all paths if the repository is not a folder.
    """
    if "://" in path or Path(path).expanduser().is_absolute() or is_remote(repository):
        return path
    return os.path.normpath(Path(repository) / path)

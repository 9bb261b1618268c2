"""Run git in a checkout, and make a checkout of one commit."""

from pathlib import Path

from din.process import environment, query


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

"""The files of `data/raw/`, to compare before and after a fetch."""

from din.workspace import Workspace


def snapshot(workspace: Workspace) -> dict[str, tuple[bytes, int, int]]:
    """Return bytes, inode and modification time of every file of data/raw."""
    paths = sorted(path for path in workspace.raw.rglob("*") if path.is_file())
    return {
        path.relative_to(workspace.raw).as_posix(): (path.read_bytes(), path.stat().st_ino, path.stat().st_mtime_ns)
        for path in paths
    }

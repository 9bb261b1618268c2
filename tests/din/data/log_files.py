"""Small table files as bytes, and the files of `data/raw/` to compare before and after a fetch."""

from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from din.base.workspace import Workspace

HEADER = "user_id,item_id,timestamp,label"
T = 1_700_006_400
GOOD = f"{HEADER}\n1,10,{T},0\n"


def parquet(**columns: Any) -> bytes:
    """Return the bytes of a Parquet file, by default with the key columns of events."""
    sink = pa.BufferOutputStream()
    keys = {"user_id": [1], "item_id": [10], "timestamp": [T], "label": [0]}
    pq.write_table(pa.table({**keys, **columns}), sink)
    return sink.getvalue().to_pybytes()


def snapshot(workspace: Workspace) -> dict[str, tuple[bytes, int, int]]:
    paths = sorted(path for path in workspace.raw.rglob("*") if path.is_file())
    return {
        path.relative_to(workspace.raw).as_posix(): (path.read_bytes(), path.stat().st_ino, path.stat().st_mtime_ns)
        for path in paths
    }


def bytes_of(workspace: Workspace) -> dict[str, bytes]:
    return {path: content for path, (content, *_) in snapshot(workspace).items()}

"""DuckDB's lack of memory or disk is worth a retry. Its other errors are not."""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import duckdb
import pytest

from din.base.duckdb_errors import exhausted
from din.base.errors import Unavailable
from din.base.workspace import Workspace
from din.featurize import on_duckdb
from din_loop.served_answers import reading

SMALL: dict[str, Any] = {"memory_limit": "10MB", "max_temp_directory_size": "0MB"}
HUGE = "SELECT DISTINCT range::VARCHAR FROM range(3_000_000)"
FULL = "COPY (FROM range(1_000_000)) TO '/dev/full'"
needs_full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has /dev/full")


def test_too_little_memory() -> None:
    """The message is DuckDB's first line, and the next step."""
    with pytest.raises(duckdb.Error) as raised, duckdb.connect(config=SMALL) as con:
        con.execute(HUGE)
    found = exhausted(raised.value)
    assert found and str(found).startswith("DuckDB: Out of Memory Error: failed to allocate")
    assert str(found).endswith("free some memory and disk space, and run the same command again")


@needs_full
@pytest.mark.parametrize("engine", ["fetch", "featurize"])
def test_a_full_disk(engine: str, tmp_path: Path) -> None:
    """It is not called a fault of the log."""
    of: dict[str, AbstractContextManager[object]] = {
        "fetch": reading("the log"),
        "featurize": on_duckdb.session(Workspace(tmp_path), 500),
    }
    with pytest.raises(Unavailable, match="No space left on device"), of[engine]:
        duckdb.execute(FULL)


@pytest.mark.parametrize("sql", ["SELEC 1", "FROM 'missing.parquet'", "COPY (SELECT 1) TO '/missing/folder/file'"])
def test_other_errors(sql: str) -> None:
    """They are left to the caller, and so are other exceptions."""
    with pytest.raises(duckdb.Error) as raised:
        duckdb.execute(sql)
    assert exhausted(raised.value) is None and exhausted(ValueError()) is None

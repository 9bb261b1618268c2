"""Versions that `dvc repro` and Airflow promoted are reproduced in folders that never saw their runs."""

from pathlib import Path

import pytest
from reproductions import reproductions


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_versions_of_both_runners_are_reproduced(tmp_path: Path) -> None:
    """One version of each runner, with its own parameters, gives equal bits; reproductions.py makes more of them."""
    found = list(reproductions(tmp_path, 2))
    assert [one.maker for one in found] == ["Airflow", "dvc repro"]
    assert [one.code for one in found] == [0, 0], "\n".join(one.printed for one in found)
    assert len({one.version for one in found}) == 2
    assert "raw log from .din/runs/remote" in str(found[0])

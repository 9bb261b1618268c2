"""The daily study scores a day by the models of its morning, and goes on where it was interrupted."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from benchmarks.defects.delivery import draw
from benchmarks.defects.drive import start
from benchmarks.prequential import NAMES, measured, text


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_day(tmp_path: Path) -> None:
    """The first two days make the models that the third one compares, and a second call runs nothing again."""
    params = start(draw(), tmp_path / "study" / "workspace")
    days = measured(tmp_path / "study", params, [1], 1)
    assert [one.scores is None for one in days] == [True, True, False]
    assert days[-1].scores is not None
    assert {*NAMES} <= {*pq.read_table(days[-1].scores).column_names}
    assert "continues daily" in text(days)
    printed = (tmp_path / "study" / "output.txt").read_bytes()
    assert measured(tmp_path / "study", params, [1], 1) == days
    assert (tmp_path / "study" / "output.txt").read_bytes() == printed

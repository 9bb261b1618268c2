"""`make month`: the defects and the days they are planted on, the page, and a short month."""

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.month import DATA, Month, run_month, served_bad_days
from benchmarks.simulated_source import date_of
from din.base.artifacts import hash_files

LAST = 11
MONTH = Month(days=4, earlier=8, impressions=300, faults=("flood",))


@pytest.mark.parametrize("name", DATA)
def test_a_defect_is_gone_the_next_day(name: str, tmp_path: Path) -> None:
    """A planted day changes its own file, its neighbour's or the items', and the next delivery is sound."""
    source, sound = (MONTH.log(tmp_path / name)[0] for name in ("planted", "sound"))
    source.deliver(LAST)
    source.deliver(LAST, DATA[name][1])
    sound.deliver(LAST)
    planted, right = hash_files(source.folder), hash_files(sound.folder)
    (changed,) = {path for path in planted.keys() | right.keys() if planted.get(path) != right.get(path)}
    others = {"categories": "items.parquet", "shrunk": f"events/date={date_of(LAST - 1)}/part-0.parquet"}
    assert changed == others.get(name, f"events/date={date_of(LAST)}/part-0.parquet")
    source.deliver(LAST + 1)
    sound.deliver(LAST + 1)
    assert hash_files(source.folder) == hash_files(sound.folder)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_short_month(tmp_path: Path) -> None:
    """Bad days never serve, the day after learns them too, and nothing runs twice."""
    month = replace(MONTH, days=5, impressions=2000, faults=("milliseconds", "rate_20"))
    run_month(tmp_path, month)
    before = hash_files(tmp_path)
    folder, days = run_month(tmp_path, month)
    assert hash_files(tmp_path) == before
    assert [day.refused is None for day in days] == [True, True, False, False, True]
    assert [day.refused and day.refused.step for day in days[2:4]] == ["fetch", "gate"]
    assert served_bad_days(month, folder, days) == []

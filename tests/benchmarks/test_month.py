"""`make month`: the defects and the days they are planted on, the page, and a short month."""

import json
from dataclasses import replace
from pathlib import Path

import documents_of
import pytest
from bundles import bundle, crown

from benchmarks.month import DATA, LESSONS, Day, Month, run_month, served_bad_days, text
from benchmarks.source import date_of
from benchmarks.stages import Refusal
from din.artifacts import hash_files
from din.registry.registry import Registry

LAST = 11
MONTH = Month(days=4, earlier=8, impressions=300, faults=("flood",))


def test_thirty_days_have_faults_of_both_kinds() -> None:
    """They have ten faults of learning and eight of the data, and the first two days and the last one are sound."""
    planted = Month().planted()
    assert len(set(planted.values())) == len(planted) == 18
    assert (sum(name in LESSONS for name in planted.values()), sum(name in DATA for name in planted.values())) == (
        10,
        8,
    )
    assert planted.keys() <= set(range(3, 30))
    assert all(later - earlier >= 3 for earlier, later in zip(planted, [*planted][2:], strict=False))


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


def test_the_page_says_what_happened(tmp_path: Path) -> None:
    """It counts replaced champions, names what refused a day, and the registry says who served."""
    days = [
        Day(1, None, None),
        Day(2, None, None),
        Day(3, "flood", Refusal("validate_raw", [f"{tmp_path}/source: robots", "rates"])),
        Day(4, None, Refusal("gate", ["champion_delta_auc"])),
    ]
    registry = Registry(str(tmp_path / "registry"), "month")

    def promote(number: int) -> None:
        facts = json.dumps(documents_of.facts(until=MONTH.date(number)))
        crown(registry, bundle(tmp_path / f"{number}", **{"facts.json": facts}))

    for number in (1, 2):
        promote(number)
    found = text(MONTH, tmp_path, days)
    assert "Bad days: 1. Models of bad days that served: 0." in found
    assert "Bad lessons among them: 0, of which `gate` refused 0." in found
    assert "replaced on 2 of them (67 %; bar: 80 %)" in found
    assert "| 2024-01-11 | one user clicks on everything, half as often as all others together | refused at" in found
    assert "validate_raw: source: robots, rates |" in found
    promote(3)
    assert served_bad_days(MONTH, tmp_path, days) == ["2024-01-11"]


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

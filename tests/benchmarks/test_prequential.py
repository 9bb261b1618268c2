"""`python -m benchmarks.prequential`: its days, its tables, and a small study of a simulated log."""

import sys
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import study
from benchmarks.daily import CHAMPION, FIRST, SCRATCH, STALE, advantage, average
from benchmarks.logs import MONTH, read_log
from benchmarks.prequential import LEARNING, NAMES, Day, Made, days_of_runs, main, measured, settings, text
from benchmarks.source import date_of, simulated_log
from din.artifacts import hash_files
from din.errors import InputError
from din.metrics import auc
from din.names import Version
from din.params import Params, parse, to_json
from din.params.overlays import overlaid
from din.registry.registry import Registry

ROOT = Path(__file__).parents[2]
START = date(2024, 1, 10)
DAY = timedelta(days=1)
LOG_DAYS = 9
LITTLE = {
    "validate_features": {"max_unknown_items": 1.0, "max_field_auc": 1.0},
    "train": {
        "model": {"embedding_dim": 8, "attention_hidden": [16], "hidden": [32, 16]},
        "learning": {"epochs": 2},
        "compute": {"threads": 1},
    },
}


@given(st.integers(0, 60), st.integers(1, 5), st.integers(1, 60))
def test_the_first_run_has_all_splits(length: int, valid_days: int, count: int) -> None:
    """The last days are scored, two runs come before them, and the first run can learn, validate and test."""
    last = START + DAY * length
    try:
        days = days_of_runs(START, last, count, valid_days)
    except InputError as error:
        assert f"--days {count}" in str(error)
        earliest = last - DAY * (count + 1)
        assert (earliest - START).days + 1 < valid_days + 2
        return
    assert days == [last - DAY * back for back in reversed(range(count + 2))]
    assert (days[0] - START).days + 1 >= valid_days + 2


def scores(seed: int, rows: int = 400) -> pa.Table:
    """Draw a day's rows, on which the models differ by their noise."""
    rng = np.random.default_rng(seed)
    label = (rng.random(rows) < 0.4).astype(np.int8)
    noise = {SCRATCH: 1.0, STALE: 2.0, CHAMPION: 1.0, FIRST: 4.0}
    models = {name: label + rng.normal(0, sd, rows) for name, sd in noise.items()}
    return pa.table({"user": np.arange(rows) % 80, "label": label, **models})


def test_a_users_rows_count_together() -> None:
    """Scores of a second training on equal rows make nothing more certain."""
    day = scores(1)
    assert average([day], STALE) == pytest.approx(auc(day["label"].to_numpy(), day[STALE].to_numpy()))
    once = advantage([day], SCRATCH, STALE, "gauc")
    twice = advantage([day, day], SCRATCH, STALE, "gauc")
    assert asdict(twice) == pytest.approx(asdict(once))
    assert once.lower < once.point < once.upper


def test_the_tables_compare_the_policies(tmp_path: Path) -> None:
    """They hold the means over days and seeds, the differences of each seed, and the cost of the daily runs."""
    drawn = {(number, seed): scores(10 * number + seed) for number in (2, 3) for seed in (1, 2)}
    daily = {SCRATCH: 30.0, STALE: 26.0, CHAMPION: 2.5}
    costs = {0: {SCRATCH: 100.0}, 1: daily, 2: daily, 3: {}}
    days = []
    for number, made in costs.items():
        for seed in (1, 2):
            path = tmp_path / f"{number}-{seed}"
            if (number, seed) in drawn:
                pq.write_table(drawn[number, seed], path)
            models = {name: Made(Version("a" * 64), seconds) for name, seconds in made.items()}
            days.append(Day(START + number * DAY, seed, models, path if path.exists() else None))
    found = text(days)
    every = list(drawn.values())
    assert "2 days, 2024-01-12 to 2024-01-13, with 800 impressions. Seeds: 1, 2." in found
    level = f"{average(every, CHAMPION):.4f} | {average(every, CHAMPION, 'gauc'):.4f}"
    assert f"| goes on daily | {level} | 2.5 |" in found
    assert "| never retrained |" in found and " | 0 |" in found
    first = [table for (_, seed), table in drawn.items() if seed == 1]
    gain = advantage(every, SCRATCH, STALE)
    row = next(line for line in found.splitlines() if line.startswith("| from scratch, `refit` − from scratch, no"))
    assert study.interval(gain) in row
    assert f"| {advantage(first, SCRATCH, STALE).point:+.4f}, " in row


def test_files_are_where_the_overlay_or_data_says(tmp_path: Path) -> None:
    """Relative paths start at the repository; with DATA, the log's folder lies in it."""
    overlay = ROOT / "docs/examples/kuairand-pure-prepared.yaml"
    assert read_log(overlay).fetch.table.users == str(ROOT / "logs/kuairand-pure/users.csv.gz")
    assert read_log(overlay, tmp_path).fetch.table.users == str(tmp_path / "kuairand-pure/users.csv.gz")


def test_settings_change_the_overlay() -> None:
    """Values are YAML, and a key must be known."""
    data = read_log(MONTH, None, settings(['data.until="2024-02-12"', "data.window_days=14"])).data
    assert data.until == date(2024, 2, 12)
    assert data.window_days == 14
    with pytest.raises(InputError, match=r"key 'windows' is unknown in data"):
        read_log(MONTH, None, settings(["data.windows=14"]))
    with pytest.raises(InputError, match=r"--set data\.until: expected KEY=VALUE"):
        settings(["data.until"])


def test_a_short_log_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The message says how many days can be scored."""
    rows = "".join(f"{n % 7},{n % 5},{1_704_844_800 + 43_200 * n},{n % 2}\n" for n in range(10))
    (tmp_path / "events.csv").write_text(f"user_id,item_id,timestamp,label\n{rows}")
    short_log = tmp_path / "log.yaml"
    short_log.write_text(f"fetch: {{source: table, table: {{events: {tmp_path / 'events.csv'}}}}}\n")
    monkeypatch.setattr(study, "STORE", tmp_path)
    monkeypatch.setattr(sys, "argv", ["prequential", str(short_log), "--days", "2"])
    assert main() == 2
    told = capsys.readouterr().err
    assert "error: --days 2: the log has the days 2024-01-10 to 2024-01-14" in told
    assert told.endswith("ask for at most 1\n")


@dataclass(frozen=True)
class Finished:
    """A finished study of a small log."""

    folder: Path
    params: Params
    days: list[Day]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """Return the finished study of a small simulated log that is read as tables."""
    root = tmp_path_factory.mktemp("prequential")
    source, params = simulated_log(root / "log", users=2000, impressions=1000)
    source.deliver(LOG_DAYS - 1)
    params = parse(Params, overlaid(to_json(params), LITTLE, "the test"), "the test")
    return Finished(root / "study", params, measured(root / "study", params, [1], 2))


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_no_model_has_learned_the_day_that_it_scores(finished: Finished) -> None:
    """Yesterday is the newest day of a model that learns every day; one without passes is two days older."""
    last = date_of(LOG_DAYS - 1)
    assert [one.day for one in finished.days if one.scores] == [last - DAY, last]
    registry = Registry(str(finished.folder / "workspace/registry"), finished.params.promote.model_name or "table")
    for one in finished.days[1:-1]:
        learned = {
            policy: date.fromisoformat(registry.facts(made.version).seen_until[:10])
            for policy, made in one.made.items()
        }
        assert learned == {SCRATCH: one.day, STALE: one.day - 2 * DAY, CHAMPION: one.day}
    for one in finished.days[2:]:
        rows = pq.read_table(one.scores)
        assert rows.column_names == ["user", "label", FIRST, CHAMPION, *LEARNING[:2]]
        log = finished.folder.parent / f"log/events/date={one.day}/part-0.parquet"
        assert len(rows) == pq.read_metadata(log).num_rows
        assert len({rows[name].combine_chunks().to_numpy().tobytes() for name in NAMES}) == 4


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_an_interrupted_study_goes_on_to_equal_scores(finished: Finished) -> None:
    """Only what is missing is made again, with equal bits."""
    before = hash_files(finished.folder)
    (document,) = finished.folder.glob(f"{finished.days[2].day}-*.json")
    written = {path: path.stat().st_mtime_ns for path in finished.folder.glob("*.json") if path != document}
    document.unlink()
    again = measured(finished.folder, finished.params, [1], 2)
    made = [[(name, model.version) for name, model in one.made.items()] for one in finished.days]
    assert [[(name, model.version) for name, model in one.made.items()] for one in again] == made
    assert {path: path.stat().st_mtime_ns for path in written} == written
    after = hash_files(finished.folder)
    assert all(after[name] == digest for name, digest in before.items() if name.endswith(".1.parquet"))

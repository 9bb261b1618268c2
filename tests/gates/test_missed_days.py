"""Days that a champion that goes on never learns."""

from collections.abc import Callable
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from settings import changed

from din.artifacts import MANIFEST, sha256_file, write_json
from din.params import Params
from din.registry.registry import Registry
from din.sources.rawlog import day_file
from din.workspace import Workspace
from tests.factories import documents_of
from tests.factories.run import Run, edit, judge

LOG = {"2024-10-01": 5, "2024-10-02": 6, "2024-10-04": 7}
SEEN = "2024-10-04"
TODAY = {"2024-10-05": 8}


def write_log(run: Run, log: dict[str, int], **manifest: object) -> None:
    """Write a raw log with this number of rows on each day."""
    raw = run.here.raw
    files = {}
    for day, rows in log.items():
        path = raw / day_file(day)
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table({"sequence": range(rows)}), path)
        files[day_file(day)] = sha256_file(path)
    write_json(raw / MANIFEST, documents_of.raw_manifest(days=sorted(log), files=files, **manifest))


@pytest.fixture
def champion(run: Run) -> str:
    """Promote a model that has learned `LOG`."""
    run.facts |= {"protocol": documents_of.PROTOCOL | {"name": "temporal"}, "seen_until": f"{SEEN}T12:00:00+00:00"}
    write_log(run, LOG)
    version = run.finish()
    run.promote()
    return version


@pytest.fixture
def going_on(run: Run, quick: Params, champion: str) -> Callable[..., dict]:
    """Return a function that judges a candidate that goes on from the champion over another log."""

    def play(log: dict[str, int], first_day: str = "2024-10-01", pin: str = champion, **manifest: object) -> dict:
        train = changed(quick.train, start="champion", champion=pin)
        run.facts["params"] |= {"train": run.facts["params"]["train"] | {"start": "champion", "champion": pin}}
        run.facts |= {"seen_until": "2024-10-13T12:00:00+00:00"}
        run.params = replace(quick, train=train)
        run.noise = 0.1
        edit(run.here.features / MANIFEST, lambda features: features | {"first_day": first_day})
        write_log(run, log, **manifest)
        run.finish()
        return judge(run.here, run.params)

    return play


def test_a_log_that_only_grew_misses_nothing(going_on: Callable[..., dict], capsys: pytest.CaptureFixture) -> None:
    """The usual day gives no warning, neither in the report nor on the terminal."""
    assert "missed_days" not in going_on(LOG | TODAY)
    assert "warning" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "first_day", "expected"),
    [
        ({"2024-10-03": 9}, "2024-10-01", {"day": "2024-10-03", "rows": 9, "why": "late"}),
        ({"2024-10-02": 10}, "2024-10-01", {"day": "2024-10-02", "rows": 10, "why": "changed"}),
        ({"2024-10-06": 3}, "2024-10-06", {"day": "2024-10-05", "rows": 8, "why": "before the window"}),
    ],
)
def test_a_missed_day_is_a_warning(
    change: dict[str, int],
    first_day: str,
    expected: dict,
    going_on: Callable[..., dict],
    capsys: pytest.CaptureFixture,
) -> None:
    """The report and the terminal name the day, its rows and the way to learn it, and every gate judges as before."""
    report = going_on(LOG | TODAY | change, first_day)
    assert report["missed_days"] == [expected]
    printed = capsys.readouterr().out
    assert f"{expected['day']} ({expected['why']}, {expected['rows']} rows)" in printed
    assert "train.start: scratch" in printed
    assert report["verdict"] == "open"


def test_days_that_left_the_window_are_not_missed(going_on: Callable[..., dict]) -> None:
    """A run from scratch would not learn them either."""
    assert "missed_days" not in going_on({"2024-10-02": 99} | TODAY, first_day="2024-10-03")


def test_a_missed_day_is_named_until_a_model_from_scratch(
    run: Run, quick: Params, registry: Registry, going_on: Callable[..., dict]
) -> None:
    """The next champion has the day in its log and has not learned it, so its successor misses it too."""
    log = LOG | TODAY | {"2024-10-03": 9}
    going_on(log)
    run.promote()
    newest = registry.champion()
    assert newest
    run.rows["timestamp"] = run.rows["timestamp"] + 20 * 86_400_000_000
    assert [one["day"] for one in going_on(log | {"2024-10-14": 3}, pin=newest.version)["missed_days"]] == [
        "2024-10-03"
    ]
    run.facts["params"] |= {"train": run.facts["params"]["train"] | {"start": "scratch", "champion": None}}
    run.finish()
    assert "missed_days" not in judge(run.here, quick)


def test_a_champion_whose_record_is_damaged_is_no_reason_to_refuse(
    workspace: Workspace, quick: Params, going_on: Callable[..., dict], capsys: pytest.CaptureFixture
) -> None:
    """The gate says that it can't tell, and judges as before."""
    (manifest,) = (workspace.root / "registry" / quick.model_name / "runs").glob("*/*/raw.json")
    manifest.write_text("{}")
    report = going_on(LOG | TODAY)
    assert report["verdict"] == "open" and "missed_days" not in report
    assert "warning: can't tell which days" in capsys.readouterr().out

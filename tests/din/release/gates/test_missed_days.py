"""Days that a candidate never learns because it continues a champion."""

from collections.abc import Callable

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from din.base.artifacts import MANIFEST, sha256_file, write_json
from din.base.workspace import Workspace
from din.data.rawlog import day_file
from din.params.reading import Params
from din.release.registry.registry import Registry
from tests.factories import documents_of
from tests.factories.run import DAY, Run, edit, going_on, judge

LOG = {"2024-10-01": 5, "2024-10-02": 6, "2024-10-04": 7}
TODAY = {"2024-10-05": 8}


def write_log(run: Run, log: dict[str, int]) -> None:
    raw = run.here.raw
    files = {}
    for day, rows in log.items():
        path = raw / day_file(day)
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table({"sequence": range(rows)}), path)
        files[day_file(day)] = sha256_file(path)
    write_json(raw / MANIFEST, documents_of.raw_manifest(days=sorted(log), files=files))


@pytest.fixture
def continued(run: Run, quick: Params) -> Callable[..., dict]:
    """Promote a model that has learned `LOG`, and return a function that judges one that continues it."""
    run.facts |= {"protocol": documents_of.PROTOCOL | {"name": "temporal"}, "seen_until": "2024-10-04T12:00:00+00:00"}
    write_log(run, LOG)
    champion = run.finish()
    run.promote()
    run.facts |= {"seen_until": "2024-10-13T12:00:00+00:00"}

    def play(log: dict[str, int], first_day: str = "2024-10-01", pin: str = champion) -> dict:
        run.noise = 0.1
        run.params = going_on(run, quick, pin)
        edit(run.here.features / MANIFEST, lambda features: features | {"first_day": first_day})
        write_log(run, log)
        run.finish()
        return judge(run.here, run.params)

    return play


@pytest.mark.parametrize(
    ("change", "first_day", "missed"),
    [
        ({}, "2024-10-01", None),
        ({"2024-10-02": 99}, "2024-10-03", None),  # the day has left the window: a run from scratch misses it too
        ({"2024-10-03": 9}, "2024-10-01", {"day": "2024-10-03", "rows": 9, "why": "late"}),
        ({"2024-10-02": 10}, "2024-10-01", {"day": "2024-10-02", "rows": 10, "why": "changed"}),
        ({"2024-10-06": 3}, "2024-10-06", {"day": "2024-10-05", "rows": 8, "why": "before the window"}),
    ],
)
def test_a_missed_day_is_a_warning(
    change: dict[str, int], first_day: str, missed: dict | None, continued: Callable[..., dict], capsys
) -> None:
    """The report and the terminal name the day, its rows and the way to learn it, and every gate judges as before."""
    report = continued(LOG | TODAY | change, first_day)
    printed = capsys.readouterr().out
    assert report["verdict"] == "open" and report.get("missed_days") == (missed and [missed])
    if missed:
        assert f"{missed['day']} ({missed['why']}, {missed['rows']} rows)" in printed
        assert "train.start: scratch" in printed
    else:
        assert "warning" not in printed


def test_a_missed_day_is_named_until_a_model_from_scratch(
    run: Run, quick: Params, registry: Registry, continued: Callable[..., dict]
) -> None:
    """The next champion has the day in its log and has not learned it, so its successor misses it too."""
    log = LOG | TODAY | {"2024-10-03": 9}
    continued(log)
    run.promote()
    newest = registry.champion()
    assert newest
    run.rows["timestamp"] = run.rows["timestamp"] + 20 * DAY
    (missed,) = continued(log | {"2024-10-14": 3}, pin=newest.version)["missed_days"]
    assert missed["day"] == "2024-10-03"
    assert "missed_days" not in judge(run.here, quick)


def test_a_champion_whose_record_is_damaged_is_no_reason_to_refuse(
    workspace: Workspace, quick: Params, continued: Callable[..., dict], capsys: pytest.CaptureFixture
) -> None:
    """The gate says that it can't tell, and judges as before."""
    (manifest,) = (workspace.root / "registry" / quick.model_name / "runs").glob("*/*/raw.json")
    manifest.write_text("{}")
    report = continued(LOG | TODAY)
    assert report["verdict"] == "open" and "missed_days" not in report
    assert "warning: can't tell which days" in capsys.readouterr().out

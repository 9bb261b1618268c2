"""`make evidence` measures every generated table, and a failure stops no other one."""

import argparse
import os
import re
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks import evidence
from benchmarks.evidence import PLAN, Step, left
from benchmarks.generated_tables import CHANGED, TABLES

ROOT = Path(__file__).parents[2]
OPTIONS = argparse.Namespace(only=None, full=False, data=None)
TINY = """
import sys
from benchmarks import evidence
sizes = ("--impressions", "4000", "--rows", "4000", "--write")
evidence.PLAN = (evidence.PLAN[0], evidence.Step("size", "benchmarks.size", sizes, full=False))
sys.argv = ["evidence"]
sys.exit(evidence.main())
"""


def test_the_plan_covers_every_generated_table() -> None:
    """Each table has one step, whose module exists and whose command begins as the page says."""
    runs, *steps = PLAN
    assert sorted(step.name for step in steps) == sorted(TABLES)
    assert all(find_spec(step.module) for step in (runs, *steps))
    assert {step.name: f"python -m {step.module}" for step in steps} == {
        name: table.command for name, table in TABLES.items()
    }


def test_a_failed_step_stops_no_other_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Two steps run at a time, each on a core of its own, and the failed one is named."""
    monkeypatch.setattr(evidence, "OUTPUT", tmp_path)
    monkeypatch.setattr(evidence, "ROOT", tmp_path)
    cores = "import os; print(os.sched_getaffinity(0))"
    (tmp_path / "cores.py").write_text(cores)
    steps = [
        Step("first", "cores", (), full=False),
        Step("second", "cores", ("--full",), full=False),
        Step("bad", "nowhere", full=False),
    ]
    before = os.sched_getaffinity(0)
    assert evidence._two_at_a_time(steps, OPTIONS) == ["bad"]
    assert os.sched_getaffinity(0) == before
    assert [len(eval((tmp_path / f"{name}.txt").read_text())) for name in ("first", "second")] == [1, 1]
    assert "bad: 0.0 minutes, failed with exit code 1; see bad.txt" in capfd.readouterr().out


def test_a_table_of_this_commit_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An interrupted command leaves what it has measured, unless the code, the sizes or the wish are others."""
    (step,) = (step for step in PLAN if step.name == "warranty")
    table = replace(TABLES["warranty"], page=str(tmp_path / "page.md"))
    monkeypatch.setitem(TABLES, "warranty", table)
    for now in ("c0ffee1", f"c0ffee1{CHANGED}"):
        origin = f"`{table.line(['--write', '--jobs', '2'])}`, commit {now}, 2026-12-01, a processor, 2 cores."
        table.path.write_text(f"<!-- begin: warranty -->\n{origin}\n\n| a |\n<!-- end -->\n", encoding="utf-8")
        monkeypatch.setattr(evidence, "commit", lambda now=now: now)
        assert (left(step, OPTIONS) is None) == now.endswith(CHANGED)
        for other in ({"full": True}, {"only": ["warranty"]}):
            assert left(step, argparse.Namespace(**vars(OPTIONS) | other)) is None
    monkeypatch.setattr(evidence, "commit", lambda: "c0ffee2")
    assert left(step, OPTIONS) is None


def test_a_table_without_its_log_is_left() -> None:
    (step,) = (step for step in PLAN if step.name == "kuairand")
    assert "DATA=FOLDER" in (left(step, OPTIONS) or "")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_tiny_table_is_measured_and_written(tmp_path: Path) -> None:
    """The page of a clone gets the table and the commit of the clone, and a second call leaves it."""
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", ROOT, clone], check=True)
    for expected in (r"size: [\d.]+ minutes, done", "size: left as it is: it was measured at this commit"):
        done = subprocess.run([sys.executable, "-c", TINY], cwd=clone, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        assert re.search(expected, done.stdout)
    page = (clone / "docs/results.md").read_text()
    assert "`python -m benchmarks.size --impressions 4000 --rows 4000 --write`, commit " in page
    assert "| 4,000 impressions |" in page

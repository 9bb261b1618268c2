"""The page about all runs of a registry: promoted, refused, rolled back and unreadable ones."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from din import cli
from din.base.errors import GateClosed
from din.release.gates.gate import gate
from din.release.promote import promote
from din.release.registry.objects import Objects
from din.release.registry.registry import Registry
from din_loop.watch.alarms import Alarm
from din_report import runs as all_runs
from din_report.runs import read_runs, write_runs
from din_report.write import write_report
from tests.din_report.small_runs import judge, keep
from tests.factories.run import Run as Miniature
from tests.factories.run import score
from tests.helpers.html_page import Page

HOSTILE = "<script>alert(1)</script>"
AFTER = 4_102_444_800.0
"""The beginning of 2100, after any promotion, in seconds since 1970."""


@pytest.fixture
def registry(finished: Miniature) -> Registry:
    return Registry.of(finished.here, finished.params)


def test_promoted_refused_and_unreadable_runs(finished: Miniature, registry: Registry) -> None:
    """Each run is a row with its verdict, metrics and report."""
    here = finished.here
    gate(here, finished.params, score)
    write_report(here)
    record = promote(here, finished.params, by="ann", reason=f"the first {HOSTILE}", score=score).record
    strict = replace(finished.params, gate=replace(finished.params.gate, min_auc=0.999))
    with pytest.raises(GateClosed):
        gate(here, strict, score)
    write_report(here)
    keep(finished, "refused")
    Objects(registry.uri, registry.model_name).put("runs/broken/reports/gate.json", b"{")
    runs = write_runs(here, registry.uri, registry.model_name)
    rows = {row.run_id: row for row in runs.rows}
    assert rows["refused"].verdict == "closed"
    assert "min_auc" in rows["refused"].why
    assert rows["broken"].verdict == "stopped"
    promoted = rows[record.run_id]
    assert (promoted.verdict, promoted.number, promoted.version) == ("promoted", 1, record.version)
    auc = promoted.figures["auc"]
    assert auc.value is not None and auc.interval is not None
    page = Page(here.runs_page.read_text())
    assert HOSTILE in page.text
    assert page.having("script", "link") == []
    links = [attributes["href"] for attributes in page.having("a")]
    reports = [href for href in links if href and not href.startswith("#")]
    assert len(reports) == 2
    assert all((here.reports / href).resolve().is_file() for href in reports)


def refuse(run: Miniature, noise: float, at: float) -> str:
    """Let the gate refuse a candidate with this noise at a time, write the page, and return the candidate's version."""
    version = run.become(noise)
    with pytest.raises(GateClosed):
        judge(run, min_auc=0.999)
    os.utime(run.here.gate, (at, at))
    write_report(run.here)
    return version


def test_candidates_that_were_refused_here(finished: Miniature, registry: Registry) -> None:
    """A refusal outlives the next run, with its time, gates and metrics, until the candidate passes its gate."""
    here = finished.here
    versions = [refuse(finished, noise, at) for noise, at in ((0.3, 60.0), (0.25, 120.0), (0.25, AFTER))]
    finished.become(0.2)
    judge(finished)
    write_report(here)
    record = promote(here, finished.params, by="ann", reason="the first", score=score).record
    (here.refused / f"{'0' * 64}.json").write_bytes(b"{")
    rows = write_runs(here, registry.uri, registry.model_name).rows
    assert [row.version for row in rows] == [versions[1], record.version, versions[0]]
    newest, _, oldest = rows
    assert (newest.at, oldest.at) == ("2100-01-01T00:00:00+00:00", "1970-01-01T00:01:00+00:00")
    assert (newest.verdict, newest.report) == ("closed", None) and newest.why.startswith("min_auc")
    assert newest.figures["auc"].value != oldest.figures["auc"].value and newest.figures["gauc"].interval
    page = Page(here.runs_page.read_text())
    assert page.text.count("Local run") == 2 and versions[0][:12] in page.text
    assert read_runs(here, registry.uri, "another").rows == []
    assert len(read_runs(here, f"{registry.uri}/../{Path(registry.uri).name}/", registry.model_name).rows) == 3
    assert finished.become(0.3) == versions[0]
    judge(finished)
    write_report(here)
    rows = read_runs(here, registry.uri, registry.model_name).rows
    assert [row.version for row in rows] == [versions[1], record.version]


def test_refusals_are_bounded(finished: Miniature, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest refusals are kept, and none of a scheduler's runs, which it keeps itself."""
    monkeypatch.setattr("din_report.refused.MOST_REFUSED", 2)
    versions = [refuse(finished, noise, at) for noise, at in ((0.3, 60.0), (0.28, 180.0), (0.26, 120.0))]
    monkeypatch.setenv("DIN_RUN_ID", "nightly")
    refuse(finished, 0.24, 240.0)
    rows = read_runs(finished.here, registry.uri, registry.model_name).rows
    assert [row.version for row in rows] == versions[1:]


def test_a_page_of_many_runs_is_small(finished: Miniature, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page shows the newest runs and all alarms, and says how many runs are left out."""
    version = registry.put_bundle(finished.here.bundle)
    record = None
    for _ in range(5):
        record = registry.append(version, record, by="nightly", reason="again")
    monkeypatch.setattr(all_runs, "MOST_RUNS", 3)
    runs = write_runs(finished.here, registry.uri, registry.model_name)
    assert ([row.number for row in runs.rows], runs.left_out) == ([5, 4, 3], 2)
    alarm = Alarm("2024-01-01", "2024-01-02T00:00:00+00:00", "clicks", 1.0, 2.0, 3.0, 0.0, version, "retrain", "few")
    monkeypatch.setattr(all_runs, "kept_alarms", lambda _: [alarm])
    runs = write_runs(finished.here, registry.uri, registry.model_name)
    assert ([row.number for row in runs.rows], runs.left_out) == ([5, 4, 3, None], 2)
    assert "2 older runs are not shown." in finished.here.runs_page.read_text()


def test_the_command(finished: Miniature, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command writes the page, prints its path or the runs, and refuses a registry without --all."""
    monkeypatch.chdir(finished.here.root)
    arguments = ["report", "--registry", registry.uri, "--model", registry.model_name]
    assert CliRunner().invoke(cli.app, arguments).exit_code == 2
    done = CliRunner().invoke(cli.app, [*arguments, "--all"])
    assert (done.exit_code, done.stdout.splitlines()[-1]) == (0, "report: reports/runs.html")
    done = CliRunner().invoke(cli.app, [*arguments, "--all", "--json"])
    assert json.loads(done.stdout) == []

"""The page about all runs of a registry: promoted, refused, rolled back and unreadable ones."""

import json
from dataclasses import replace

import pytest
from html_page import Page
from small_runs import keep
from typer.testing import CliRunner

from din import cli
from din.errors import GateClosed
from din.gates.gate import gate
from din.promotion.promote import promote
from din.registry.objects import Objects
from din.registry.registry import Registry
from din.report import runs as all_runs
from din.report.runs import write_runs
from din.report.write import write_report
from tests.factories.run import Run as Miniature
from tests.factories.run import score

HOSTILE = "<script>alert(1)</script>"


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


def test_a_page_of_many_runs_is_small(finished: Miniature, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page shows the newest runs, and says how many are left out."""
    version = registry.put_bundle(finished.here.bundle)
    record = None
    for _ in range(5):
        record = registry.append(version, record, by="nightly", reason="again")
    monkeypatch.setattr(all_runs, "MOST_RUNS", 3)
    runs = write_runs(finished.here, registry.uri, registry.model_name)
    assert ([row.number for row in runs.rows], runs.left_out) == ([5, 4, 3], 2)
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

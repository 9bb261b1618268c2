"""The page of a promoted, a refused and a broken run: complete, safe, small, and readable without its pictures."""

import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from din.base.artifacts import write_json
from din.base.errors import GateClosed
from din.base.workspace import SUITES, Workspace
from din.metrics.estimates import Interval
from din.release.promote import promote
from din.release.registry.registry import Registry
from din.stages.stage import StageOutcome
from din_report.advice import Advice
from din_report.figures import Mistake
from din_report.importance import Importance
from din_report.page import code, figure, render, sentence
from din_report.run import Run
from din_report.write import write_report
from tests.din_report.small_runs import MOST_BYTES, judge, stop_at_the_raw_log
from tests.factories import documents_of
from tests.factories.run import Run as Miniature
from tests.factories.run import challenge, edit, score
from tests.helpers.html_page import Page

HOSTILE = "<script>alert(1)</script>\"'&"


def check(text: str) -> Page:
    """Check what holds for every page, and return its elements."""
    assert len(text.encode()) <= MOST_BYTES
    page = Page(text)
    for tag in ("main", "nav", "header", "footer", "h1", "title"):
        assert len(page.having(tag)) == 1, tag
    assert page.having("script", "link", "img", "iframe", "object", "form") == []
    every = [attributes for _, attributes in page.elements]
    assert [one for one in every if "src" in one or any(name.startswith("on") for name in one)] == []
    ids = [one["id"] for one in every if "id" in one]
    assert len(ids) == len(set(ids))
    links = [one["href"] or "" for one in page.having("a")]
    assert {link.removeprefix("#") for link in links} <= set(ids)
    assert "url(" not in text and "@import" not in text
    assert all(one["role"] == "img" and one["aria-label"] for one in page.having("svg"))
    scrolls = [one for one in page.having("div") if one.get("class") == "scroll"]
    assert len(scrolls) == len(page.having("table"))
    assert all(one["tabindex"] == "0" and one["role"] == "region" and one["aria-label"] for one in scrolls)
    assert "Traceback" not in page.text and "Undefined" not in page.text
    return page


def written(workspace: Workspace) -> Page:
    write_report(workspace)
    return check(workspace.report.read_text(encoding="utf-8"))


def state(workspace: Workspace) -> str:
    return Run(workspace).verdict.state


def test_a_first_candidate_that_may_be_promoted(finished: Miniature) -> None:
    """Verdict, gates, metrics, curves, slices and learning are there, each picture with a table."""
    judge(finished)
    page = written(finished.here)
    assert state(finished.here) == "open"
    assert "The candidate passes every gate, so it may become the first one." in page.text
    headings = [page.text.index(f"\n{title}\n") for title in ("Metrics", "Learning", "Gates", "Advice")]
    assert headings == sorted(headings)
    for text in ("auc_over_lr", "Floor: popularity", "Loss by epoch", "Wilson", "tab", "search"):
        assert text in page.text
    assert len(page.having("figure")) == len(page.having("svg")) >= 4
    assert "din params apply tuned.yaml" in page.text
    finished.here.tuned.touch()
    assert "din params apply tuned.yaml" not in written(finished.here).text


def test_the_gauc_over_popularity(finished: Miniature) -> None:
    """It is the difference of the evaluation's figures."""
    run = Run(finished.here)
    assert run.scored and run.evaluation and run.evaluation.floors.popularity.gauc is not None
    gain = run.evaluation.test.gauc - run.evaluation.floors.popularity.gauc
    assert run.scored.over_popularity.point == pytest.approx(gain)


def test_a_promoted_candidate(finished: Miniature) -> None:
    """The page says which record it is, and that scoring uses it, also where it does not pass a gate any more."""
    judge(finished)
    promote(finished.here, finished.params, by="ann", reason="nightly", score=score)
    page = written(finished.here)
    assert "record 1, promoted by ann" in page.text
    with pytest.raises(GateClosed):
        judge(finished, min_auc=0.94)
    again = written(finished.here)
    assert "Judged again since then, it does not pass min_auc" in again.text
    for one in (page, again):
        assert "Scoring uses this model now." in one.text and "minus the champion's" not in one.text


def test_a_refused_candidate(finished: Miniature) -> None:
    """The gates that are not open are not folded, with their reasons and the command to look closer."""
    with pytest.raises(GateClosed):
        judge(finished, min_auc=0.94)
    page = written(finished.here)
    assert state(finished.here) == "closed"
    assert "this candidate does not become the first one: it does not pass min_auc" in page.text
    table = page.text[page.text.index("Observed") : page.text.index("more gates are open")]
    assert "min_auc" in table and "made_from" not in table
    assert "minus the champion's" not in page.text  # there is none
    assert "Nothing changes in scoring." in page.text and "Gates open" in page.text
    source = finished.here.report.read_text()
    assert source.index('<section id="gates"') < source.index('<section id="metrics"')


def test_the_champions_curves(finished: Miniature) -> None:
    """The champion's validation curves lie beside the candidate's; a damaged record is named, and they are left out."""
    here = finished.here
    finished.promote()
    judge(finished)
    assert "champion's validation" not in written(here).text  # the candidate is the champion
    finished.become(0.15)
    edit(here.training, lambda report: report["history"].append(report["history"][-1] | {"epoch": 3}))
    judge(finished)
    page = written(here)
    assert "champion's validation" in page.text and "compare the shapes" in page.text
    lines = {style: drawn(page, style) for style in ("candidate", "champion")}
    assert [len(line) for line in lines["candidate"]] == [4, 4, 4]
    assert lines["champion"] == [line[:3] for line in lines["candidate"]]  # all else in both trainings is equal
    (summary,) = (here.root / "registry").rglob("training/summary.json")
    summary.write_bytes(b"{")
    page = written(here)
    assert "the champion's training: " in page.text and drawn(page, "champion") == []


def drawn(page: Page, style: str) -> list[list[str]]:
    return [(one["points"] or "").split() for one in page.having("polyline") if one["class"] == f"line {style}"]


def test_a_champion_without_a_training(finished: Miniature) -> None:
    """A record that holds no training adds no curve, and is no fault."""
    challenge(Registry.of(finished.here, finished.params), finished)
    judge(finished)
    page = written(finished.here)
    run = Run(finished.here)
    assert run.gate and run.gate.champion and run.missing == {}
    assert "Loss by epoch" in page.text and drawn(page, "champion") == []


def test_closed_gates_come_first(finished: Miniature, scored: Any) -> None:
    """A closed gate is on a page that has no room for all gates, wherever the report has it."""
    judge(finished)

    def close_the_last(report: dict[str, Any]) -> None:
        gates = [entry | {"verdict": "borderline"} for entry in report["gates"] * 20]
        report["gates"] = [*gates, report["gates"][0] | {"verdict": "closed", "name": "the_last"}]

    edit(finished.here.gate, close_the_last)
    text = check(render(Run(finished.here), []).decode()).text
    table = text[text.index("Observed") : text.index("more gates are not shown")]
    assert "the_last" in table


def test_a_run_that_broke(workspace: Workspace) -> None:
    """A run that stopped at a closed gate shows its failed expectation with rows, and names what it did not reach."""
    stop_at_the_raw_log(workspace, HOSTILE)
    page = written(workspace)
    assert state(workspace) == "stopped"
    assert "The run stopped at validate_raw: its gate is closed. Nothing was judged." in page.text
    assert "closed: no user_id in the row of" not in page.text  # the expectation says it
    assert page.text.index("DIN110") < page.text.index("Fill the column.") < page.text.index("in raw")
    assert HOSTILE in page.text
    assert "json.tool reports/gate.json" not in page.text
    assert "Not reached: metrics, learning, gates, ranking and calibration" in page.text
    assert not any(one.get("id") == "metrics" for one in page.having("section"))


@pytest.mark.parametrize(("code", "how"), [(1, "ended with exit code 1"), (None, "was killed, or is still running")])
def test_reports_of_an_earlier_run_are_not_shown(code: int | None, how: str, finished: Miniature) -> None:
    """After a stage has failed or was killed, reports of the stages behind it are left out, not those before it."""
    judge(finished)
    here = finished.here
    assert state(here) == "open"
    shutil.rmtree(here.shipped)
    failed = StageOutcome(run_id="local", stage="refit", exit_code=code, report=None, seconds=2.0, message="no memory")
    write_json(here.outcome("refit"), failed)
    page = written(here)
    assert state(here) == "stopped" and f"The run stopped at refit: it {how}." in page.text
    assert "Not reached: gates, lineage." in page.text
    assert Run(here).evaluation and not Run(here).facts


def test_the_log_of_an_earlier_run_is_not_shown(finished: Miniature) -> None:
    """A `din fetch` that fails leaves the former log in place, which this run has not read."""
    here = finished.here
    assert Run(here).raw
    failed = StageOutcome(run_id="local", stage="fetch", exit_code=2, report=None, seconds=2.0, message="no such file")
    write_json(here.outcome("fetch"), failed)
    assert Run(here).raw is None
    assert "The run stopped at fetch: it ended with exit code 2." in written(here).text


def test_the_verdict_on_another_bundle_is_not_shown(finished: Miniature) -> None:
    """A bundle that was exported after the gate has no verdict yet."""
    judge(finished)
    finished.noise = 0.15
    finished.finish()
    assert state(finished.here) == "unfinished"
    assert "reports/gate.json: about another bundle than" in written(finished.here).text


@pytest.mark.parametrize("content", [b"{", b'{"verdict": "open"}'])
def test_damaged_reports_are_named(content: bytes, finished: Miniature) -> None:
    """A report that can't be read is named, and the page shows the rest."""
    judge(finished)
    here = finished.here
    suites = [here.validation(suite) for suite in SUITES]
    for path in (here.gate, here.evaluation, here.training, here.training_times, here.params, *suites):
        path.write_bytes(content)
        page = written(here)
        assert here.relative(path) in page.text


def test_an_empty_folder(tmp_path: Any) -> None:
    """Even without a pipeline there is a page."""
    page = written(Workspace(tmp_path))
    assert "Unfinished" in page.text and "dvc.yaml" in page.text


def test_names_from_the_log_are_escaped(finished: Miniature, scored: Any) -> None:
    """A title, a user, a value, a column, a reason and a command that look like HTML stay text."""
    judge(finished)
    edit(finished.here.gate, lambda report: report["gates"][0].update(reason=HOSTILE, command=HOSTILE, name=HOSTILE))
    sample = [{HOSTILE: HOSTILE}]
    changes = {"success": False, "sample": sample, "reason": HOSTILE, "column": HOSTILE}
    edit(finished.here.validation("raw"), lambda report: report["expectations"][0].update(changes))
    run = Run(finished.here)
    part = replace(scored.slices[0], name=HOSTILE)
    run.scored = replace(scored, slices=[part], mistakes=[Mistake(True, 0.1, HOSTILE, HOSTILE, 3)])
    field = Importance(HOSTILE, None, Interval(0.1, 0.0, 0.2))
    text = render(run, [Advice("DIN1", *[HOSTILE] * 4)], [field]).decode()
    page = check(text)
    assert "<script" not in text
    assert page.text.count(HOSTILE) > 15


@pytest.mark.parametrize(
    ("show", "value", "text"),
    [
        (figure, -0.00071, "−0.0007"),
        (figure, 1.4e-07, "1.4e−07"),
        (figure, [-0.5, 12.25], "−0.5000 … 12.2"),
        (figure, ["app", "web"], "app, web"),
        (figure, list("abcdef"), "a, b, c, d, …"),
        (figure, Interval(0.5, 0.25, 1.0), "0.2500 … 1.0000"),
        (figure, Interval(0.5, math.nan, math.nan), "–"),
        (figure, "2022-05-04T23:52:09.474000+00:00", "2022-05-04 23:52:09 UTC"),
        (code, "differs by -0.0007 [-0.1, +0.2]", "differs by −0.0007 [−0.1, +0.2]"),
        (code, "on 2026-11-26, run local-1, 5-19, item_count=1-9", "on 2026-11-26, run local-1, 5-19, item_count=1-9"),
        (code, "`din x -1` gives -1", "<code>din x -1</code> gives −1"),
        (code, "an odd ` stays", "an odd ` stays"),
        (sentence, "x" * 2000, "X" + "x" * 598 + "…"),
    ],
)
def test_texts_of_values(show: Callable[[Any], str], value: Any, text: str) -> None:
    """Numbers keep four digits, times are in UTC, commands are code, and what looks like HTML stays text."""
    assert show(value) == text


def test_the_page_stays_small(finished: Miniature, scored: Any) -> None:
    """Thousands of gates, long texts everywhere and many fields do not make the page long."""
    judge(finished)
    long = "x" * 2000
    edit(finished.here.gate, lambda report: report.update(gates=report["gates"] * 500))
    failed = documents_of.expectation(long, success=False, column=long, reason=long, advice=long)
    failed |= {"sample": [{f"{long}{n}": long for n in range(12)}] * 6}
    report = {"verdict": "closed", "input": documents_of.DIGEST, "params": {}, "user_file": None}
    report |= {"judged": {failed["name"]: "critical"}, "expectations": [failed] * 50}
    write_json(finished.here.validation("raw"), report)
    run = Run(finished.here)
    assert run.gate and len(run.gate.gates) > 5000 and "raw" in run.validation
    run.scored = replace(scored, slices=scored.slices * 60)
    field = Importance(long, None, Interval(0.1, 0.0, 0.2))
    check(render(run, [], [field] * 500).decode())

"""The pages as a browser shows them: quiet, whole and legible, on a screen, from a keyboard and on paper."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from din.base.errors import GateClosed
from din.metrics.estimates import Interval
from din.params.reading import Params
from din.release.promote import promote
from din.release.registry.registry import Registry
from din.schema import Group
from din_report.advice import Advice
from din_report.importance import Importance
from din_report.page import render
from din_report.run import Run
from din_report.runs import write_runs
from din_report.write import write_report
from din_tune.result import Finalist, KeyRow, TrialRow, Tuned
from din_tune.result import write as write_tuned
from din_tune.space import Space
from tests.din_report.browser import chromium, visit
from tests.din_report.small_runs import MOST_BYTES, ROOT, finish, judge, keep, new_workspace, stop_at_the_raw_log
from tests.factories.run import for_a_small_log, score
from tests.helpers.made_once import made_once

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.slow
WIDTHS = (400, 1000, 1600)
SCHEMES = ("light", "dark")
PAGES = ("promoted", "refused", "advised", "broken", "runs", "no_runs", "tuning")
SITE_PAGES = ("index", "start", "results", "parameters")


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory, params: Params) -> dict[str, Path]:
    """Pages of real runs, promoted, refused and broken, with advice and fields, of all runs, and of a search."""
    root = made_once(tmp_path_factory, "pages", lambda root: _write(_places(root), root, params))
    return _places(root)


def _places(root: Path) -> dict[str, Path]:
    return {name: root / f"{name}.html" for name in PAGES}


def _write(found: dict[str, Path], root: Path, params: Params) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("DIN_RUN_ID", raising=False)
        run = finish(new_workspace(root / "run"), for_a_small_log(params))
        here = run.here
        registry = Registry.of(here, run.params)
        write_runs(here, registry.uri, registry.model_name)
        here.runs_page.rename(found["no_runs"])
        judge(run)
        write_report(here)
        promote(here, run.params, by="ann", reason="the first model", score=score)
        write_report(here)
        here.report.rename(found["promoted"])
        run.noise = 0.5
        run.finish()
        run.bundle()
        with pytest.raises(GateClosed):
            judge(run, min_auc=0.94)
        write_report(here)
        keep(run, "refused")
        found["refused"].write_bytes(here.report.read_bytes())
        found["advised"].write_bytes(render(Run(here), [_advice()] * 2, [_field()] * 2))
        write_runs(here, registry.uri, registry.model_name)
        here.runs_page.rename(found["runs"])
        broken = new_workspace(root / "broken")
        stop_at_the_raw_log(broken, "user 17")
        write_report(broken)
        broken.report.rename(found["broken"])
        write_tuned(here, Space.of(params), _tuned())
        here.tuning_page.rename(found["tuning"])


def _advice() -> Advice:
    return Advice("DIN101", "The first epoch was the best", "epoch 1 of 5", "later ones overfit", "lower the rate")


def _field() -> Importance:
    return Importance("category", Group.ITEM, Interval(0.02, 0.01, 0.03))


def _tuned() -> Tuned:
    """A search of many trials, whose winner changes keys with long names."""
    changes = {"learning.regularization": 100.0, "learning.initial_item_bias": "zero", "model.name": "base"}
    trials = [TrialRow(n, "pruned" if n % 4 else "complete", 0.7 + n / 1000, 3.5, changes, "") for n in range(40)]
    failed = TrialRow(40, "fail", None, 1.0, changes, "the loss is not finite; lower train.learning.learning_rate")
    today = Finalist(None, {}, [0.7, 0.71, 0.7, 0.72], 0.7075)
    won = Finalist(36, changes, [0.72, 0.73, None, 0.74], 0.73, 0.02, 0.005, 0.035)
    keys = [KeyRow(key, "today's", value, "AUC 0.7300; with today's 0.7100") for key, value in changes.items()]
    page = "reports/tuning.html"
    return Tuned("auc", [2, 3, 4, 5], [*trials, failed], [today, won], 36, keys, "tuned.yaml", page)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The documentation as `make docs` builds it."""

    def make(folder: Path) -> None:
        command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
        subprocess.run(command, cwd=ROOT, check=True, env=os.environ | {"PYTHONPATH": str(ROOT)})

    return made_once(tmp_path_factory, "site", make)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", PAGES)
def test_a_page_has_no_fault(browser: "Browser", pages: dict[str, Path], name: str, width: int, scheme: str) -> None:
    """No error, no request, nothing too wide, pale, small or overlapping, and a name for everything that needs one."""
    with visit(browser, pages[name], width, scheme) as seen:
        assert seen.faults() == {}


@pytest.mark.parametrize("name", PAGES)
def test_a_keyboard_reaches_everything(browser: "Browser", pages: dict[str, Path], name: str) -> None:
    """Tab goes through the page in its order, and each stop is seen."""
    with visit(browser, pages[name]) as seen:
        assert seen.unreachable() == []


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("name", PAGES)
def test_paper_shows_the_whole_page(browser: "Browser", pages: dict[str, Path], name: str, scheme: str) -> None:
    """A print has the verdict and whole tables, in dark ink also from a dark screen."""
    with visit(browser, pages[name], scheme=scheme) as seen:
        assert seen.cut_on_paper() == []


FAULTS = {
    "contrast": ("</style>", ".sentence { color: #999; }</style>"),
    "small": ("</style>", ".sentence { font-size: 10px; }</style>"),
    "overlaps": ("</style>", "svg text { font-size: 40px !important; }</style>"),
    "sideways": ("</style>", ".sentence { width: 2000px; max-width: none; }</style>"),
    "structure": ('<th scope="col"', "<th"),
    "errors": ("</header>", "<script>document.title</script></header>"),
    "requests": ("default-src 'none'", "default-src 'self' file:\"><link rel=\"stylesheet\" href=\"other.css"),
    "names": ('role="img" aria-label="', 'role="img" data-label="'),
    "size": ("</header>", f"<!--{'x' * MOST_BYTES}--></header>"),
    "unreachable: no outline": ("</style>", ":focus-visible { outline: none !important; }</style>"),
    "unreachable: out of order": ('<a href="#gates">', '<a href="#gates" tabindex="2">'),
    "unreachable: off the page": ("</style>", ".skip { left: -99rem !important; }</style>"),
    "cut: no verdict": ("</style>", "@media print { h1 { display: none; } }</style>"),
    "cut: a wide table": ("</style>", "@media print { table { width: 900px; } }</style>"),
    "cut: a table that scrolls": ("</style>", "@media print { .scroll { overflow: auto; width: 5rem; } }</style>"),
    "cut: pale ink": ("</style>", "@media print { .sentence { color: #aaa; } }</style>"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(browser: "Browser", pages: dict[str, Path], fault: str, tmp_path: Path) -> None:
    """Each check finds a page that is made worse in this respect: on the screen, from the keyboard and on paper."""
    with visit(browser, _planted(pages["promoted"], tmp_path, *FAULTS[fault])) as seen:
        if fault.startswith("unreachable"):
            assert seen.unreachable() != []
        elif fault.startswith("cut"):
            assert seen.cut_on_paper() != []
        else:
            assert fault in seen.faults()


def _planted(page: Path, folder: Path, sound: str, faulty: str) -> Path:
    text = page.read_text(encoding="utf-8")
    assert sound in text
    planted = folder / "planted.html"
    planted.write_text(text.replace(sound, faulty), encoding="utf-8")
    return planted


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", SITE_PAGES)
def test_the_site_is_legible(browser: "Browser", site: Path, name: str, width: int, scheme: str) -> None:
    """A page of the documentation works from its folder: no error, no request elsewhere, not too wide, no pale text."""
    with visit(browser, site / f"{name}.html", width, scheme) as seen:
        assert seen.errors == []
        assert [one for one in seen.requests if not one.startswith(site.as_uri())] == []
        assert seen.find("sideways") == seen.find("contrast") == []


def test_the_site_can_be_searched(browser: "Browser", site: Path) -> None:
    """Also where it is opened as a file, and browsers refuse workers."""
    with visit(browser, site / "start.html") as seen:
        seen.page.locator("input[name=query]").press_sequentially("put-if-absent")  # as a reader types
        seen.page.wait_for_selector(".md-search-result__item a[href*='command-line.html']")
        assert seen.errors == []


def test_a_parameter_is_not_broken(browser: "Browser", site: Path) -> None:
    """On the narrowest window, each key of the page of parameters is on one line."""
    with visit(browser, site / "parameters.html", WIDTHS[0]) as seen:
        keys = seen.page.locator("td:first-child code")
        assert keys.count() > 100
        assert [one for one in keys.all() if one.evaluate("key => key.getClientRects().length") != 1] == []

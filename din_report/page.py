"""Render a run as one HTML page without a script, a link to another host, or a file beside it.

Lists and texts are cut, so that the page is at most 500 kB long. All texts come from logs and reports, so the
template escapes every one.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from din.base.errors import shown
from din.base.workspace import Suite
from din.contracts.facts import NOT_CALIBRATED, Evaluation, Ranking
from din.contracts.verdicts import Expectation, GateEntry
from din.metrics.estimates import Interval
from din.release.gates.report_text import MODELS
from din.train.results import BLENDED
from din_report.advice import Advice
from din_report.charts import Axis, Plot
from din_report.importance import Importance
from din_report.run import Run

_MOST_BYTES = 500_000
_MOST_ROWS = (100, 25, 5)
"""Lengths of lists, each for pages that are too long with the one before."""
_MOST_EPOCHS = 100
_MOST_SAMPLES = 5
_MOST_COLUMNS = 10
_MOST_LISTED = 4
_MOST_SAID = 600
"""The largest number of characters of a reason or an advice."""
_FOLDER = Path(__file__).parent
_DELTA = "champion_delta_"
_TWO_SCALES = "Where training weighs rows or lacks negatives, its loss has another scale than the validation loss."
_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(\.\d+)?\+00:00")
_MARKS = re.compile(r"`(?P<code>[^`]*)`|(?<![\w-])-(?=\d)")
_VERDICTS = ("closed", "borderline", "open")
"""The order of gates: what a reader must know first."""
_METRICS = {
    "auc": "AUC",
    "gauc": "GAUC",
    "log_loss": "log loss",
    "normalized_entropy": "normalised entropy",
    "calibration_ratio": "calibration",
    "ece": "ECE",
}


@dataclass(frozen=True)
class PageTable:
    """A table: its first columns, as many as `words`, hold texts, and the others figures."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    words: int = 1


@dataclass(frozen=True)
class Chart:
    """A picture with the table behind it.

    Attributes:
        key: the lines of the picture, from a class of the page to a name.
    """

    picture: Markup
    table: PageTable
    note: str = ""
    key: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Failed:
    """An expectation that failed, with a table of offending rows."""

    suite: Suite
    entry: Expectation
    sample: PageTable


def render(run: Run, advice: Sequence[Advice], importances: Sequence[Importance] = ()) -> bytes:
    """Return the page, with shorter lists where it would be too long."""
    page = b""
    for most in _MOST_ROWS:
        page = _render(run, advice, importances, most)
        if len(page) <= _MOST_BYTES:
            break
    return page


def _render(run: Run, advice: Sequence[Advice], importances: Sequence[Importance], most: int) -> bytes:
    failed = _failed(run)
    content: dict[str, Any] = {
        "Metrics": _metrics(run),
        "Learning": run.training,
        "Gates": sorted(run.gate.gates, key=lambda entry: _VERDICTS.index(entry.verdict)) if run.gate else [],
        "Ranking and calibration": run.scored,
        "Fields": importances,
        "Slices": run.scored and run.scored.slices,
        "Data": run.raw,
        "Validation": run.validation,
        "Lineage": run.facts or run.gate,
    }
    sections = [title for title, part in content.items() if part]
    before = [title for title in ("Metrics", "Learning", "Gates") if title in sections]
    sections.insert(len(before), "Advice")
    refused = bool(run.gate) and run.verdict.state in ("closed", "borderline")
    if refused:  # the reader asks why, before how well it learned
        sections.sort(key=lambda title: title != "Gates")
    page = environment().get_template("page.html.j2")
    return page.render(
        run=run,
        verdict=run.verdict,
        sections=[*sections, "Terms"],
        refused=refused,
        unreached=[title for title, part in content.items() if not part and title != "Fields"],
        advice=advice,
        gates=content["Gates"],
        models=MODELS,
        failed=failed[:most],
        failed_in_all=len(failed),
        metrics=content["Metrics"],
        deltas=_deltas(run),
        learning=_learning(run),
        blend=_blend(run),
        ranking=_ranking(run),
        mistakes=_mistakes(run),
        fields=_fields(importances[:most]),
        slices=_slices(run),
        expectations={suite: _expectations(suite, run, most) for suite in run.validation},
        lineage=_lineage(run),
        most=most,
    ).encode()


@cache
def environment() -> Environment:
    """Return the templates here. They escape every text, and share a layout."""
    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters = {"figure": figure, "sentence": sentence, "cut": cut, "code": code}
    environment.filters |= filters
    environment.globals["style"] = Markup((_FOLDER / "style.css").read_text(encoding="utf-8"))
    return environment


def figure(value: Any) -> str:
    """Return a value of a report as text: floats with at most four digits, an interval's bounds, None as a dash."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, Interval):
        return "–" if math.isnan(value.lower) else figure((value.lower, value.upper))
    if isinstance(value, list | tuple):
        is_range = len(value) == 2 and all(isinstance(element, int | float) for element in value)
        text = (" … " if is_range else ", ").join(figure(element) for element in value[:_MOST_LISTED])
        return f"{text}, …" if len(value) > _MOST_LISTED else text
    if isinstance(value, bool) or not isinstance(value, int | float):
        return cut(_MOMENT.sub(r"\1 \2 UTC", value) if isinstance(value, str) else value)
    return _number(value).replace("-", "−")


def _number(value: float) -> str:
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}" if abs(value) < 1e15 else f"{value:.3e}"
    if value and abs(value) < 1e-4:
        return f"{value:.1e}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.4f}"


def sentence(text: str) -> str:
    """Return a text that begins with a capital letter and ends with a full stop."""
    whole = text if len(text) <= _MOST_SAID else f"{text[: _MOST_SAID - 1]}…"
    return f"{whole[:1].upper()}{whole[1:]}" + ("" if whole.endswith((".", "…")) else ".")


def code(text: str) -> Markup:
    """Return a text with everything between backticks as code, and with a true minus before each negative number."""
    return Markup(_MARKS.sub(_mark, str(escape(text))))


def _mark(match: re.Match[str]) -> str:
    return "−" if match["code"] is None else f"<code>{match['code']}</code>"


def cut(value: Any) -> str:
    """Return any value as text of bounded length."""
    return shown(value, quotes=False) if isinstance(value, str) else shown(value)


def _deltas(run: Run) -> list[GateEntry]:
    """Return the differences from the champion, none if the candidate is the champion itself."""
    if run.gate is None or (run.gate.champion and run.gate.champion.version == run.gate.bundle):
        return []
    return [entry for entry in run.gate.gates if entry.name.startswith(_DELTA)]


def _failed(run: Run) -> list[Failed]:
    """Return the failed expectations, critical ones first."""
    failures = []
    for suite, report in run.validation.items():
        for entry in report.expectations:
            if not entry.success:
                sample = entry.sample[:_MOST_SAMPLES]
                columns = list(dict.fromkeys(name for row in sample for name in row))[:_MOST_COLUMNS]
                rows = [[row.get(name) for name in columns] for row in sample]
                title = f"Offending rows of {cut(entry.name)}"
                failures.append(Failed(suite, entry, PageTable(title, columns, rows, len(columns))))
    return sorted(failures, key=lambda failed: failed.entry.severity != "critical")


def _metrics(run: Run) -> PageTable | None:
    """Return the metrics of the candidate beside those of the champion, the floors and the oracle."""
    measured: list[tuple[str, str, Any]] = []
    if evaluation := run.evaluation:
        measured = [
            ("Candidate", "test rows", evaluation.test),
            ("Candidate", "validation rows", evaluation.valid),
            ("Candidate", "test rows, without its blend", _unblended(evaluation)),
            ("Floor: LR", "test rows", evaluation.floors.lr),
            ("Floor: popularity", "test rows", evaluation.floors.popularity),
            ("Oracle", "true probabilities, test rows", evaluation.oracle),
        ]
    if champion := run.champion:
        measured.insert(2, ("Champion", f"its own test rows, until {champion.until}", champion.evaluation.test))
    rows = [
        (model, about, *(getattr(figures, key, None) for key in _METRICS))
        for model, about, figures in measured
        if figures
    ]
    return PageTable("Metrics", ("Model", "Measured on", *_METRICS.values()), rows, 2) if rows else None


def _unblended(evaluation: Evaluation) -> Ranking | None:
    """Return AUC and GAUC of the candidate's own logit on the test rows, or None if it has no blend."""
    if evaluation.blend is None:
        return None
    return Ranking(**{metric: gain.before for metric, gain in evaluation.blend.items()})


def _blend(run: Run) -> PageTable | None:
    """Return what each column adds to the logit of the candidate, the most important one first."""
    if run.training is None or run.training.blend is None:
        return None
    effects = sorted(run.training.blend.effects.items(), key=lambda effect: -effect[1])
    rows = [(name, BLENDED[name], effect) for name, effect in effects]
    return PageTable("The blend", ("Column", "What it says of a candidate", "Effect on the logit"), rows, 2)


def _learning(run: Run) -> list[Chart]:
    """Return the learning curves beside the champion's on validation rows, thinned to `_MOST_EPOCHS` epochs."""
    if run.training is None or not run.training.history:
        return []
    candidate = {epoch.epoch + 1: epoch for epoch in run.training.history}
    champion = {epoch.epoch + 1: epoch for epoch in run.champion_training.history} if run.champion_training else {}
    epochs = sorted(candidate | champion)
    epochs = epochs[:: -(-len(epochs) // _MOST_EPOCHS)]
    best = run.training.best_epoch
    ticks = [(float(at), str(at)) for at in epochs[:: -(-len(epochs) // 12)]]
    charts = []
    for metric, name in (("Loss", "valid_log_loss"), ("AUC", "valid_auc"), ("GAUC", "valid_gauc")):
        lines = {"candidate": ("validation", candidate, name)}  # by the class of the page
        if metric == "Loss":
            lines["other"] = ("train", candidate, "train_loss")
        if champion:
            lines["champion"] = ("champion's validation", champion, name)
        key = {style: words for style, (words, _, _) in lines.items()}
        curves = [
            [getattr(history.get(at), attribute, None) for at in epochs] for _, history, attribute in lines.values()
        ]
        values = [value for curve in curves for value in curve if value is not None]
        if not values:
            continue
        plot = Plot(Axis(min(epochs) - 0.4, max(epochs) + 0.4, "epoch"), Axis.over(values, metric))
        plot.note_at(best, f"best: epoch {best}")
        for style, curve in zip(key, curves, strict=True):
            points = [(at, value) for at, value in zip(epochs, curve, strict=True) if value is not None]
            plot.line(points, style)
            plot.dots(points, style)
        title = f"{metric} by epoch"
        table = PageTable(title, ("epoch", *key.values()), [*zip(epochs, *curves, strict=True)])
        charts.append(Chart(plot.svg(title, ticks), table, _TWO_SCALES if metric == "Loss" else "", key))
    return charts


def _ranking(run: Run) -> list[Chart]:
    """Return the calibration, and the metrics of each held-out day if there are several."""
    scored = run.scored
    if scored is None:
        return []
    bins = scored.calibration
    top = max((max(part.ctr.upper, part.predicted) for part in bins), default=1.0)
    plot = Plot(Axis(0, top * 1.04, "mean prediction"), Axis(0, top * 1.04, "CTR"))
    plot.line([(0, 0), (top, top)], "chance")
    for part in bins:
        plot.interval(part.predicted, part.ctr, "candidate")
    picture = plot.svg("Calibration: CTR of ten bins of rows by their mean prediction")
    rows = [(part.rows, part.predicted, part.ctr.point, part.ctr) for part in bins]
    note = "On the diagonal, a prediction is the CTR. Below it, the model promises too much. Bounds are Wilson's."
    if run.features and run.features.negatives_drawn:
        note = f"The model is {NOT_CALIBRATED}. The chart is about these rows, and says nothing about service. {note}"
    charts = [Chart(picture, PageTable("Calibration", ("rows", "mean prediction", "CTR", "bounds"), rows, 0), note)]
    if len(scored.days) > 1:
        charts.append(_by_day(run, "AUC", [day.auc for day in scored.days]))
        charts.append(_by_day(run, "Log loss", [day.log_loss for day in scored.days]))
    return charts


def _by_day(run: Run, metric: str, values: Sequence[Interval]) -> Chart:
    """Return a metric of each held-out day with its bounds."""
    days = run.scored.days if run.scored else []
    every = [bound for value in values for bound in (value.point, value.lower, value.upper)]
    plot = Plot(Axis(0, len(days), "held-out day of the log"), Axis.over(every, metric))
    for at, value in enumerate(values):
        plot.interval(at + 0.5, value, "candidate" if days[at].split == "test" else "other")
    rows = [(str(day.day), day.split, day.rows, value.point, value) for day, value in zip(days, values, strict=True)]
    title = f"{metric} by day"
    table = PageTable(title, ("day", "split", "rows", metric, "bounds"), rows, 2)
    ticks = [(at + 0.5, f"{days[at].day:%d %b %y}") for at in range(0, len(days), -(-len(days) // 4))]
    key = {"candidate": "test days", "other": "validation days, which chose the epoch"}
    both = len({day.split for day in days}) > 1
    return Chart(plot.svg(f"{title} of the held-out rows", ticks), table, key=key if both else None)


def _mistakes(run: Run) -> PageTable:
    rows = [
        ("clicked" if row.clicked else "not clicked", row.user, row.item, row.prediction, row.history_length)
        for row in (run.scored.mistakes if run.scored else [])
    ]
    columns = ("What happened", "User", "Item", "Prediction", "Behaviours before it")
    return PageTable("The worst predictions of test rows", columns, rows, 3)


def _slices(run: Run) -> PageTable:
    rows = [
        (part.name, part.rows, part.users, part.auc.point, part.auc, part.calibration.point, part.calibration)
        for part in (run.scored.slices if run.scored else [])
    ]
    return PageTable("Slices", ("Slice", "Rows", "Users", "AUC", "Bounds", "Calibration", "Bounds"), rows)


def _fields(importances: Sequence[Importance]) -> PageTable:
    rows = []
    for importance in importances:
        loss = Interval(*(round(value, 4) + 0.0 for value in astuple(importance.loss)))  # a change of 1e-6 is none
        rows.append((importance.name, importance.group or "all behaviours", loss.point, loss))
    return PageTable("Which fields matter", ("Field", "Of", "AUC lost", "Bounds"), rows, 2)


def _expectations(suite: Suite, run: Run, most: int) -> PageTable:
    """Return the first expectations of a suite."""
    rows = []
    for expectation in run.validation[suite].expectations[:most]:
        bounds = ", ".join(f"{bound} {figure(value)}" for bound, value in expectation.threshold.items())
        rows.append((expectation.name, expectation.column, expectation.severity, bounds, expectation.observed))
    columns = ("Expectation", "Column", "Severity", "Threshold", "Observed")
    return PageTable(f"Expectations of {suite}", columns, rows, 4)


def _lineage(run: Run) -> PageTable:
    """Return what the candidate was made from and compared with."""
    parts: dict[str, Any] = {}
    if run.gate:
        champion = run.gate.champion
        parts["Candidate"] = run.gate.bundle
        parts["Champion compared with"] = f"{champion.version} (record {champion.number})" if champion else "none"
        parts["Code"] = run.gate.about.code
    if run.facts:
        parts["Last training impression"] = f"{run.facts.train_until[:19].replace('T', ' ')}, by the log's clock"
        parts["Seed"] = str(run.facts.seed)
        parts |= {part.capitalize(): digest for part, digest in run.facts.inputs}
    if run.record:
        parts["Record"] = f"{run.record.number}, run {run.record.run_id or '–'}: {run.record.reason}"
    return PageTable("Lineage", ("Part", "Value"), [*parts.items()], 2)

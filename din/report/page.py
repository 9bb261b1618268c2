"""Render a run as one HTML page without a script, a link to another host, or a file beside it.

The page is at most `MOST_BYTES` long. Curves are binned, lists are cut at a stated length, and texts at `MOST_SHOWN`
characters. All texts come from logs and reports, so the template escapes every one.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from din.errors import shown
from din.gates.explain import MODELS
from din.metrics.estimates import Interval
from din.report.advice import Advice
from din.report.charts import Axis, Plot, interval, strip
from din.report.figures import DayFigures, SliceFigures
from din.report.run import Run
from din.schema import WEIGHT
from din.verdicts import Expectation, GateEntry
from din.workspace import Suite

if TYPE_CHECKING:
    from din.report.attention import Strip
    from din.report.importance import Importance

MOST_BYTES = 500_000
_MOST_ROWS = (100, 25, 5)
"""Lengths of lists, each for pages that are too long with the one before."""
_MOST_EPOCHS = 100
MOST_SAMPLES = 5
MOST_COLUMNS = 10
_MOST_SAID = 600
"""The largest number of characters of a reason or an advice."""
_HIGHEST_RATIO = 2.5
"""The largest calibration ratio that is drawn to scale."""
_FOLDER = Path(__file__).parent
_DELTA = "champion_delta_"
_MINUS = "−"
_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(\.\d+)?\+00:00")
_MARKS = re.compile(r"`(?P<code>[^`]*)`|(?<![\w-])-(?=\d)")
_METRICS = {
    "auc": "AUC",
    "gauc": "GAUC",
    "log_loss": "log loss",
    "normalized_entropy": "normalised entropy",
    "calibration_ratio": "calibration",
    "ece": "ECE",
}


@dataclass(frozen=True)
class Failed:
    """An expectation that failed, with the columns of its offending rows."""

    suite: Suite
    entry: Expectation
    columns: list[str]
    sample: list[dict[str, Any]]


@dataclass(frozen=True)
class Chart:
    """A picture with the table behind it.

    Attributes:
        key: the lines of the picture, from a class of the page to a name.
    """

    title: str
    picture: Markup
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    note: str = ""
    key: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Gate:
    """A gate with a picture of its interval, if it has one."""

    entry: GateEntry
    picture: Markup | None


@dataclass(frozen=True)
class Measured:
    """The metrics of one model on some rows."""

    model: str
    about: str
    figures: Any


@dataclass(frozen=True)
class Slice:
    """A slice with pictures of its AUC and its calibration, drawn to common axes."""

    figures: SliceFigures
    auc: Markup
    calibration: Markup


@dataclass(frozen=True)
class Field:
    """A field with a picture of the AUC that is lost without it."""

    importance: "Importance"
    picture: Markup


@dataclass(frozen=True)
class StripPair:
    """The activations of one history, for the clicked and for the unclicked candidate, on one scale."""

    strip: "Strip"
    clicked: Markup
    unclicked: Markup


def render(
    run: Run,
    advice: Sequence[Advice],
    strips: "Sequence[Strip]" = (),
    importances: "Sequence[Importance]" = (),
) -> bytes:
    """Return the page, with shorter lists if it would be longer than `MOST_BYTES`."""
    page = b""
    for most in _MOST_ROWS:
        page = _render(run, advice, strips, importances, most)
        if len(page) <= MOST_BYTES:
            break
    return page


def _render(
    run: Run, advice: Sequence[Advice], strips: "Sequence[Strip]", importances: "Sequence[Importance]", most: int
) -> bytes:
    failed = _failed(run)
    metrics = _metrics(run)
    slices = _slices(run)
    content = {
        "Gates": run.gate,
        "Metrics": metrics,
        "Learning": run.training,
        "Advice": True,
        "Ranking and calibration": run.scored,
        "Fields": importances,
        "Slices": slices,
        "Data": run.raw,
        "Validation": run.validation,
        "Parity and latency": run.parity,
        "Attention": run.scored,
        "Cost": run.times or any(one.seconds for one in run.stages),
        "Lineage": run.gate or run.facts,
        "Terms": True,
    }
    page = environment().get_template("page.html.j2")
    return page.render(
        run=run,
        verdict=run.verdict,
        sections=[title for title, found in content.items() if found],
        unreached=[title for title, found in content.items() if not found and title != "Fields"],
        advice=advice,
        gates=_gates(run),
        models=MODELS,
        failed=failed[:most],
        failed_in_all=len(failed),
        metrics=metrics,
        columns=_METRICS,
        deltas=_deltas(run),
        learning=_learning(run),
        ranking=_ranking(run),
        fields=_fields(importances),
        slices=slices,
        days=_days(run),
        strips=[_pair(one) for one in strips],
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
    filters = {"figure": figure, "sentence": sentence, "cut": cut, "code": code, "percent": percent, "slug": slug}
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
        return " … ".join(figure(one) for one in value[:4])
    if isinstance(value, bool) or not isinstance(value, int | float):
        return cut(_MOMENT.sub(r"\1 \2 UTC", value) if isinstance(value, str) else value)
    return _number(value).replace("-", _MINUS)


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


def _mark(found: re.Match[str]) -> str:
    return _MINUS if found["code"] is None else f"<code>{found['code']}</code>"


def slug(title: str) -> str:
    """Return the anchor of a section."""
    return title.split()[0].lower()


def percent(value: float) -> str:
    """Return a share as text."""
    return f"{100 * value:.1f}%"


def cut(value: Any) -> str:
    """Return any value as text of bounded length."""
    return shown(value, quotes=False) if isinstance(value, str) else shown(value)


def _gates(run: Run) -> list[Gate]:
    """Return the gates, closed ones first."""
    order = ("closed", "borderline", "open")
    entries = sorted(run.gate.gates if run.gate else [], key=lambda one: order.index(one.verdict))
    return [Gate(one, _gate_picture(one)) for one in entries]


def _deltas(run: Run) -> list[GateEntry]:
    """Return the differences from the champion, none if the candidate is the champion itself."""
    if run.gate is None or (run.gate.champion and run.gate.champion.version == run.gate.bundle):
        return []
    return [one for one in run.gate.gates if one.name.startswith(_DELTA)]


def _gate_picture(entry: GateEntry) -> Markup | None:
    """Return a picture of a gate's interval beside its threshold, which is a lower bound or a pair of bounds."""
    low, high = entry.interval or (None, None)
    point = entry.observed
    threshold = entry.threshold
    limits = threshold if isinstance(threshold, list) else [threshold, None]
    numbers = [one for one in (low, high, point, *limits) if isinstance(one, int | float)]
    if low is None or high is None or len(limits) != 2 or len(numbers) < 4:
        return None
    return interval(Interval(point, low, high), Axis.over(numbers, ""), entry.verdict, (limits[0], limits[1]))


def _failed(run: Run) -> list[Failed]:
    """Return the failed expectations, critical ones first."""
    found = []
    for suite, report in run.validation.items():
        for entry in report.expectations:
            if not entry.success:
                sample = entry.sample[:MOST_SAMPLES]
                columns = list(dict.fromkeys(name for row in sample for name in row))[:MOST_COLUMNS]
                found.append(Failed(suite, entry, columns, sample))
    return sorted(found, key=lambda one: one.entry.severity != "critical")


def _metrics(run: Run) -> list[Measured]:
    """Return the metrics of the candidate beside those of the champion, the floors and the oracle."""
    found = []
    evaluation = run.evaluation
    if evaluation:
        found.append(Measured("Candidate", "test rows", evaluation.test))
        found.append(Measured("Candidate", "validation rows", evaluation.valid))
    if run.champion:
        about = f"its own test rows, until {run.champion.until}"
        found.append(Measured("Champion", about, run.champion.evaluation.test))
    if evaluation:
        found.append(Measured("Floor: LR", "test rows", evaluation.floors.lr))
        found.append(Measured("Floor: popularity", "test rows", evaluation.floors.popularity))
        found.append(Measured("Oracle", "true probabilities, test rows", evaluation.oracle))
    return [one for one in found if one.figures]


def _learning(run: Run) -> list[Chart]:
    """Return the learning curves, thinned to `_MOST_EPOCHS` epochs."""
    if run.training is None or not run.training.history:
        return []
    history = run.training.history[:: -(-len(run.training.history) // _MOST_EPOCHS)]
    best = run.training.best_epoch
    epochs = [one.epoch + 1 for one in history]
    ticks = [(float(at), str(at)) for at in epochs[:: -(-len(epochs) // 12)]]
    loss = {"train": ("train_loss", "other"), "validation": ("valid_log_loss", "candidate")}
    ranking = {"validation AUC": ("valid_auc", "candidate"), "validation GAUC": ("valid_gauc", "other")}
    charts = []
    for title, label, lines, note in (
        ("Loss by epoch", "log loss", loss, _rows_differ(run)),
        ("Ranking by epoch", "AUC, GAUC", ranking, ""),
    ):
        table = [(one.epoch + 1, *(getattr(one, key) for key, _ in lines.values())) for one in history]
        values = (value for row in table for value in row[1:] if value is not None)
        plot = Plot(Axis(min(epochs) - 0.4, max(epochs) + 0.4, "epoch"), Axis.over(values, label))
        plot.note_at(best, f"best: epoch {best}")
        for number, (_, style) in enumerate(lines.values(), 1):
            points = [(row[0], row[number]) for row in table if row[number] is not None]
            plot.line(points, style)
            plot.dots(points, style)
        key = {style: name for name, (_, style) in lines.items()}
        charts.append(Chart(title, plot.svg(title, ticks), ("epoch", *lines), table, note, key))
    return charts


def _rows_differ(run: Run) -> str:
    """Return a note if the losses of training and validation are not of rows that count alike."""
    features = run.features
    kept = features.negatives.training if features and features.negatives else 1.0
    weighed = features and features.params.get(WEIGHT) is not None
    aged = run.params and run.params.train.learning.half_life_days is not None
    rows = f"has only {100 * kept:.3g}% of the rows without a click" if kept < 1 else ""
    weights = "weighs its rows" if weighed or aged else ""
    if not rows and not weights:
        return ""
    how = " and ".join(filter(None, (rows, weights)))
    return f"Training {how}, and validation does not. So compare each line with itself, not with the other."


def _ranking(run: Run) -> list[Chart]:
    """Return ROC, calibration and lift."""
    scored = run.scored
    if scored is None:
        return []
    shown = {"model": ("candidate", "candidate"), "lr": ("LR", "other"), "popularity": ("popularity", "third")}
    shown = {name: told for name, told in shown.items() if name in scored.roc}
    names = [name for name, _ in shown.values()]
    key = {style: name for name, style in shown.values()}

    roc = Plot(Axis(0, 1, "share of unclicked rows"), Axis(0, 1, "share of clicked rows"))
    roc.line([(0, 0), (1, 1)], "chance")
    for one, (_, style) in reversed(shown.items()):
        roc.line(scored.roc[one], style)
    picture = roc.svg("ROC: share of clicked rows found, by share of unclicked rows taken along")
    rates = [(f"{false:.3f}", f"{true:.3f}") for false, true in scored.roc["model"][::4]]
    note = "Above the diagonal is better than chance. The table is the candidate's."
    charts = [Chart("ROC", picture, ("unclicked", "clicked"), rates, note, key)]

    bins = scored.calibration
    top = max((max(one.upper, one.predicted) for one in bins), default=1.0)
    plot = Plot(Axis(0, top * 1.04, "mean prediction"), Axis(0, top * 1.04, "CTR"))
    plot.line([(0, 0), (top, top)], "chance")
    for one in bins:
        plot.whisker(one.predicted, one.lower, one.upper, "candidate")
    plot.dots([(one.predicted, one.ctr) for one in bins], "candidate", radius=2)
    picture = plot.svg("Calibration: CTR of ten bins of rows by their mean prediction")
    columns = ("rows", "mean prediction", "CTR", "lower", "upper")
    table = [(one.rows, one.predicted, one.ctr, one.lower, one.upper) for one in bins]
    note = "On the diagonal, a prediction is the CTR. Below it, the model promises too much. Bounds are Wilson's."
    charts.append(Chart("Calibration", picture, columns, table, note))

    lifts = scored.lifts
    if lifts["model"]:
        height = Axis.over((lift for curve in lifts.values() for _, lift in curve), "CTR ÷ mean CTR", zero=True)
        plot = Plot(Axis(0, 1, "best share of the rows", percent=True), height)
        plot.line([(0, 1), (1, 1)], "chance")
        for one, (_, style) in reversed(shown.items()):
            plot.line(lifts[one], style)
        plot.dots(lifts["model"], "candidate")
        curves = zip(*(lifts[one] for one in shown), strict=True)
        table = [(percent(points[0][0]), *(lift for _, lift in points)) for points in curves]
        charts.append(Chart("Lift", plot.svg("Lift: CTR of the best rows"), ("best share", *names), table, key=key))
    if len(scored.days) > 1:
        charts += [_by_day(scored.days, "AUC"), _by_day(scored.days, "log loss")]
    return charts


def _by_day(days: Sequence[DayFigures], metric: Literal["AUC", "log loss"]) -> Chart:
    """Return a metric of each held-out day with its bounds."""
    found = [one.auc if metric == "AUC" else one.log_loss for one in days]
    values = [value for one in found for value in (one.point, one.lower, one.upper)]
    plot = Plot(Axis(0, len(days), "held-out day, UTC"), Axis.over(values, metric))
    for at, one in enumerate(found):
        if math.isfinite(one.lower):
            plot.whisker(at + 0.5, one.lower, one.upper, "candidate")
    plot.dots([(at + 0.5, one.point) for at, one in enumerate(found) if math.isfinite(one.point)], "candidate")
    ticks = [(at + 0.5, f"{days[at].day:%d %b %y}") for at in range(0, len(days), -(-len(days) // 4))]
    table = [
        (str(day.day), day.split, day.rows, one.point, one.lower, one.upper)
        for day, one in zip(days, found, strict=True)
    ]
    title = f"{metric} by day"
    columns = ("day", "split", "rows", metric, "lower", "upper")
    return Chart(title, plot.svg(f"{title} of the held-out rows", ticks), columns, table)


def _slices(run: Run) -> list[Slice]:
    if run.scored is None:
        return []
    parts = run.scored.slices
    auc = _axis([one.auc for one in parts], 0.0, 1.0)
    ratio = _axis([one.calibration for one in parts], 0.0, _HIGHEST_RATIO)
    whole = run.scored.test_auc.point
    limits = run.params.gate.calibration if run.params else None
    return [
        Slice(
            one,
            interval(one.auc, auc, _style(one.auc), reference=whole),
            interval(one.calibration, ratio, _style(one.calibration), permitted=limits),
        )
        for one in parts
    ]


def _axis(intervals: Sequence[Interval], low: float, high: float) -> Axis:
    """Return an axis over some intervals, within the given bounds."""
    axis = Axis.over((value for one in intervals for value in (one.point, one.lower, one.upper)), "")
    return Axis(max(axis.low, low), min(axis.high, high), "")


def _style(value: Interval) -> str:
    return "other" if math.isnan(value.lower) else "candidate"


def _days(run: Run) -> list[Chart]:
    """Return volume and CTR of the log by day."""
    found = run.periods
    if not found:
        return []
    span = (found[0].last - found[0].first).days + 1
    unit = "day" if span == 1 else f"{span} days"
    ticks = [(at + 0.5, f"{found[at].first:%d %b %y}") for at in range(0, len(found), -(-len(found) // 4))]
    x = Axis(0, len(found), f"from, by {unit}, UTC")
    volume = Plot(x, Axis.over((period.rows for period in found), "rows", zero=True))
    ctr = Plot(x, Axis.over((period.ctr for period in found), "CTR"))
    for at, period in enumerate(found):
        volume.bar(at, at + 1, period.rows, "other")
    for filled, periods in groupby(enumerate(found), key=lambda one: one[1].rows > 0):
        if filled:  # the line is broken where rows are missing
            points = [(at + 0.5, period.ctr) for at, period in periods]
            ctr.line(points, "candidate")
            ctr.dots(points, "candidate")
    table = [(str(period.first), str(period.last), period.rows, period.ctr) for period in found]
    columns = ("from", "to", "rows", "CTR")
    return [
        Chart(f"Rows by {unit}", volume.svg(f"Rows of the log by {unit}", ticks), columns, table),
        Chart(f"CTR by {unit}", ctr.svg(f"CTR of the log by {unit}", ticks), columns, table),
    ]


def _fields(importances: "Sequence[Importance]") -> list[Field]:
    losses = [one.loss for one in importances]
    axis = Axis.over([0.0, *(value for one in losses for value in (one.point, one.lower, one.upper))], "")
    return [Field(one, interval(one.loss, axis, _style(one.loss), reference=0.0)) for one in importances]


def _pair(one: "Strip") -> StripPair:
    clicked = [behaviour.for_clicked for behaviour in one.behaviours]
    unclicked = [behaviour.for_unclicked for behaviour in one.behaviours]
    return StripPair(one, _strip(one, clicked), _strip(one, unclicked))


def _strip(one: "Strip", weights: Sequence[float]) -> Markup:
    titles = [f"{behaviour.name}: {figure(w)}" for behaviour, w in zip(one.behaviours, weights, strict=True)]
    return strip(weights, titles, one.largest, one.sign)

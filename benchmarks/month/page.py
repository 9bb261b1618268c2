"""The tables and the picture of docs/month.md."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from markupsafe import Markup

from benchmarks.daily import CHAMPION, FIRST, SCRATCH, STALE, advantage, average
from benchmarks.month.days import TRUTH, Day, Month
from benchmarks.month.faults import FAULTS
from din.artifacts import atomic_path
from din.names import RunId
from din.registry.registry import Registry
from din.report.charts import BOTTOM, HEIGHT, LEFT, Axis, Plot

_MODELS = {
    CHAMPION: "champion",
    FIRST: "never retrained",
    SCRATCH: "from scratch every day",
    STALE: "three days stale",
    TRUTH: "true probabilities",
}
_COLOURS = {CHAMPION: "#0a6b66", FIRST: "#a8261c", SCRATCH: "#5b5fc7", STALE: "#b7791f", TRUTH: "#596067"}
_STYLE = (
    "text{font:11px sans-serif;fill:#596067}.line{fill:none;stroke-width:1.5}"
    ".grid{stroke:#d8dbdb;stroke-width:.5}.axis{stroke:#596067}"
)
_LEGEND = 0.4
"""The room below the curves for their names, as a share of the range of the values."""
_LEARNING = 1 / 10
_WHOLE = 1 / 3
_ROWS = 1.1
_REPLACED = 0.8
_MOST_SHOWN = 90


def text(month: Month, again: Month | None) -> str:
    """Return all tables.

    Args:
        month: a month whose days have all ended.
        again: the same month, run again in another folder, or None.
    """
    days = [month.day(CHAMPION, number) for number in range(1, month.settings.days + 1)]
    scores = {day.number: pq.read_table(path) for day in days if (path := month.scores(day.number)).exists()}
    parts = [
        _outcome(month, days, again),
        _pooled(list(scores.values())),
        _costs(month, days),
        _days(month, days, scores),
    ]
    return "\n".join(part for part in parts if part)


def line(month: Month, day: Day) -> str:
    """Return what happened on a day as one line for the terminal."""
    planted = f" ({FAULTS[day.fault].what})" if day.fault else ""
    return f"day {day.number} of {month.settings.days}, {month.date(day.number)}{planted}: {_verdict(month, day)}"


def picture(month: Month, path: Path) -> None:
    """Write the AUC of each model on each day as an SVG."""
    scores = {number: pq.read_table(month.scores(number)) for number in _scored(month)}
    curves = {
        name: [(float(number), average([rows], name)) for number, rows in scores.items() if name in rows.column_names]
        for name in _MODELS
    }
    values = [y for curve in curves.values() for _, y in curve]
    room = _LEGEND * (max(values) - min(values))
    y = Axis.over([min(values) - room, *values], "AUC on the day's impressions", ".2f")
    plot = Plot(Axis(0.5, month.settings.days + 0.5, "day"), y)
    drawn = [name for name, curve in curves.items() if curve]
    text = Markup('<text class="legend {}" x="{}" y="{}">{}</text>')
    for number, name in enumerate(reversed(drawn)):
        plot.line(curves[name], name)
        plot.dots(curves[name], name, 2.0)
        plot.marks.append(text.format(name, LEFT + 8, HEIGHT - BOTTOM - 8 - 13 * number, _MODELS[name]))
    colours = (
        f".line.{name}{{stroke:{colour}}}.dot.{name},.legend.{name}{{fill:{colour}}}"
        for name, colour in _COLOURS.items()
    )
    picture = plot.svg("AUC of the champion and of the models to compare with, by day")
    opened = '<svg xmlns="http://www.w3.org/2000/svg" class="plot"'
    styled = picture.replace('<svg class="plot"', Markup(opened), 1)
    whole = styled.replace(">", Markup(f"><style>{_STYLE}{''.join(colours)}</style>"), 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        temporary.write_text(f"{whole}\n", encoding="utf-8")


def _scored(month: Month) -> list[int]:
    return [number for number in range(1, month.settings.days + 1) if month.scores(number).exists()]


def _outcome(month: Month, days: Sequence[Day], again: Month | None) -> str:
    bad = [day for day in days if day.fault]
    sound = [day for day in days if not day.fault]
    served = served_bad_days(month, days)
    replaced = sum(day.promoted for day in sound) / len(sound)
    killed = [step.name for day in days for step in day.steps if step.code is None]
    lines = [
        f"- Bad days: {len(bad)}. Models of bad days that served: **{len(served)}**{_listed(served)}.",
        f"- Sound days: {len(sound)}. The champion was replaced on **{replaced:.0%}** of them (bar: {_REPLACED:.0%}).",
        f"- Stages killed by SIGKILL and run again: {', '.join(killed) or 'none'}.",
    ]
    if again:
        differing = [month.date(day.number) for day in days if again.day(CHAMPION, day.number).bundle != day.bundle]
        bundles = sum(day.bundle is not None for day in days)
        lines.append(f"- Run again in another folder: {bundles - len(differing)} of {bundles} bundles have equal bits.")
    return "\n".join(lines) + "\n"


def served_bad_days(month: Month, days: Sequence[Day]) -> list[str]:
    """Return the dates of bad days whose run made a champion, according to the registry."""
    registry = Registry(str(month.folder / "registry"), f"month-{CHAMPION}")
    runs = {record.run_id for record in registry.history()}
    return [
        month.date(day.number) for day in days if day.fault and RunId.of(month.run_id(CHAMPION, day.number)) in runs
    ]


def _listed(dates: Sequence[str]) -> str:
    return f" ({', '.join(dates)})" if dates else ""


def _pooled(scores: Sequence[pa.Table]) -> str:
    """Return the table of the champion's mean advantage over each other model."""
    lines = ["| champion's AUC less that of the model | mean over days | 95 % interval | days |", "|---|---|---|---|"]
    for name in (FIRST, STALE, SCRATCH, TRUTH):
        both = [day for day in scores if name in day.column_names]
        if both:
            found = advantage(both, CHAMPION, name)
            bounds = f"[{found.lower:+.4f}, {found.upper:+.4f}]"
            lines.append(f"| {_MODELS[name]} | {found.point:+.4f} | {bounds} | {len(both)} |")
    return "\n".join(lines) + "\n"


def _costs(month: Month, days: Sequence[Day]) -> str:
    """Return the table of what a day costs, with the champion and from scratch."""
    numbers = [day.number for day in days[1:] if day.promoted and month.day(SCRATCH, day.number).bundle]
    if not numbers:
        return ""
    ours = [month.day(CHAMPION, number) for number in numbers]
    theirs = [month.day(SCRATCH, number) for number in numbers]
    rows = {
        "learning, CPU s": (_mean([day.learning for day in ours]), _mean([day.learning for day in theirs]), _LEARNING),
        "the stages train and refit, CPU s": (
            _mean([day.cpu("train", "refit") for day in ours]),
            _mean([day.cpu("train", "refit") for day in theirs]),
            None,
        ),
        "the whole run, CPU s": (_mean([day.cpu() for day in ours]), _mean([day.cpu() for day in theirs]), _WHOLE),
        "rows of the embedding table, last day": (ours[-1].table_rows or 0, theirs[-1].table_rows or 0, _ROWS),
    }
    lines = [
        f"Means over {len(numbers)} days.\n",
        "| | champion | from scratch | ratio | bar, for a window of 30 days |",
        "|---|---|---|---|---|",
    ]
    for what, (mine, other, bar) in rows.items():
        limit = f"≤ {bar:.2f}" if bar else ""
        lines.append(f"| {what} | {mine:,.1f} | {other:,.1f} | **{mine / other:.2f}** | {limit} |")
    return "\n".join(lines) + "\n"


def _days(month: Month, days: Sequence[Day], scores: Mapping[int, pa.Table]) -> str:
    """Return the table with a row for each day."""
    shown = [name for name in _MODELS if any(name in rows.column_names for rows in scores.values())]
    lines = ["| day | planted | outcome | " + " | ".join(_MODELS[name] for name in shown) + " |"]
    lines.append("|---" * (3 + len(shown)) + "|")
    for day in days:
        rows = scores.get(day.number)
        cells = [f"{average([rows], name):.3f}" if rows and name in rows.column_names else "" for name in shown]
        planted = FAULTS[day.fault].what if day.fault else ""
        lines.append(f"| {month.date(day.number)} | {planted} | {_verdict(month, day)} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _verdict(month: Month, day: Day) -> str:
    if day.promoted:
        killed = [step.name for step in day.steps if step.code is None]
        return f"promoted, after {', '.join(killed)} was killed" if killed else "promoted"
    last = day.steps[-1]
    why = " ".join(last.why.split()).replace("|", "/").replace(f"{month.folder}/", "")
    return f"refused at {last.name}: {why if len(why) <= _MOST_SHOWN else why[: _MOST_SHOWN - 1] + '…'}"


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)

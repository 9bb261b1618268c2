"""The tables and the picture of a month, for docs/month.md and as a page in the style of the run report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self

import pyarrow as pa
import pyarrow.parquet as pq
from markupsafe import Markup

from benchmarks.daily import CHAMPION, FIRST, SCRATCH, STALE, advantage, average
from benchmarks.month.days import TRUTH, Day, Month
from benchmarks.month.faults import FAULTS
from din.artifacts import write_bytes
from din.names import RunId
from din.registry.registry import Registry
from din.report.charts import BOTTOM, HEIGHT, LEFT, Axis, Plot
from din.report.page import environment

_MODELS = {
    CHAMPION: "champion",
    FIRST: "never retrained",
    SCRATCH: "from scratch every day",
    STALE: "three days stale",
    TRUTH: "true probabilities",
}


class _Colour(NamedTuple):
    """The colour of a model on a light and on a dark screen."""

    light: str
    dark: str


_COLOURS = {
    CHAMPION: _Colour("#0a6b66", "#62c9c0"),
    FIRST: _Colour("#a8261c", "#ff9d92"),
    SCRATCH: _Colour("#5257b8", "#a9adff"),
    STALE: _Colour("#8a5a0f", "#e3b463"),
    TRUTH: _Colour("#596067", "#9fa8ae"),
}
_STYLE = (
    "text{font:11px sans-serif;fill:#596067}.line{fill:none;stroke-width:1.5}"
    ".grid{stroke:#d8dbdb;stroke-width:.5}.axis{stroke:#596067}"
)
_LEGEND = 0.5
"""The room below the curves for their names, as a share of the range of the values."""
_LEARNING = 1 / 10
_WHOLE = 1 / 3
_ROWS = 1.1
_REPLACED = 0.8
_MOST_SHOWN = 90


@dataclass(frozen=True)
class _Table:
    """A table of texts, with a note below it."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""

    def markdown(self) -> str:
        """Return the table in Markdown."""
        lines = [self.head, ["---"] * len(self.head), *self.rows]
        text = "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
        return f"{text}\n{self.note}\n" if self.note else text


@dataclass(frozen=True)
class _Ended:
    """A month whose days have all ended.

    Attributes:
        month: the month.
        days: the runs of the champion's policy.
        scores: the scored rows of each sound day, by its number.
    """

    month: Month
    days: Sequence[Day]
    scores: Mapping[int, pa.Table]

    @classmethod
    def read(cls, month: Month) -> Self:
        days = [month.day(CHAMPION, number) for number in range(1, month.settings.days + 1)]
        paths = {day.number: month.scores(day.number) for day in days}
        scores = {number: pq.read_table(path) for number, path in paths.items() if path.exists()}
        return cls(month, days, scores)


def text(month: Month, again: Month | None) -> str:
    """Return all tables in Markdown.

    Args:
        month: a month whose days have all ended.
        again: the same month, run again in another folder, or None.
    """
    ended = _Ended.read(month)
    statements = "".join(f"- {statement}\n" for statement in _statements(ended, again))
    tables = [*_compared(ended), _days(ended)]
    return "\n".join([statements, *(table.markdown() for table in tables)])


def write_html(month: Month, again: Month | None, path: Path) -> None:
    """Write the page in the style of the run report; see `text`."""
    ended = _Ended.read(month)
    template = environment(Path(__file__).parent).get_template("month.html.j2")
    page = template.render(
        first=month.date(1),
        last=month.date(month.settings.days),
        commit=month.settings.commit,
        served=served_bad_days(month, ended.days),
        statements=_statements(ended, again),
        colours=_COLOURS,
        picture=_curves(ended),
        compared=_compared(ended),
        days=_days(ended),
    )
    write_bytes(path, page.encode())


def line(month: Month, day: Day) -> str:
    """Return what happened on a day as one line for the terminal."""
    planted = f" ({FAULTS[day.fault].what})" if day.fault else ""
    return f"day {day.number} of {month.settings.days}, {month.date(day.number)}{planted}: {_verdict(month, day)}"


def picture(month: Month, path: Path) -> None:
    """Write the AUC of each model on each day as an SVG."""
    colours = (
        f".line.{name}{{stroke:{colour.light}}}.dot.{name},.legend.{name}{{fill:{colour.light}}}"
        for name, colour in _COLOURS.items()
    )
    opened = '<svg xmlns="http://www.w3.org/2000/svg" class="plot"'
    styled = _curves(_Ended.read(month)).replace('<svg class="plot"', Markup(opened), 1)
    whole = styled.replace(">", Markup(f"><style>{_STYLE}{''.join(colours)}</style>"), 1)
    write_bytes(path, f"{whole}\n".encode())


def _curves(ended: _Ended) -> Markup:
    """Return the AUC of each model on each day as an SVG; its lines and names have a class for each model."""
    curves = {
        name: [
            (float(number), average([rows], name)) for number, rows in ended.scores.items() if name in rows.column_names
        ]
        for name in _MODELS
    }
    values = [y for curve in curves.values() for _, y in curve]
    room = _LEGEND * (max(values) - min(values))
    y = Axis.over([min(values) - room, *values], "AUC on the day's impressions")
    plot = Plot(Axis(0.5, ended.month.settings.days + 0.5, "day"), y)
    drawn = [name for name, curve in curves.items() if curve]
    text = Markup('<text class="legend {}" x="{}" y="{}">{}</text>')
    for number, name in enumerate(reversed(drawn)):
        plot.line(curves[name], name)
        plot.dots(curves[name], name, 2.0)
        plot.marks.append(text.format(name, LEFT + 8, HEIGHT - BOTTOM - 8 - 16 * number, _MODELS[name]))
    return plot.svg("AUC of the champion and of the models to compare with, by day")


def _statements(ended: _Ended, again: Month | None) -> list[str]:
    """Return what happened in a few sentences."""
    bad = [day for day in ended.days if day.fault]
    sound = [day for day in ended.days if not day.fault]
    served = served_bad_days(ended.month, ended.days)
    replaced = sum(day.promoted for day in sound)
    killed = [step.name for day in ended.days for step in day.steps if step.code is None]
    lessons = [day for day in bad if day.fault and FAULTS[day.fault].lesson]
    gated = sum(day.steps[-1].name == "gate" for day in lessons)
    said = [
        f"Bad days: {len(bad)}. Models of bad days that served: {len(served)}{_listed(served)}.",
        f"Bad lessons among them: {len(lessons)}, of which `gate` refused {gated}.",
        f"Sound days: {len(sound)}. The champion was replaced on {replaced} of them "
        f"({100 * replaced / len(sound):.0f} %; bar: {100 * _REPLACED:.0f} %).",
        f"Stages killed by SIGKILL and run again: {', '.join(killed) or 'none'}.",
    ]
    if again:
        differing = [day.number for day in ended.days if again.day(CHAMPION, day.number).bundle != day.bundle]
        bundles = sum(day.bundle is not None for day in ended.days)
        said.append(f"Run again in another folder: {bundles - len(differing)} of {bundles} bundles have equal bits.")
    return said


def served_bad_days(month: Month, days: Sequence[Day]) -> list[str]:
    """Return the dates of bad days whose run made a champion, according to the registry."""
    registry = Registry(str(month.folder / "registry"), f"month-{CHAMPION}")
    runs = {record.run_id for record in registry.history()}
    return [
        month.date(day.number) for day in days if day.fault and RunId.of(month.run_id(CHAMPION, day.number)) in runs
    ]


def _listed(dates: Sequence[str]) -> str:
    return f" ({', '.join(dates)})" if dates else ""


def _compared(ended: _Ended) -> list[_Table]:
    """Return the tables that compare the champion with other models, without those that have no rows."""
    return [table for table in (_pooled(ended), _costs(ended)) if table.rows]


def _pooled(ended: _Ended) -> _Table:
    """Return the table of the champion's mean advantage over each other model."""
    rows = []
    for name in (FIRST, STALE, SCRATCH, TRUTH):
        both = [day for day in ended.scores.values() if name in day.column_names]
        if both:
            found = advantage(both, CHAMPION, name)
            bounds = f"[{found.lower:+.4f}, {found.upper:+.4f}]"
            rows.append([_MODELS[name], f"{found.point:+.4f}", bounds, str(len(both))])
    head = ["champion's AUC less that of the model", "mean over days", "95 % interval", "days"]
    return _Table("The champion's AUC less that of others", head, rows)


def _costs(ended: _Ended) -> _Table:
    """Return the table of what a day costs, with the champion and from scratch."""
    month = ended.month
    title = "The cost of a day"
    head = ["", "champion", "from scratch", "ratio", "bar, for a window of 30 days"]
    numbers = [day.number for day in ended.days[1:] if day.promoted and month.day(SCRATCH, day.number).bundle]
    if not numbers:
        return _Table(title, head, [])
    ours = [month.day(CHAMPION, number) for number in numbers]
    theirs = [month.day(SCRATCH, number) for number in numbers]
    costs = {
        "learning, CPU s": (_mean([day.learning for day in ours]), _mean([day.learning for day in theirs]), _LEARNING),
        "the stages train and refit, CPU s": (
            _mean([day.cpu("train", "refit") for day in ours]),
            _mean([day.cpu("train", "refit") for day in theirs]),
            None,
        ),
        "the whole run, CPU s": (_mean([day.cpu() for day in ours]), _mean([day.cpu() for day in theirs]), _WHOLE),
        "rows of the embedding table, last day": (ours[-1].table_rows or 0, theirs[-1].table_rows or 0, _ROWS),
    }
    rows = [
        [what, f"{mine:,.1f}", f"{other:,.1f}", f"{mine / other:.2f}", f"≤ {bar:.2f}" if bar else ""]
        for what, (mine, other, bar) in costs.items()
    ]
    return _Table(title, head, rows, f"Means over {len(numbers)} days.")


def _days(ended: _Ended) -> _Table:
    """Return the table with a row for each day."""
    shown = [name for name in _MODELS if any(name in rows.column_names for rows in ended.scores.values())]
    lines = []
    for day in ended.days:
        rows = ended.scores.get(day.number)
        cells = [f"{average([rows], name):.3f}" if rows and name in rows.column_names else "" for name in shown]
        planted = FAULTS[day.fault].what if day.fault else ""
        lines.append([ended.month.date(day.number), planted, _verdict(ended.month, day), *cells])
    return _Table("Days", ["day", "planted", "outcome", *(_MODELS[name] for name in shown)], lines)


def _verdict(month: Month, day: Day) -> str:
    if day.promoted:
        killed = [step.name for step in day.steps if step.code is None]
        return f"promoted, after {', '.join(killed)} was killed" if killed else "promoted"
    last = day.steps[-1]
    why = " ".join(last.why.split()).replace("|", "/").replace(f"{month.folder}/", "")
    return f"refused at {last.name}: {why if len(why) <= _MOST_SHOWN else why[: _MOST_SHOWN - 1] + '…'}"


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)

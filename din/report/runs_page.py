"""Render all runs as one HTML page, in the style of the run report and as safe and small as it (see `page.py`)."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

from markupsafe import Markup

from din.artifacts import write_bytes
from din.report.charts import Axis, Plot
from din.report.page import MOST_BYTES, environment
from din.report.runs import Point, Runs, read_runs
from din.workspace import Workspace

_MOST_ROWS = (1000, 500, 200)
"""Numbers of runs, each for pages that are too long with the one before."""


def write_runs(workspace: Workspace, uri: str, model_name: str) -> Runs:
    """Write `reports/runs.html` about the runs of a registry, the oldest left out where there are too many."""
    runs = read_runs(uri, model_name, _MOST_ROWS[0])
    page = _render(runs, uri, workspace.runs_page)
    for most in _MOST_ROWS[1:]:
        if len(page) <= MOST_BYTES:
            break
        runs = runs.shortened(most)
        page = _render(runs, uri, workspace.runs_page)
    write_bytes(workspace.runs_page, page)
    return runs


def _render(runs: Runs, uri: str, page: Path) -> bytes:
    folder = page.parent.resolve()
    template = environment().get_template("runs.html.j2")
    linked = {
        one.report: quote(Path(os.path.relpath(Path(one.report).expanduser().resolve(), folder)).as_posix())
        for one in runs.rows
        if one.report and "://" not in uri
    }
    return template.render(runs=runs, curve=_curve(runs.points), links=linked).encode()


def _curve(points: Sequence[Point]) -> Markup | None:
    """Return the champions' AUC over time, or None if no AUC is known."""
    known = [(_days(one), one) for one in points if one.figure.value is not None]
    if not known:
        return None
    bounds = [value for _, one in known for value in (one.figure.value, *(one.figure.interval or ()))]
    first = known[0][0]
    last = known[-1][0]
    room = (last - first or 1.0) * 0.12  # for the texts of the two dates
    plot = Plot(Axis(first - room, last + room, "day of the promotion"), Axis.over(filter(None, bounds), "AUC"))
    line = [(at, one.figure.bounds.point) for at, one in known]
    plot.line(line, "candidate")
    for at, one in known:
        low, high = one.figure.interval or (None, None)
        if low is not None and high is not None:
            plot.whisker(at, low, high, "candidate")
    plot.dots(line, "candidate")
    ends = {known[0][0]: known[0][1], known[-1][0]: known[-1][1]}
    return plot.svg(
        "AUC of the champions by the day of their promotion", [(at, one.at[:10]) for at, one in ends.items()]
    )


def _days(point: Point) -> float:
    return datetime.fromisoformat(point.at).timestamp() / 86_400


def print_runs(workspace: Workspace, runs: Runs, as_json: bool = False) -> None:
    """Print the page's path, or the runs as JSON."""
    if as_json:
        print(json.dumps([asdict(one) for one in runs.rows], indent=2))
        return
    older = f", {runs.left_out} older ones not shown" if runs.left_out else ""
    print(f"runs of {runs.name}: {len(runs.rows)}{older}")
    print(f"report: {workspace.relative(workspace.runs_page)}")

"""Format report entries for terminals and CI logs, without importing Great Expectations, so the gate starts fast."""

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from din.verdicts import Expectation

WIDTH = 120


def failures(entries: Iterable[Expectation]) -> str:
    """Return failed expectations as text: observed values, thresholds, offending rows, and advice."""
    entries = list(entries)
    rows = [(e.severity, e.name, figure(e.observed), threshold(e.threshold)) for e in entries]
    return "\n".join([aligned(("severity", "expectation", "observed", "threshold"), rows), *map(_details, entries)])


def _details(entry: Expectation) -> str:
    lines = [f"{entry.name}: {entry.advice}"]
    lines += [f"    reason: {entry.reason}"] if entry.reason else []
    lines += [f"    e.g. {json.dumps(row, ensure_ascii=False)}" for row in entry.sample]
    return "\n".join(lines)


def figure(value: Any) -> str:
    """Return a value as text: integers with grouped thousands, floats with five significant digits, None as `–`."""
    if value is None:
        return "–"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def threshold(asked: Mapping[Any, Any]) -> str:
    """Return a threshold as text, e.g. `= 0`, `≥ 1,000` or `0.7 … 1.4`."""
    low = asked.get("min")
    high = asked.get("max")
    if "in" in asked:
        return "one of " + ", ".join(map(str, asked["in"]))
    if low is not None and high is not None:
        return f"= {figure(low)}" if low == high else f"{figure(low)} … {figure(high)}"
    if low is not None:
        return f"≥ {figure(low)}"
    if high is None:
        return "–"
    return f"= {figure(high)}" if high == 0 else f"≤ {figure(high)}"


def aligned(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table as text, `WIDTH` columns wide at most, so that logs look the same everywhere."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in header:
        table.add_column(name)
    for row in rows:
        table.add_row(*map(Text, row))
    console = Console(file=io.StringIO(), width=WIDTH)
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines()).strip("\n") + "\n"

"""Format report entries for terminals and CI logs, without importing Great Expectations, so the gate starts fast."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from din.base.printing import table_text
from din.contracts.verdicts import Expectation


def failures(entries: Sequence[Expectation]) -> str:
    """Return failed expectations as text: observed values, thresholds, offending rows, and advice."""
    rows = [(e.severity, e.name, _figure(e.observed), _threshold(e.threshold)) for e in entries]
    table = table_text(("severity", "expectation", "observed", "threshold"), rows)
    return "\n".join([table, *map(_details, entries)])


def _details(entry: Expectation) -> str:
    lines = [f"{entry.name}: {entry.advice}"]
    lines += [f"    reason: {entry.reason}"] if entry.reason else []
    lines += [f"    e.g. {json.dumps(row, ensure_ascii=False)}" for row in entry.sample]
    return "\n".join(lines)


def _figure(value: Any) -> str:
    """Return a value as text: integers with grouped thousands, floats with five significant digits, None as `–`."""
    if value is None:
        return "–"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def _threshold(asked: Mapping[Any, Any]) -> str:
    """Return a threshold as text, e.g. `= 0`, `≥ 1,000` or `0.7 … 1.4`."""
    low = asked.get("min")
    high = asked.get("max")
    if "in" in asked:
        return "one of " + ", ".join(map(str, asked["in"]))
    if low is not None and high is not None:
        return f"= {_figure(low)}" if low == high else f"{_figure(low)} … {_figure(high)}"
    if low is not None:
        return f"≥ {_figure(low)}"
    if high is None:
        return "–"
    return f"= {_figure(high)}" if high == 0 else f"≤ {_figure(high)}"

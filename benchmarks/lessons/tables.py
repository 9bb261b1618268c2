"""Tables of lessons in Markdown."""

import math
from collections.abc import Iterable, Sequence

from benchmarks.lessons.drive import Judged

_HEAD = ("lesson", "run", "AUC of the next day, effect", "margin", "not open", "")
_GATES_SHOWN = 4


def table(lessons: Iterable[tuple[str, Judged, float]]) -> str:
    """Return a table with a row for each lesson, given what it was, what became of it and the permitted loss."""
    rows = [_HEAD, ["---"] * len(_HEAD), *(_row(*lesson) for lesson in lessons)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in rows)


def _row(what: str, judged: Judged, margin: float) -> Sequence[str]:
    effect = judged.effect
    bounds = f"{effect.point:+.4f} [{effect.lower:+.4f}, {effect.upper:+.4f}]" if effect else ""
    gates = [f"`{name}`" for name in judged.closed[:_GATES_SHOWN]]
    more = len(judged.closed) - len(gates)
    closed = ", ".join([*gates, *([f"{more} more"] if more else [])])
    return what, judged.run, bounds, f"{margin:.4f}" if math.isfinite(margin) else "", closed, judged.verdict(margin)

"""Tables of lessons in Markdown."""

import math
from collections.abc import Iterable, Sequence

from benchmarks.lessons.drive import Lesson

_HEAD = ("lesson", "run", "AUC of the next day, effect", "margin", "not open", "")
_GATES_SHOWN = 4


def table(lessons: Iterable[Lesson]) -> str:
    """Return a table with a row for each lesson."""
    rows = [_HEAD, ["---"] * len(_HEAD), *map(_row, lessons)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in rows)


def _row(lesson: Lesson) -> Sequence[str]:
    judged = lesson.judged
    effect = judged.effect
    bounds = f"{effect.point:+.4f} [{effect.lower:+.4f}, {effect.upper:+.4f}]" if effect else ""
    gates = [f"`{name}`" for name in judged.closed[:_GATES_SHOWN]]
    more = len(judged.closed) - len(gates)
    closed = ", ".join([*gates, *([f"{more} more"] if more else [])])
    margin = f"{lesson.permitted:.4f}" if math.isfinite(lesson.permitted) else ""
    return lesson.what, judged.run, bounds, margin, closed, lesson.verdict

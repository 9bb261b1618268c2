"""Charts as inline SVG, without a script. Colours are classes, so that the page's style serves light and dark.

A `Plot` maps data to a fixed drawing area and collects marks. All text is escaped.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

from din.metrics.estimates import Interval

WIDTH, HEIGHT = 440, 278
LEFT, RIGHT, TOP, BOTTOM = 76, 22, 24, 48
_FEWEST_STEPS = 3
_LEAST_SHARE = 1e-9  # of the largest value; ticks stay different numbers where values differ in their last bits

Point = tuple[float, float]


@dataclass(frozen=True)
class Axis:
    """One axis: its bounds and its label."""

    low: float
    high: float
    label: str

    @classmethod
    def over(cls, values: Iterable[float], label: str) -> "Axis":
        """Return an axis over all finite values, with some room."""
        finite = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
        low = min(finite)
        high = max(finite)
        largest = max(abs(low), abs(high)) or 1.0
        room = max((high - low or largest) * 0.06, largest * _LEAST_SHARE)
        return cls(low - room, high + room, label)

    def ticks(self) -> dict[float, str]:
        """Return round values within the bounds, 1, 2 or 5 times a power of ten apart, with their texts."""
        most = (self.high - self.low) / _FEWEST_STEPS
        power = math.floor(math.log10(most))
        step = next((factor for factor in (5, 2) if factor * 10.0**power <= most), 1)
        scale = 10.0 ** abs(power)
        numbers = range(
            math.ceil(self.low / step / 10.0**power - 1e-9), math.floor(self.high / step / 10.0**power + 1e-9) + 1
        )
        values = [number * step / scale if power < 0 else number * step * scale for number in numbers]
        return {value: f"{value:,.12g}" for value in values}


@dataclass
class Plot:
    """A chart that is being drawn. `style` is always a class of the page."""

    x: Axis
    y: Axis
    marks: list[Markup] = field(default_factory=list)

    def line(self, points: Sequence[Point], style: str) -> None:
        """Draw a line through points."""
        path = " ".join(f"{self._x(x):.1f},{self._y(y):.1f}" for x, y in points)
        self.marks.append(Markup('<polyline class="line {}" points="{}"/>').format(style, path))

    def dots(self, points: Sequence[Point], style: str) -> None:
        """Draw a dot at each point."""
        dot = Markup('<circle class="dot {}" cx="{}" cy="{}" r="3.2"/>')
        self.marks += [dot.format(style, _n(self._x(x)), _n(self._y(y))) for x, y in points]

    def interval(self, x: float, value: Interval, style: str) -> None:
        """Draw the bounds of an interval of y at one x, if they are defined, and its point."""
        line = Markup('<line class="whisker {0}" x1="{1}" x2="{1}" y1="{2}" y2="{3}"/>')
        if math.isfinite(value.lower):
            self.marks.append(line.format(style, _n(self._x(x)), _n(self._y(value.lower)), _n(self._y(value.upper))))
        if math.isfinite(value.point):
            self.dots([(x, value.point)], style)

    def note_at(self, x: float, text: str) -> None:
        """Draw a dashed vertical line at x, with a text above it, where no mark is."""
        at = self._x(x)
        rule = Markup('<line class="rule" x1="{0}" x2="{0}" y1="{1}" y2="{2}"/>')
        note = Markup('<text class="note" x="{}" y="{}" text-anchor="{}">{}</text>')
        anchor = "end" if at > (LEFT + WIDTH - RIGHT) / 2 else "start"
        self.marks.append(rule.format(_n(at), TOP, HEIGHT - BOTTOM))
        self.marks.append(note.format(_n(at), TOP - 7, anchor, text))

    def svg(self, title: str, x_names: Sequence[Point | tuple[float, str]] | None = None) -> Markup:
        """Return the picture.

        Args:
            title: read by screen readers.
            x_names: ticks of the x axis with their texts, in place of numbers.
        """
        names = x_names if x_names is not None else self.x.ticks().items()
        line = Markup('<line class="{}" x1="{}" x2="{}" y1="{}" y2="{}"/>')
        text = Markup('<text class="tick" x="{}" y="{}" text-anchor="{}">{}</text>')
        right = WIDTH - RIGHT
        bottom = HEIGHT - BOTTOM
        marks = []
        for tick, name in self.y.ticks().items():
            y = self._y(tick)
            marks.append(line.format("grid", LEFT, right, _n(y), _n(y)))
            marks.append(text.format(LEFT - 7, _n(y + 4), "end", name))
        marks += [text.format(_n(self._x(at)), bottom + 20, "middle", name) for at, name in names]
        marks.append(line.format("axis", LEFT, right, bottom, bottom))
        marks += self.marks
        marks.append(text.format(_n((LEFT + right) / 2), HEIGHT - 6, "middle", self.x.label))
        upright = Markup('<text class="tick" transform="translate(16 {}) rotate(-90)" text-anchor="middle">{}</text>')
        marks.append(upright.format(_n((TOP + bottom) / 2), self.y.label))
        picture = Markup('<svg class="plot" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>')
        return picture.format(WIDTH, HEIGHT, title, Markup("").join(marks))

    def _x(self, value: float) -> float:
        return LEFT + (value - self.x.low) / (self.x.high - self.x.low) * (WIDTH - LEFT - RIGHT)

    def _y(self, value: float) -> float:
        inside = min(max(value, self.y.low), self.y.high)
        return HEIGHT - BOTTOM - (inside - self.y.low) / (self.y.high - self.y.low) * (HEIGHT - TOP - BOTTOM)


def _n(value: float) -> str:
    return f"{value:.1f}"

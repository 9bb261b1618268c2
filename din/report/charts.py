"""Charts as inline SVG, without a script. Colours are classes, so that the page's style serves light and dark.

A `Plot` maps data to a fixed drawing area and collects marks. Its text lies in the picture, so a picture is never drawn
wider than its columns are. `interval` draws one bar for a row of a table. All text is escaped.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

from din.metrics.estimates import Interval

WIDTH, HEIGHT = 440, 278
LEFT, RIGHT, TOP, BOTTOM = 76, 22, 24, 48
_TICKS = 5
_MOST_TICK = 10
"""The largest number of characters of a tick that is not written with an exponent."""
_LEAST_SHARE = 1e-9  # of the largest value; ticks stay different numbers where values differ in their last bits
_LEAST_ROOM = 1e-300  # steps stay normal numbers around a single value that is almost 0

Point = tuple[float, float]


@dataclass(frozen=True)
class Axis:
    """One axis: its bounds, its label, and whether its ticks are written as percentages."""

    low: float
    high: float
    label: str
    percent: bool = False

    @classmethod
    def over(cls, values: Iterable[float], label: str, zero: bool = False) -> "Axis":
        """Return an axis over all finite values, with some room, from 0 on if `zero`."""
        finite = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
        low = min(finite)
        high = max(finite)
        largest = max(abs(low), abs(high))
        room = max((high - low or largest or 1.0) * 0.06, largest * _LEAST_SHARE, _LEAST_ROOM)
        return cls(0.0 if zero else low - room, high + room, label)

    def ticks(self) -> dict[float, str]:
        """Return round values within the bounds, with their texts, which have the digits that the step needs."""
        least = (self.high - self.low) / _TICKS
        power = math.floor(math.log10(least))
        steps = ((1, power), (2, power), (5, power), (1, power + 1))
        factor, power = next((factor, power) for factor, power in steps if factor * 10.0**power >= least)
        step = factor * 10.0**power
        numbers = range(math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9) + 1)
        digits = [number * factor for number in numbers]  # a tick is digits · 10^power
        values = [one / 10**-power if power < 0 else float(one * 10**power) for one in digits]
        if self.percent:
            return {value: f"{value:.{max(-power - 2, 0)}%}" for value in values}
        texts = [f"{value:,.{max(-power, 0)}f}" for value in values]
        if max(map(len, texts)) > _MOST_TICK:
            most = max(len(str(abs(one))) for one in digits)
            texts = [f"{value:.{most - 1}e}" for value in values]
        return dict(zip(values, texts, strict=True))


@dataclass
class Plot:
    """A chart that is being drawn."""

    x: Axis
    y: Axis
    marks: list[Markup] = field(default_factory=list)

    def line(self, points: Sequence[Point], style: str) -> None:
        """Draw a line through points; `style` is a class of the page."""
        path = " ".join(f"{self._x(x):.1f},{self._y(y):.1f}" for x, y in points)
        self.marks.append(Markup('<polyline class="line {}" points="{}"/>').format(style, path))

    def dots(self, points: Sequence[Point], style: str, radius: float = 3.2) -> None:
        """Draw a dot at each point."""
        dot = Markup('<circle class="dot {}" cx="{}" cy="{}" r="{}"/>')
        self.marks += [dot.format(style, _n(self._x(x)), _n(self._y(y)), radius) for x, y in points]

    def whisker(self, x: float, low: float, high: float, style: str) -> None:
        """Draw an interval of y at one x."""
        line = Markup('<line class="whisker {0}" x1="{1}" x2="{1}" y1="{2}" y2="{3}"/>')
        self.marks.append(line.format(style, _n(self._x(x)), _n(self._y(low)), _n(self._y(high))))

    def bar(self, left: float, right: float, height: float, style: str) -> None:
        """Draw a bar over a range of x, from 0 up."""
        start = self._x(left)
        top = self._y(height)
        width = max(self._x(right) - start - 1, 0.5)
        rect = Markup('<rect class="bar {}" x="{}" y="{}" width="{}" height="{}"/>')
        self.marks.append(rect.format(style, _n(start), _n(top), _n(width), _n(self._y(0) - top)))

    def note_at(self, x: float, text: str) -> None:
        """Draw a dashed vertical line at x, with a text above it, where no mark is."""
        at = self._x(x)
        rule = Markup('<line class="rule" x1="{0}" x2="{0}" y1="{1}" y2="{2}"/>')
        note = Markup('<text class="note" x="{}" y="{}" text-anchor="{}">{}</text>')
        anchor = "end" if at > (LEFT + WIDTH - RIGHT) / 2 else "start"
        self.marks.append(rule.format(_n(at), TOP, HEIGHT - BOTTOM))
        self.marks.append(note.format(_n(at), TOP - 7, anchor, text))

    def svg(self, title: str, x_names: Sequence[tuple[float, str]] | None = None) -> Markup:
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


def interval(
    bounds: Interval,
    axis: Axis,
    style: str,
    permitted: tuple[float | None, float | None] | None = None,
    reference: float | None = None,
) -> Markup:
    """Return a small picture of an interval for a row of a table, whose cells hold the numbers.

    Args:
        bounds: the interval; only its point is drawn where its bounds are undefined, and nothing without a point.
        axis: shared by the rows that are to be compared.
        style: class of the mark.
        permitted: the range that is shaded; None leaves a side open.
        reference: a value to compare with, which is drawn as a line.
    """
    width, height, middle = 180, 18, 9

    def at(value: float) -> float:
        inside = min(max(value, axis.low), axis.high)
        return (inside - axis.low) / (axis.high - axis.low) * width

    marks = []
    if permitted:
        low, high = permitted
        start = 0.0 if low is None else at(low)
        end = float(width) if high is None else at(high)
        shade = Markup('<rect class="permitted" x="{}" y="0" width="{}" height="{}"/>')
        marks.append(shade.format(_n(start), _n(end - start), height))
    limit = Markup('<line class="limit" x1="{0}" x2="{0}" y1="0" y2="{1}"/>')
    marks += [limit.format(_n(at(value)), height) for value in (*(permitted or ()), reference) if value is not None]
    if not math.isnan(bounds.lower):
        whisker = Markup('<line class="whisker {0}" x1="{1}" x2="{2}" y1="{3}" y2="{3}"/>')
        marks.append(whisker.format(style, _n(at(bounds.lower)), _n(at(bounds.upper)), middle))
    if not math.isnan(bounds.point):
        dot = Markup('<circle class="dot {}" cx="{}" cy="{}" r="3.6"/>')
        marks.append(dot.format(style, _n(at(bounds.point)), middle))
    picture = Markup('<svg class="interval" viewBox="0 0 {} {}" aria-hidden="true">{}</svg>')
    return picture.format(width, height, Markup("").join(marks))


def strip(weights: Sequence[float], titles: Sequence[str], largest: float, sign: float) -> Markup:
    """Return one row of cells, one per behaviour, each as dark as its weight is large.

    Args:
        weights: the weights.
        titles: the text of each cell, which a pointer shows.
        largest: the absolute weight that is drawn darkest.
        sign: of the weights that are filled; a weight of the other sign is an outline, with the same darkness.
    """
    cell, height = 10, 26
    one = Markup(
        '<rect class="cell {}" x="{}" y="1" width="{}" height="{}" style="--share:{}"><title>{}</title></rect>'
    )
    marks = []
    for number, (weight, title) in enumerate(zip(weights, titles, strict=True)):
        share = min(abs(weight) / largest, 1.0) if largest else 0.0
        style = "opposite" if weight * sign < 0 else "filled"
        left = _n(number * cell + 0.6)
        marks.append(one.format(style, left, _n(cell - 1.2), height - 2, f"{share:.3f}", title))
    picture = Markup('<svg class="strip" viewBox="0 0 {} {}" preserveAspectRatio="none" aria-hidden="true">{}</svg>')
    return picture.format(max(len(weights), 1) * cell, height, Markup("").join(marks))


def _n(value: float) -> str:
    return f"{value:.1f}"

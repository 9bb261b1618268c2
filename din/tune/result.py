"""The result of `din tune`: the tables that it prints, and the overlay and the page that it writes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from din.artifacts import write_bytes
from din.params.defaults import written
from din.params.overlays import COMMENT_COLUMN, nested
from din.printing import print_table
from din.report.charts import Axis, Plot
from din.report.page import environment
from din.tune.space import Space
from din.workspace import Workspace


@dataclass(frozen=True)
class TrialRow:
    """A trial: its state (complete, pruned or fail), what it changed, and why it failed."""

    number: int
    state: str
    metric: float | None
    seconds: float
    changes: Mapping[str, Any]
    why: str


@dataclass(frozen=True)
class Candidate:
    """Today's parameters (no number) or a trial on further seeds.

    Attributes:
        trial: its number.
        changes: what differs from today's parameters.
        metrics: for each seed; None: the training failed.
        mean: over the seeds; None: a training failed.
        gain: by how much it is better than today's parameters, as the mean over the seeds at which neither failed.
        lower: the lower bound of the gain, by user.
        upper: the upper one.
    """

    trial: int | None
    changes: Mapping[str, Any]
    metrics: Sequence[float | None]
    mean: float | None
    gain: float | None = None
    lower: float | None = None
    upper: float | None = None


@dataclass(frozen=True)
class KeyRow:
    """A key that the overlay changes.

    Attributes:
        without: the metric if the key alone has today's value again. None: there was no time to train that.
    """

    key: str
    old: Any
    new: Any
    without: float | None


@dataclass(frozen=True)
class Tuned:
    """The result of a search.

    Attributes:
        metric: the name of the metric.
        seeds: the further seeds.
        trials: in their order.
        candidates: today's parameters, and the best trials.
        winner: the number of the trial with the best mean. None: today's parameters have it.
        compared: the metric of the winner's trial with the first of the seeds, to compare `KeyRow.without` with.
        keys: what the winner changes.
        overlay: the path of the overlay. None: nothing is to change.
        page: the path of the page.
    """

    metric: str
    seeds: Sequence[int]
    trials: Sequence[TrialRow]
    candidates: Sequence[Candidate]
    winner: int | None
    compared: float | None
    keys: Sequence[KeyRow]
    overlay: str | None
    page: str

    @property
    def won(self) -> Candidate:
        """The winner on further seeds, or today's parameters."""
        return next(one for one in self.candidates if one.trial == self.winner)

    @property
    def verdict(self) -> str:
        """The result in a sentence."""
        if self.winner is None:
            return f"Today's parameters stay: none of {len(self.trials)} trials is better on further seeds."
        won = self.won
        before, after = (_cell(one.mean, "failed") for one in (self.candidates[0], won))
        bounds = "" if won.lower is None else f" ({won.lower:+.4f} to {won.upper:+.4f} by user)"
        gain = f"{_cell(won.gain, 'a gain', '+')}{bounds}"
        return (
            f"Validation {self.metric.upper()} {before} → {after}: {gain}, the mean of "
            f"{len(self.seeds)} further seed{'s' if len(self.seeds) > 1 else ''}, by trial {won.trial} of "
            f"{len(self.trials)}.{'' if won.lower and won.lower > 0 else ' It may be chance.'}"
        )


def _cell(value: float | None, absent: str, sign: str = "") -> str:
    return absent if value is None else f"{value:{sign}.4f}"


def print_tuned(found: Tuned) -> None:
    """Print the further seeds, the winner's keys, and what to do next."""
    print_table(
        f"seeds {', '.join(map(str, found.seeds))}",
        ("parameters", *(f"seed {seed}" for seed in found.seeds), "mean", "gain", "lower", "upper"),
        [(name(one), *one.metrics, one.mean, one.gain, one.lower, one.upper) for one in found.candidates],
    )
    if found.keys:
        print_table(
            f"trial {found.winner}",
            ("key", "today", "tuned", "reason"),
            [(one.key, written(one.old), written(one.new), reason(one, found)) for one in found.keys],
        )
    print(found.verdict)
    if found.overlay:
        print(f"overlay: {found.overlay}; `din params apply {found.overlay}` writes it into params.yaml")
    print(f"page: {found.page}")


def name(one: Candidate) -> str:
    """Return the name of a candidate."""
    return "today's" if one.trial is None else f"trial {one.trial}"


def in_a_line(changes: Mapping[str, Any]) -> str:
    """Return changes as text, or a dash."""
    return ", ".join(f"{key.rpartition('.')[2]}: {written(value)}" for key, value in changes.items()) or "–"


def reason(one: KeyRow, found: Tuned) -> str:
    """Return why a key is changed: the metric with and without the change."""
    if one.without is not None and found.compared is not None:
        return f"{found.metric.upper()} {found.compared:.4f}; with {written(one.old)} {one.without:.4f}"
    return f"was {written(one.old)}; no time to train without it"


def write(workspace: Workspace, space: Space, found: Tuned, fixed: Mapping[str, Any]) -> None:
    """Write the page, and the overlay, or remove that of an earlier search if there is none now."""
    if found.overlay:
        write_bytes(workspace.root / found.overlay, overlay(space, found, fixed).encode())
    else:
        workspace.tuned.unlink(missing_ok=True)
    page = environment().get_template("tuning.html.j2")
    html = page.render(
        found=found,
        picture=_picture(found),
        rows=[(one, in_a_line(one.changes)) for one in found.trials],
        keys=[(one, written(one.new), reason(one, found)) for one in found.keys],
        name=name,
    )
    write_bytes(workspace.tuning_page, html.encode())


def overlay(space: Space, found: Tuned, fixed: Mapping[str, Any]) -> str:
    """Return the overlay's text, with a reason for each key."""
    reasons: dict[str, str] = dict.fromkeys(fixed, "set for the search")
    for one in found.keys:
        key = next(iter(space.overlay({one.key: one.new})))
        reasons[key] = f"{reasons[key]}; {reason(one, found)}" if key in reasons else reason(one, found)
    values = {**fixed, **space.overlay({one.key: one.new for one in found.keys})}
    head = f"# Found by `din tune`. {found.verdict}\n# Apply it with: din params apply {found.overlay}\n\n"
    return head + "".join(f"{line}\n" for line in _lines(nested(values), reasons))


def _lines(block: Mapping[str, Any], reasons: Mapping[str, str], above: str = "") -> Iterator[str]:
    indent = "  " * above.count(".")
    for key, value in block.items():
        place = f"{above}{key}"
        if place in reasons:
            yield f"{f'{indent}{key}: {written(value)}':{COMMENT_COLUMN - 1}} # {reasons[place]}"
        else:
            yield f"{indent}{key}:"
            yield from _lines(value, reasons, f"{place}.")


def _picture(found: Tuned) -> str:
    """Return a picture of the metric by trial, with the best until then."""
    points = [(float(one.number), one.metric, one.state) for one in found.trials if one.metric is not None]
    plot = Plot(
        Axis(-0.5, len(found.trials) + 0.5, "trial"),
        Axis.over([metric for _, metric, _ in points], f"validation {found.metric.upper()}"),
    )
    best = [(at, max(metric for _, metric, _ in points[: place + 1])) for place, (at, _, _) in enumerate(points)]
    plot.line(best, "candidate")
    for state, style in (("pruned", "other"), ("complete", "candidate")):
        plot.dots([(at, metric) for at, metric, how in points if how == state], style)
    return plot.svg(f"Validation {found.metric.upper()} by trial")

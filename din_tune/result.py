"""The result of `din tune`: the tables that it prints, and the overlay and the page that it writes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from din.base.artifacts import write_bytes
from din.base.printing import print_table
from din.base.workspace import Workspace
from din.params.overlays import nested
from din_report.charts import Axis, Plot
from din_report.page import PageTable, environment
from din_start.params.defaults import commented, written
from din_tune.space import Space


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
class Finalist:
    """Today's parameters (no number) or a trial on further seeds.

    Attributes:
        trial: its number.
        changes: what differs from today's parameters.
        metrics: for each seed; None: the training failed.
        mean: over the seeds; None: a training failed.
        gain: by how much it is better than today's parameters, as the mean over the seeds at which neither failed.
        lower: the lower bound of the gain, by user and seed.
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
    """A key that the overlay changes, and why: the metric with the change and without it."""

    key: str
    old: Any
    new: Any
    reason: str


@dataclass(frozen=True)
class Tuned:
    """The result of a search.

    Attributes:
        seeds: the further ones.
        candidates: the finalists, today's parameters first.
        winner: the number of the trial with the best mean. None: today's parameters have it.
        keys: what the winner changes.
        overlay: the path of the overlay. None: nothing is to change.
        page: the path of the page.
    """

    metric: str
    seeds: Sequence[int]
    trials: Sequence[TrialRow]
    candidates: Sequence[Finalist]
    winner: int | None
    keys: Sequence[KeyRow]
    overlay: str | None
    page: str

    @property
    def verdict(self) -> str:
        """The result in a sentence."""
        if self.winner is None:
            tried = f"none of the best {len(self.candidates) - 1} of {len(self.trials)} trials"
            return f"Today's parameters stay: {tried} is better on further seeds."
        won = next(finalist for finalist in self.candidates if finalist.trial == self.winner)
        before, after = shown_metric(self.candidates[0].mean), shown_metric(won.mean)
        gain = "" if won.gain is None else f"gains {won.gain:+.4f} on average over new seeds and "
        pairs = zip(won.metrics, self.candidates[0].metrics, strict=True)
        better = [new > old for new, old in pairs if new is not None and old is not None]
        sure = won.lower is not None and won.lower > 0 and all(better)
        bounds = "" if won.lower is None else f" Bounds by user and seed: {won.lower:+.4f} to {won.upper:+.4f}."
        return (
            f"Validation {self.metric.upper()} {before} → {after}: trial {won.trial} ({len(self.trials)} in all) "
            f"{gain}wins on {sum(better)} of {len(better)}.{bounds}"
            f"{'' if sure else ' It may be chance.'}"
        )

    @property
    def further_seeds(self) -> PageTable:
        """Today's parameters and the best trials on further seeds."""
        columns = ("parameters", *(f"seed {seed}" for seed in self.seeds), "mean", "gain", "lower", "upper")
        rows = [
            (
                _name(finalist),
                *finalist.metrics,
                finalist.mean,
                *map(_signed, (finalist.gain, finalist.lower, finalist.upper)),
            )
            for finalist in self.candidates
        ]
        return PageTable("Further seeds", columns, rows)

    @property
    def changed_keys(self) -> PageTable:
        """The keys that the winner changes, with the reason for each."""
        rows = [(row.key, written(row.old), written(row.new), row.reason) for row in self.keys]
        return PageTable("Keys", ("key", "today", "tuned", "reason"), rows, 4)

    @property
    def all_trials(self) -> PageTable:
        """The trials with what they changed, or why they failed."""
        rows = [
            (
                str(trial.number),
                trial.state,
                trial.why or in_a_line(trial.changes),
                trial.metric,
                f"{trial.seconds:.1f}",
            )
            for trial in self.trials
        ]
        return PageTable("All trials", ("trial", "state", "changes", self.metric.upper(), "seconds"), rows, 3)


def print_tuned(tuned: Tuned) -> None:
    """Print the further seeds, the winner's keys, and what to do next."""
    for table in (tuned.further_seeds, tuned.changed_keys):
        if table.rows:
            print_table(table.title, table.columns, table.rows)
    print(tuned.verdict)
    if tuned.overlay:
        print(f"overlay: {tuned.overlay}; `din params apply {tuned.overlay}` writes it into params.yaml")
    print(f"page: {tuned.page}")


def shown_metric(value: float | None) -> str:
    """Return the metric of a training as text."""
    return "failed" if value is None else f"{value:.4f}"


def _signed(gain: float | None) -> str | None:
    return None if gain is None else f"{gain:+.4f}"


def _name(finalist: Finalist) -> str:
    return "today's" if finalist.trial is None else f"trial {finalist.trial}"


def in_a_line(changes: Mapping[str, Any]) -> str:
    """Return changes as text, or a dash."""
    return ", ".join(f"{key.rpartition('.')[2]}: {written(value)}" for key, value in changes.items()) or "–"


def write(workspace: Workspace, space: Space, tuned: Tuned) -> None:
    """Write the page, and the overlay, or remove that of an earlier search if there is none now."""
    if tuned.overlay:
        write_bytes(workspace.root / tuned.overlay, overlay(space, tuned).encode())
    else:
        workspace.tuned.unlink(missing_ok=True)
    html = environment().get_template("tuning.html.j2").render(tuned=tuned, picture=_picture(tuned))
    write_bytes(workspace.tuning_page, html.encode())


def overlay(space: Space, tuned: Tuned) -> str:
    """Return the overlay's text, with a reason for each key."""
    reasons: dict[str, str] = {}
    for row in tuned.keys:
        (key,) = space.overlay({row.key: row.new})
        reasons[key] = f"{reasons[key]}; {row.reason}" if key in reasons else row.reason
    values = space.overlay({row.key: row.new for row in tuned.keys})
    head = f"# Found by `din tune`. {tuned.verdict}\n# Apply it with: din params apply {tuned.overlay}\n\n"
    return head + "".join(f"{line}\n" for line in _lines(nested(values), reasons))


def _lines(block: Mapping[str, Any], reasons: Mapping[str, str], above: str = "") -> Iterator[str]:
    indent = "  " * above.count(".")
    for key, value in block.items():
        place = f"{above}{key}"
        if place in reasons:
            yield commented(f"{indent}{key}: {written(value)}", reasons[place])
        else:
            yield f"{indent}{key}:"
            yield from _lines(value, reasons, f"{place}.")


def _picture(tuned: Tuned) -> str:
    """Return a picture of the metric by trial, with the best until then."""
    points = [(float(trial.number), trial.metric, trial.state) for trial in tuned.trials if trial.metric is not None]
    numbers, metrics, _ = zip(*points, strict=True)
    metric = tuned.metric.upper()
    plot = Plot(Axis(numbers[0] - 0.5, numbers[-1] + 0.5, "trial"), Axis.over(metrics, f"validation {metric}"))
    plot.line([*zip(numbers, accumulate(metrics, max), strict=True)], "candidate")
    for state, style in (("pruned", "other"), ("complete", "candidate")):
        plot.dots([(at, metric) for at, metric, how in points if how == state], style)
    whole = [(at, name) for at, name in plot.x.ticks().items() if at.is_integer()]
    return plot.svg(f"Validation {metric} by trial", whole)

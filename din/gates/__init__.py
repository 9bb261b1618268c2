"""The conditions for promotion: what is judged about a candidate, and the verdict.

A gate is a function of a `Case` (`din.gates.case`) that returns a `Finding` (`din.gates.verdict`). It registers by its
name, and a gate of a plugin appears in gate.json, the table, the page and Airflow like a built-in one:

    @GATES.register("fresh_items", Options)
    def fresh_items(case: Case, options: Options) -> Finding: ...
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from din.seams import Seam
from din.verdicts import JudgedModel

_MODULES = ("candidate", "history", "champion_today", "last_step", "comparisons", "slices", "plausibility", "budgets")

GATES: Seam[Callable[..., Any]] = Seam("gate", [f"din.gates.{module}" for module in _MODULES])
"""All gates. `{metric}` in a name is replaced by one of `gate.metrics`, the second argument of the function."""

Judge = TypeVar("Judge", bound=Callable[..., Any])


@dataclass(frozen=True)
class About:
    """The notes on a gate that its function does not hold.

    Attributes:
        model: the model that its figure is about; see `din.gates.verdict.Gate`.
        run: `first` without a champion, `later` with one, or `any`.
        every_metric: whether it is judged by each of `gate.metrics`, and not only by the first.
        compares: whether it compares the candidate with an earlier champion, where there is one.
        equal: the figure of a candidate that is the champion itself, which is open without being judged. None: it is
            judged, too.
        applies: whether it exists in a case.
        command: a command that shows more.
    """

    model: JudgedModel | None = None
    run: Literal["any", "first", "later"] = "any"
    every_metric: bool = False
    compares: bool = False
    equal: float | None = None
    applies: Callable[[Any], bool] = lambda case: True
    command: Callable[[Any], str] = lambda case: "din report"


def about(**what: Any) -> Callable[[Judge], Judge]:
    """Return a decorator that notes what a gate is about; see `About`. Without it, a gate has the defaults."""

    def note(judge: Judge) -> Judge:
        setattr(judge, _NOTE, About(**what))
        return judge

    return note


def about_of(judge: Callable[..., Any]) -> About:
    """Return what a gate is about."""
    return getattr(judge, _NOTE, About())


_NOTE = "gate_is_about"

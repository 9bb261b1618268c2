"""The gates: conditions that a candidate must meet to be promoted.

A gate is a function that takes a `Case` (`din.gates.case`) and returns a `Finding` (`din.gates.verdict`). It is
registered under its name. A plugin's gate appears in gate.json, the table, the page and Airflow like a built-in one:

    @GATES.register("fresh_items", Options)
    def fresh_items(case: Case, options: Options) -> Finding: ...
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from din.seams import Seam
from din.verdicts import JudgedModel

_MODULES = ("candidate", "history", "champion_today", "last_step", "comparisons", "slices", "plausibility", "budgets")

C = TypeVar("C")


@dataclass(frozen=True)
class About:
    """The metadata of a gate.

    Attributes:
        model: the model that is judged: `judged`, which has not learned the test days; `shipped`, which has; or
            `crossfit`, the models that stand in for the shipped one. None if the gate is not about a model.
        run: when the gate is judged: `first` if there is no champion, `later` if there is one, or `any`.
        every_metric: whether the gate is judged by each metric of `gate.metrics`, and not only by the first.
        compares: whether it compares the candidate with an earlier champion, if there is one.
        equal: the observed value to report if the candidate is the champion itself, for which the gate is then open
            without being judged. None judges such a candidate too.
        applies: returns whether the gate is judged in a case.
        command: returns a command that shows more.
    """

    model: JudgedModel | None = None
    run: Literal["any", "first", "later"] = "any"
    every_metric: bool = False
    compares: bool = False
    equal: float | None = None
    applies: Callable[[Any], bool] = lambda case: True
    command: Callable[[Any], str] = lambda case: "din report"


class Gates(Seam[Callable[..., Any]]):
    """The seam of gates, with the metadata of each gate by its name."""

    def __init__(self, built_in: Sequence[str]) -> None:
        super().__init__("gate", built_in)
        self.about: dict[str, About] = {}

    def register(self, name: str, options: type[Any] | None = None, **about: Any) -> Callable[[C], C]:
        """Return a decorator as `Seam.register` does. The other keyword arguments are those of `About`."""
        register = super().register(name, options)

        def add(judge: C) -> C:
            register(judge)
            self.about[name] = About(**about)
            return judge

        return add


GATES = Gates([f"din.gates.{module}" for module in _MODULES])
"""All gates, by name. `{metric}` in a name stands for a metric of `gate.metrics`, which is passed to the function."""

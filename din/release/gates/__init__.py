"""The gates: conditions that a candidate must meet to be promoted.

A gate is a function that takes a `Case` (`din.release.gates.case`) and returns a `Finding`
(`din.release.gates.findings`). It is registered under its name. A plugin's gate appears in gate.json, the table, the
page and Airflow like a built-in one:

    @GATES.register("fresh_items", Options)
    def fresh_items(case: Case, options: Options) -> Finding: ...

Further keyword arguments of `register` are those of `Traits`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from din.base.errors import InputError
from din.contracts.verdicts import JudgedModel
from din.seams import Seam

C = TypeVar("C")


@dataclass(frozen=True)
class Traits:
    """The traits of a gate: which model it judges, when it is judged, and what its entry says.

    Attributes:
        model: the model that is judged: `judged`, which has not learned the test days; `shipped`, which has; or
            `crossfit`, the models that stand in for the shipped one. None if the gate is not about a model.
        run: when it is judged: `first` if no champion scores today's rows, `later` if there is a record, or `any`.
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
    """The seam of gates, with the traits of each gate by its name."""

    def __init__(self, built_in: Sequence[str]) -> None:
        super().__init__("gate", built_in)
        self.traits: dict[str, Traits] = {}

    def register(self, name: str, options: type[Any] | None = None, **traits: Any) -> Callable[[C], C]:
        """Return a decorator as `Seam.register` does. The other keyword arguments are those of `Traits`."""
        register = super().register(name, options)
        gate_traits = Traits(**traits)

        def add(judge: C) -> C:
            register(judge)
            self.traits[name] = gate_traits
            return judge

        return add

    def check_options(self, options: Mapping[str, Mapping[str, Any]]) -> None:
        """Check `gate.options`, the options of gates by their names.

        Raises:
            InputError: a gate is unknown, or does not accept its options.
        """
        for name, values in options.items():
            if name not in set(self):
                raise InputError(f"gate.options: {self.unknown(name)}")
            self[name].parse(values, f"gate.options.{name}")


GATES: Gates = Gates(
    [
        "din.release.gates.candidate",
        "din.release.gates.promotion_log",
        "din.release.gates.champion_today",
        "din.release.gates.last_step",
        "din.release.gates.comparisons",
        "din.release.gates.slices",
        "din.release.gates.plausibility",
        "din.release.gates.budgets",
    ]
)
"""All gates, by name. `{metric}` in a name stands for a metric of `gate.metrics`, which is passed to the function."""

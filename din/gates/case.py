"""The case that the gates judge: a candidate, and the earlier champions that it is compared with."""

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial

from din.errors import InputError
from din.gates import GATES, About
from din.gates.earlier_champion import EarlierChampion, Score
from din.gates.evidence import Evidence
from din.gates.verdict import Finding, Gate
from din.metrics.estimates import Metric
from din.params.gate import Gate as Limits
from din.registry.bundle import Verified
from din.registry.champions import anchor, predecessor
from din.registry.records import Record
from din.registry.registry import Registry
from din.workspace import Workspace

Latency = Callable[[Verified, Verified | None], float]
"""See `din.gates.budgets.measure_latency`."""


class Case:
    """A candidate and the registry it would be promoted to. Earlier champions are read when first needed.

    Args:
        history: all records, oldest first.
        score: scores test rows with an earlier champion.
        latency: measures the latency of a request.
        may_compare: whether to make a comparison with the champion if none is stored.
    """

    def __init__(
        self,
        evidence: Evidence,
        registry: Registry,
        history: Sequence[Record],
        score: Score,
        latency: Latency,
        may_compare: bool = False,
    ) -> None:
        self.evidence = evidence
        self.registry = registry
        self.history = history
        self.latency = latency
        self._score = score
        self._may_compare = may_compare

    @property
    def workspace(self) -> Workspace:
        """The workspace of the candidate."""
        return self.evidence.workspace

    @property
    def limits(self) -> Limits:
        """The block `gate` of params.yaml."""
        return self.evidence.limits

    @cached_property
    def champion(self) -> EarlierChampion:
        """The champion. Only for a case that has one."""
        return self._earlier("champion", self.history[-1], self._may_compare)

    @cached_property
    def predecessor(self) -> EarlierChampion | None:
        """The bundle that the champion replaced, or None."""
        record = predecessor(self.history)
        return self._earlier("predecessor", record) if record else None

    @cached_property
    def anchor(self) -> EarlierChampion | None:
        """The best champion of the last 90 days, or None if it is the champion."""
        record = anchor(self.registry, self.history, self.limits.metrics[0])
        return self._earlier("anchor", record) if record else None

    def gates(self) -> Iterator[Gate]:
        """Yield the gates of this case, the built-in ones first.

        Raises:
            InputError: `gate.options` names an unknown gate, or a gate does not accept its options.
        """
        unknown = self.limits.options.keys() - set(GATES)
        if unknown:
            raise InputError(f"gate.options: {GATES.unknown(min(unknown))}")
        for name in GATES:
            found = GATES[name]
            noted = GATES.about[name]
            options = found.parse(self.limits.options.get(name, {}), f"gate.options.{name}")
            if not self._has(noted):
                continue
            arguments: list[tuple[Metric, ...]] = [()]
            if "{metric}" in name:
                arguments = [(metric,) for metric in self.limits.metrics[: None if noted.every_metric else 1]]
            for given in arguments:
                yield Gate(
                    name.format(metric=given[0] if given else ""),
                    noted.command(self),
                    partial(self._judged, noted, partial(found.thing, self, *given, **options)),
                    noted.model,
                    noted.compares and bool(self.history),
                )

    def _judged(self, noted: About, judge: Callable[[], Finding]) -> Finding:
        if noted.equal is not None and self.history and self.champion.is_candidate:
            return Finding("open", noted.equal, None, reason="the champion is this bundle")
        return judge()

    def _has(self, noted: About) -> bool:
        run = "later" if self.history else "first"
        return noted.run in ("any", run) and noted.applies(self)

    def _earlier(self, role: str, record: Record, may_compare: bool = False) -> EarlierChampion:
        return EarlierChampion(role, record, self.evidence, self.registry, self._score, may_compare)


def show_record(case: Case) -> str:
    """Return the command that shows the champion's record."""
    return f"din registry show {case.history[-1].number}"


def show_log(case: Case) -> str:
    """Return the command that shows all records."""
    return "din registry show"


def show_evaluation(case: Case) -> str:
    """Return the command that shows the candidate's metrics."""
    return case.evidence.show(case.workspace.evaluation)

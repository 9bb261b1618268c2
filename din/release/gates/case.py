"""The case that the gates judge: a candidate, and the earlier champions that it is compared with."""

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial

from din.base import documents
from din.base.errors import InputError, Unavailable, is_of_this_machine
from din.bundle.contents import Verified
from din.contracts.verdicts import GateEntry
from din.metrics.estimates import Metric
from din.release.gates import GATES, Traits
from din.release.gates.earlier_champion import Compare, EarlierChampion, Score
from din.release.gates.evidence import Evidence
from din.release.gates.findings import Finding, finite
from din.release.registry.champions import anchors, predecessor
from din.release.registry.records import Record
from din.release.registry.registry import Registry

Latency = Callable[[Verified, Verified | None], float]
"""See `din.release.gates.budgets.measure_latency`."""

_MOST_ANCHORS = 5
"""The most bundles to try, the best first. In a backfill, 90 champions may have learned today's rows."""


class Case:
    """A candidate and the registry it would be promoted to. Earlier champions are read when first needed.

    Args:
        history: all records, oldest first.
        score: scores test rows with an earlier champion.
        latency: measures the latency of a request.
        compare: whether to make a comparison with the champion if none is stored.
    """

    def __init__(
        self,
        evidence: Evidence,
        registry: Registry,
        history: Sequence[Record],
        score: Score,
        latency: Latency,
        compare: Compare = "never",
    ) -> None:
        self.evidence = evidence
        self.workspace = evidence.workspace
        self.limits = evidence.limits
        self.registry = registry
        self.history = history
        self.latency = latency
        self._score = score
        self._compare: Compare = compare

    @cached_property
    def champion(self) -> EarlierChampion:
        """The champion. Only for a case that has one."""
        return self._earlier("champion", self.history[-1], self._compare)

    @cached_property
    def scored_champion(self) -> EarlierChampion | None:
        """The champion, or None if there is none or it can't score today's rows."""
        return self.champion if self.history and self.champion.can_score else None

    @cached_property
    def predecessor(self) -> EarlierChampion | None:
        """The bundle that the champion replaced, or None."""
        record = predecessor(self.history)
        return self._earlier("predecessor", record) if record else None

    @cached_property
    def anchor(self) -> EarlierChampion | None:
        """The best earlier champion of the last 90 days that can be compared with, or None."""
        records = anchors(self.registry, self.history, self.limits.metrics[0], self.evidence.facts)
        champions = (self._earlier("anchor", record) for record in records[:_MOST_ANCHORS])
        return next((champion for champion in champions if champion.can_score), None)

    def judge(self) -> Iterator[GateEntry]:
        """Judge the gates of this case, the built-in ones first, and yield their entries of gate.json.

        A missing or malformed report closes a gate with a reason, without a traceback. A registry that doesn't answer,
        a full disk or too little memory ends the command without a verdict, so that it can be run again.

        Raises:
            InputError: `gate.options` names an unknown gate, or a gate does not accept its options.
            Unavailable: the registry doesn't answer.
        """
        GATES.check_options(self.limits.options)
        is_due = {"any": True, "first": self.scored_champion is None, "later": bool(self.history)}
        for name in GATES:
            registered = GATES[name]
            traits = GATES.traits[name]
            options = registered.parse(self.limits.options.get(name, {}), f"gate.options.{name}")
            if not is_due[traits.run] or not self._applies(traits):
                continue
            arguments: list[tuple[Metric, ...]] = [()]
            if "{metric}" in name:
                arguments = [(metric,) for metric in self.limits.metrics[: None if traits.every_metric else 1]]
            for metrics in arguments:
                judge = partial(registered.thing, self, *metrics, **options)
                yield self._entry(name.format(metric=metrics[0] if metrics else ""), traits, judge)

    def _entry(self, name: str, traits: Traits, judge: Callable[[], Finding]) -> GateEntry:
        """Judge one gate, and return its entry. A gate that can't be judged is closed and says why."""
        try:
            if traits.equal is not None and self.history and self.champion.is_candidate:
                finding = Finding("open", traits.equal, None, reason="the champion is this bundle")
            else:
                finding = judge()
            entry = self._written(name, traits, finding)
            documents.dump(entry)  # a plugin may return anything
            return entry
        except Unavailable:
            raise
        except Exception as error:  # close a gate that can't be judged
            if is_of_this_machine(error):
                raise
            expected = isinstance(error, InputError | OSError)
            cause = str(error) if expected else f"a bug in the gate: {type(error).__name__} {error}"
            finding = Finding("closed", None, None, reason=f"can't be evaluated: {cause}")
            return self._written(name, traits, finding, evaluated=False)

    def _applies(self, traits: Traits) -> bool:
        """Return whether a gate applies; one that can't tell is judged."""
        try:
            return traits.applies(self)
        except Unavailable:
            raise
        except Exception as error:
            if is_of_this_machine(error):
                raise
            return True

    def _written(self, name: str, traits: Traits, finding: Finding, evaluated: bool = True) -> GateEntry:
        interval = finding.interval
        try:
            command = traits.command(self)
        except Exception:  # e.g. a plugin's command reads a record, and there is none
            command = "din report"
        return GateEntry(
            name=name,
            observed=finite(finding.observed),
            threshold=finding.threshold,
            interval=(finite(interval.lower), finite(interval.upper)) if interval else None,
            verdict=finding.verdict,
            command=command,
            rows=finding.rows,
            power=finding.power,
            reason=finding.reason,
            model=traits.model,
            evaluated=evaluated,
            compares=traits.compares and bool(self.history),
        )

    def _earlier(self, role: str, record: Record, compare: Compare = "never") -> EarlierChampion:
        return EarlierChampion(role, record, self.evidence, self.registry, self._score, compare)


def show_record(case: Case) -> str:
    """Return the command that shows the champion's record."""
    return f"din registry show {case.history[-1].number}"


def show_log(case: Case) -> str:
    """Return the command that shows all records."""
    return "din registry show"


def show_evaluation(case: Case) -> str:
    """Return the command that shows the candidate's metrics."""
    return case.evidence.show(case.workspace.evaluation)

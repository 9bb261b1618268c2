"""A candidate to be judged, with the earlier champions that it is compared with."""

from collections.abc import Iterator, Sequence
from functools import cached_property, partial

from din.errors import InputError
from din.gates import GATES, About, about_of
from din.gates.budgets import Latency
from din.gates.earlier_champion import Rival, Score
from din.gates.evidence import Evidence
from din.gates.verdict import Gate
from din.metrics.estimates import Metric
from din.params.gate import Gate as Limits
from din.registry.champions import anchor, predecessor
from din.registry.records import Record
from din.registry.registry import Registry


class Case:
    """A candidate, and the registry that it would be promoted to; earlier champions are read when first needed.

    Args:
        evidence: the candidate.
        registry: the registry.
        history: all records, oldest first.
        score: scores test rows with an earlier champion.
        latency: times a request.
        may_look: whether a candidate that was not compared with the champion yet may be; see `din.registry.looks`.
    """

    def __init__(
        self,
        evidence: Evidence,
        registry: Registry,
        history: Sequence[Record],
        score: Score,
        latency: Latency,
        may_look: bool = False,
    ) -> None:
        self.evidence = evidence
        self.registry = registry
        self.history = history
        self.latency = latency
        self._score = score
        self._may_look = may_look

    @property
    def limits(self) -> Limits:
        """The block `gate` of params.yaml."""
        return self.evidence.limits

    @property
    def is_timed(self) -> bool:
        """True if requests are timed."""
        return self.limits.max_latency_ms is not None

    @cached_property
    def champion(self) -> Rival:
        """The champion, of a case that has one."""
        return Rival("champion", self.history[-1], self.evidence, self.registry, self._score, self._may_look)

    @cached_property
    def predecessor(self) -> Rival | None:
        """The bundle that the champion replaced, or None."""
        record = predecessor(self.history)
        return Rival("predecessor", record, self.evidence, self.registry, self._score) if record else None

    @cached_property
    def anchor(self) -> Rival | None:
        """The best champion of the last 90 days, or None if it is the champion."""
        record = anchor(self.registry, self.history, self.limits.metrics[0])
        return Rival("anchor", record, self.evidence, self.registry, self._score) if record else None

    def gates(self) -> Iterator[Gate]:
        """Yield the gates of this case: on the candidate alone, then in comparison, then of plugins.

        Raises:
            InputError: `gate.options` names no gate, or does not fit the options of one.
        """
        unknown = self.limits.options.keys() - set(GATES)
        if unknown:
            raise InputError(f"gate.options: {GATES.unknown(min(unknown))}")
        for name in GATES:
            found = GATES[name]
            noted = about_of(found.thing)
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
                    partial(found.thing, self, *given, **options),
                    noted.model,
                    noted.compares and bool(self.history),
                )

    def _has(self, noted: About) -> bool:
        run = "later" if self.history else "first"
        return noted.run in ("any", run) and noted.applies(self)

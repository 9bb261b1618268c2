"""An earlier champion that a candidate is compared with."""

from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from din.document_types import Facts
from din.errors import InputError
from din.promotion import crossfit, looks
from din.promotion.champion import Score, fair_rows
from din.promotion.evidence import Evidence
from din.promotion.verdict import Finding
from din.registry.bundle import Verified, verify_bundle
from din.registry.records import Record
from din.registry.registry import Registry


class Rival:
    """An earlier champion, with its scores of the test rows that it did not train on, computed when first needed.

    Args:
        role: champion | anchor | predecessor, for messages.
        record: its record.
        evidence: the candidate.
        registry: the registry with both.
        score: scores rows with an earlier bundle.
        may_look: whether a candidate that was not compared with it yet may be; see `looks`.
    """

    def __init__(
        self, role: str, record: Record, evidence: Evidence, registry: Registry, score: Score, may_look: bool = False
    ) -> None:
        self.role = role
        self.evidence = evidence
        self.record = record
        self._registry = registry
        self._score = score
        self._may_look = may_look

    def same(self, threshold: Any, observed: float = 0.0) -> Finding | None:
        """Return an open finding if the candidate is this rival, else None."""
        if self.record.version != self.evidence.version:
            return None
        return Finding("open", observed, threshold, reason=f"the {self.role} is this bundle")

    @cached_property
    def bundle(self) -> Verified:
        """The rival's bundle, fetched into the workspace."""
        version = self.record.version
        return verify_bundle(self._registry.fetch(version, self.evidence.workspace.rival(self.role)), version)

    @cached_property
    def facts(self) -> Facts:
        """The facts.json of the rival's bundle."""
        return self._registry.facts(self.record.version)

    @cached_property
    def new_rows(self) -> pa.Table:
        """The rows that neither the rival nor their scorer has learned, with the candidate's cross-fitted predictions.

        There are at most `max_rows`, and none if the rival has learned today's newest rows.
        """
        rows = self.evidence.crossfit
        fair = fair_rows(self.evidence.facts, self.facts, rows["timestamp"].to_numpy())
        return self.evidence.draw(rows.filter(pa.array(fair)))

    @cached_property
    def rows(self) -> pa.Table:
        """The rows of a fair comparison, at most `max_rows`.

        If the rival has learned them all, these are the rows of which its run has cross-fitted predictions, too.
        """
        if len(self.new_rows):
            return self.new_rows
        try:
            return self.evidence.draw(crossfit.stored(self.evidence, self._registry, self.record))
        except InputError as error:
            raise InputError(f"{self._name} can't be compared with: {error}") from None

    @cached_property
    def scores(self) -> NDArray[np.float64]:
        """The rival's probabilities of `rows`."""
        return self.score(self.rows) if len(self.new_rows) else self.rows[crossfit.SCORE].to_numpy()

    def score(self, rows: pa.Table) -> NDArray[np.float64]:
        """Return the rival's probabilities of any test rows [B].

        Raises:
            InputError: it can't score them.
        """
        bundle = self.bundle.directory
        try:
            scores = np.asarray(self._score(self.evidence.workspace, bundle, rows), np.float64)
        except Exception as error:  # an old bundle may fail in any way, and then there is no comparison
            raise InputError(f"{self._name} can't score today's rows: {error!r}") from error
        if scores.shape != (len(rows),):
            raise InputError(f"{self._name} gave {scores.shape} probabilities for {len(rows)} rows")
        if not np.isfinite(scores).all():
            raise InputError(f"{self._name} gave a score that is not a number, so it can't be compared with")
        return scores

    @property
    def _name(self) -> str:
        return f"the {self.role} {self.record.version[:12]}"

    @cached_property
    def looks(self) -> list[pa.Table]:
        """All looks at the rival up to the candidate's, oldest first; see `din.promotion.looks`.

        Raises:
            InputError: the candidate has no stored look, and may not take one.
        """
        candidate = self.evidence.version
        version = self.record.version
        found = looks.stored(self._registry, version, candidate)
        if found:
            return found
        if not self._may_look:
            raise InputError(f"no look of this candidate at {version[:12]} is stored; run `dvc repro gate`")
        raw_users = self.evidence.features.raw_users()
        model_name = self.evidence.params.model_name
        today = looks.rows_of(self.rows, self.scores, raw_users, model_name, candidate)
        return looks.store(self._registry, version, today)

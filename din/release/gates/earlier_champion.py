"""An earlier champion that a candidate is compared with: its scores, and the rows of a fair comparison.

An earlier bundle scores today's test rows from raw ids, as in production: with its own vocabularies, and with histories
of its own length. Requests describe items that are newer than the bundle, so that unknown items don't count against it.
The bundle is fetched once. Its scores of the comparison's rows are kept, but some gates score further rows.

Rows that the earlier model learned would flatter it, so they are left out. If it learned all of them, because the same
day is run again, the comparison uses the cross-fitted predictions of its own run (`din.release.gates.stored_crossfit`).
If it is unknown which rows it learned, there is no comparison and the gate closes.
"""

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from din.base.errors import InputError, Unavailable, is_of_this_machine
from din.base.printing import say
from din.base.workspace import Workspace
from din.bundle.contents import Verified, verify_bundle
from din.contracts.facts import Facts
from din.metrics.learned_rows import TrainingExtent, unseen
from din.release.gates import stored_crossfit
from din.release.gates.evidence import Evidence
from din.release.registry import stored_comparisons
from din.release.registry.records import Record
from din.release.registry.registry import Registry

Score = Callable[[Workspace, Path, pa.Table], NDArray[np.float64]]
"""See `score_champion`."""
Compare = Literal["never", "to promote", "as a preview"]
"""Whether a gate makes and stores a missing comparison; see `din.release.registry.stored_comparisons`."""


def score_champion(workspace: Workspace, bundle: Path, rows: pa.Table) -> NDArray[np.float64]:
    """Score test rows of a workspace with an earlier bundle, starting from raw ids.

    Args:
        workspace: the workspace with the rows' log and features.
        rows: B rows of the predictions of the test split.

    Returns:
        Probabilities [B].
    """
    from din.bundle.requests_from_log import requests_for  # imported here, because a first run needs no onnxruntime
    from din.bundle.scorer import Scorer

    scorer = Scorer.open(bundle)
    known_items = pq.read_table(bundle / "items.parquet", columns=["value"])["value"]
    requests = requests_for(rows, workspace.raw, workspace.features, scorer.fields, scorer.max_history, known_items)
    return np.concatenate(scorer.score_many(requests))


def among_rows(probabilities: NDArray[np.float64], offset: float) -> NDArray[np.float64]:
    """Return the probabilities of a click among rows that lack negatives, from those in the traffic.

    Args:
        offset: see `Features.offset`.
    """
    if not offset:
        return probabilities
    return probabilities / (probabilities + (1 - probabilities) * np.exp(-offset))


def fair_rows(candidate: Facts, champion: Facts, timestamps: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which of today's test rows [B], given their times in µs, the champion can't have learned.

    Raises:
        InputError: the facts don't show which rows the champion learned.
    """
    try:
        return unseen(TrainingExtent.of_bundle(champion), TrainingExtent.of_bundle(candidate), timestamps)
    except InputError as error:
        advice = (
            "restore the old split, hold out by time (featurize.protocol: temporal), choose another "
            "promote.model_name, or let a person decide: din promote --override --reason WHY"
        )
        raise InputError(f"the champion may have trained on today's test rows: {error}; {advice}") from None


class EarlierChampion:
    """An earlier champion and its scores of test rows that it did not train on. Computed when first needed.

    Args:
        role: champion, anchor or predecessor, for messages and for the folder of the bundle.
        score: scores rows with an earlier bundle.
        compare: whether to make a comparison with the candidate if none is stored.
    """

    def __init__(
        self,
        role: str,
        record: Record,
        evidence: Evidence,
        registry: Registry,
        score: Score,
        compare: Compare = "never",
    ) -> None:
        self.record = record
        self._name = f"the {role} {record.version[:12]}"
        self._place = evidence.workspace.earlier_champion(role)
        self._evidence = evidence
        self._registry = registry
        self._score = score
        self._compare: Compare = compare

    @property
    def is_candidate(self) -> bool:
        """Whether the candidate is this bundle, bit for bit."""
        return self.record.version == self._evidence.version

    @cached_property
    def bundle(self) -> Verified:
        """The bundle, fetched into the workspace."""
        version = self.record.version
        return verify_bundle(self._registry.fetch(version, self._place), version)

    @cached_property
    def facts(self) -> Facts:
        """The facts.json of the bundle."""
        return self._registry.facts(self.record.version)

    @cached_property
    def new_rows(self) -> pa.Table:
        """The test rows that it has not learned, with the candidate's cross-fitted predictions.

        At most `MOST_ROWS`, and none if it has learned today's newest rows.
        """
        rows = self._evidence.crossfit_rows
        fair = fair_rows(self._evidence.facts, self.facts, rows["timestamp"].to_numpy())
        return self._evidence.draw(rows.filter(pa.array(fair)))

    @cached_property
    def rows(self) -> pa.Table:
        """The rows of a fair comparison, at most `MOST_ROWS`.

        If it has learned all test rows, these are the rows for which its run stored cross-fitted predictions.

        Raises:
            InputError: it has learned all test rows, and has no such predictions for them.
        """
        if len(self.new_rows):
            return self.new_rows
        try:
            return self._evidence.draw(stored_crossfit.stored(self._evidence, self._registry, self.record))
        except InputError as error:
            raise InputError(f"{self._name} can't be compared with: {error}") from None

    @cached_property
    def can_score(self) -> bool:
        """Whether it has scores of `rows`; if not, print why. The candidate itself needs none."""
        try:
            return self.is_candidate or len(self.scores) > 0
        except Unavailable:
            raise
        except Exception as error:  # also from a malformed file of the candidate, which closes gates of its own
            if is_of_this_machine(error):
                raise
            say(f"warning: {self._name} is not compared with: {error}")
            return False

    @cached_property
    def scores(self) -> NDArray[np.float64]:
        """The earlier champion's probabilities for `rows`."""
        return self.score(self.rows) if len(self.new_rows) else self.rows[stored_crossfit.SCORE].to_numpy()

    def score(self, rows: pa.Table) -> NDArray[np.float64]:
        """Return the earlier champion's probabilities [B] for any B test rows.

        If the log lacks negatives, they are the probabilities among its rows.

        Raises:
            InputError: it can't score them.
        """
        bundle = self.bundle.directory
        try:
            scores = np.asarray(self._score(self._evidence.workspace, bundle, rows), np.float64)
        except Exception as error:  # an old bundle can raise anything
            if is_of_this_machine(error):
                raise
            raise InputError(f"{self._name} can't score today's rows: {error!r}") from error
        if scores.shape != (len(rows),):
            raise InputError(f"{self._name} gave {scores.shape} probabilities for {len(rows)} rows")
        if not np.isfinite(scores).all():
            raise InputError(f"{self._name} gave a score that is not a number, so it can't be compared with")
        return among_rows(scores, self._evidence.features.offset("test"))

    @cached_property
    def comparisons(self) -> list[pa.Table]:
        """All comparisons with it up to the candidate's, oldest first; see `din.release.registry.stored_comparisons`.

        Raises:
            InputError: no comparison of this candidate is stored, and `compare` is never.
        """
        candidate = self._evidence.version
        version = self.record.version
        preview = self._compare == "as a preview"
        stored = stored_comparisons.stored(self._registry, version, candidate, preview)
        if stored:
            return stored
        if self._compare == "never":
            raise InputError(f"no comparison of this candidate with {version[:12]} is stored; run `dvc repro gate`")
        raw_users = self._evidence.features.raw_users()
        model_name = self._evidence.params.model_name
        today = stored_comparisons.rows_of(self.rows, self.scores, raw_users, model_name, candidate, preview)
        return stored_comparisons.store(self._registry, version, today)

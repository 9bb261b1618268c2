"""The evidence about a workspace's candidate, and hashes of everything that is judged.

Raw log, features, predictions, models and bundle are hashed once. The rest is read when a gate first needs it.
"""

from dataclasses import fields
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from din.base import documents
from din.base.artifacts import hash_files, hash_tree, sha256_file
from din.base.errors import InputError
from din.base.names import Digest, Version
from din.base.workspace import SUITES, Workspace
from din.bundle.contents import FACTS, Verified, verify_bundle
from din.contracts.facts import Evaluation, Facts
from din.contracts.verdicts import About
from din.features.reader import Features
from din.metrics.estimates import Estimate, Metric, difference, estimate
from din.params.blocks import to_json
from din.params.reading import Params
from din.stages import code
from din.train.results import RefitReport

MOST_ROWS = 200_000
"""The largest number of test rows on which champion and candidate are compared."""
_SEED = 5  # draws users; fixed, so that nobody can try other rows
_ROW = ["sequence", "item", "user", "timestamp", "label", "history_length"]
"""The columns of a test row in which the judged model's predictions and the cross-fitted ones must agree."""
_JUDGES = (
    "din.bundle.parity",
    "din.release.promote",
    "din.release.gates.gate",
    "din.train.evaluate",
    "din.train.refit",
    "validation.ci_gate",
    *(f"validation.{suite}" for suite in SUITES),
)
"""The modules that judge a candidate, with all that they import."""
_CROSSFIT = ("prediction", "taught", "shipped")
"""The predictions of a cross-fit; without a lesson, all of them are the judged model's."""


class Evidence:
    """The candidate's bundle, reports, predictions and features. An unreadable part raises an error only when used."""

    def __init__(self, workspace: Workspace, params: Params) -> None:
        self.workspace = workspace
        self.params = params
        self.limits = params.gate

    def show(self, report: Path) -> str:
        """Return the command that shows a report."""
        return f"python -m json.tool {self.workspace.relative(report)}"

    @cached_property
    def bundle(self) -> Verified:
        """The candidate's bundle, with all files verified.

        Raises:
            InputError: it is missing or damaged.
        """
        return verify_bundle(self.workspace.bundle)

    @property
    def version(self) -> Version:
        """The version of the candidate's bundle."""
        return self.bundle.version

    @cached_property
    def facts(self) -> Facts:
        """The facts of the candidate's bundle."""
        return documents.read(Facts, self.workspace.bundle / FACTS)

    @cached_property
    def evaluation(self) -> Evaluation:
        """The metrics of the candidate."""
        return documents.read(Evaluation, self.workspace.evaluation)

    @cached_property
    def features(self) -> Features:
        """The features that the candidate was trained on."""
        return Features(self.workspace.features)

    @cached_property
    def judged_rows(self) -> pa.Table:
        """All test rows with the predictions of the judged model."""
        return pq.read_table(self.workspace.predictions / "test.parquet")

    @cached_property
    def refit(self) -> RefitReport:
        """The report on the refit, which makes the shipped model from the judged one."""
        return documents.read(RefitReport, self.workspace.refit)

    @cached_property
    def learned(self) -> bool:
        """Whether the shipped model's files differ from the judged one's, that is, whether it learned more after it."""
        return hash_files(self.workspace.shipped) != hash_files(self.workspace.model)

    @cached_property
    def crossfit_rows(self) -> pa.Table:
        """The rows that judge the shipped model, with its own and cross-fitted predictions; see `din.train.refit`.

        They are the judged model's test rows, after the other days of the lesson if a champion is continued.

        Raises:
            InputError: they are others, or have other predictions than the judged model's although nothing was learned.
        """
        rows = pq.read_table(self.workspace.crossfit / "predictions.parquet")
        judged = self.judged_rows
        before = max(len(rows) - len(judged), 0) if self.params.train.continues else 0
        if not rows.slice(before).select(_ROW).equals(judged.select(_ROW)):
            raise InputError(f"{self.workspace.crossfit} has other rows than the judged model's; run `dvc repro`")
        if not self.learned and not all(rows[name].equals(judged["prediction"]) for name in _CROSSFIT):
            raise InputError(f"{self.workspace.crossfit} differs from the judged model, which learned nothing more")
        return rows

    @cached_property
    def judged_sample(self) -> pa.Table:
        """At most `MOST_ROWS` of `judged_rows`, with all rows of each drawn user."""
        return self.draw(self.judged_rows)

    @cached_property
    def crossfit_sample(self) -> pa.Table:
        """At most `MOST_ROWS` of `crossfit_rows`, with all rows of each drawn user."""
        return self.draw(self.crossfit_rows)

    @cached_property
    def about(self) -> About:
        """Everything that a verdict on this candidate depends on. Code, data and reports are represented by hashes."""
        workspace = self.workspace
        reports = [workspace.evaluation, workspace.refit, workspace.parity, *map(workspace.validation, SUITES)]
        return About(
            source=self.params.fetch.source,
            model_name=self.params.model_name,
            params={block: values for block, values in to_json(self.params).items() if block != "notify"},
            code=_code(workspace.pipeline),
            data={name: _hash(path) for name, path in self.directories.items()},
            reports={workspace.relative(path): _hash(path) for path in reports},
        )

    @property
    def directories(self) -> dict[str, Path]:
        """The judged directories, by name."""
        place = self.workspace
        suites = {suite: place.directory_of(suite) for suite in SUITES}
        return {**suites, "model": place.model, "shipped": place.shipped, "crossfit": place.crossfit}

    def hash_of(self, name: str) -> Digest:
        """Return the hash of one of `directories`.

        Raises:
            InputError: the directory is missing.
        """
        digest = self.about.data[name]
        if digest is None:
            raise InputError(f"{self.directories[name]}: not found; run `dvc repro` to build it")
        return digest

    def draw(self, rows: pa.Table) -> pa.Table:
        """Return at most `MOST_ROWS` of the rows: all rows of users drawn at random, without users who have more."""
        if len(rows) <= MOST_ROWS:
            return rows
        _, user = np.unique(rows["user"].to_numpy(), return_inverse=True)
        of_user = np.bincount(user)
        order = np.random.default_rng(_SEED).permutation(len(of_user))
        order = order[of_user[order] <= MOST_ROWS]
        drawn = order[np.cumsum(of_user[order]) <= MOST_ROWS]
        return rows.filter(pa.array(np.isin(user, drawn)))


Scores = str | NDArray[np.float64]
"""Scores [B] of some rows, or the name of the column that has them."""


def measured(metric: Metric, rows: pa.Table, scores: Scores = "prediction", against: Scores | None = None) -> Estimate:
    """Return a metric of scores on some rows, or with `against` the difference from the metric of those scores."""
    labels = rows["label"].to_numpy()
    users = rows["user"].to_numpy()
    predicted = _column(rows, scores)
    if against is None:
        return estimate(metric, labels, predicted, users)
    return difference(metric, labels, predicted, _column(rows, against), users)


def _column(rows: pa.Table, scores: Scores) -> NDArray[np.float64]:
    return rows[scores].to_numpy() if isinstance(scores, str) else scores


def _hash(path: Path) -> Digest | None:
    return Digest(hash_tree(path)) if path.exists() else None


def _code(pipeline: Path) -> Digest:
    """Hash the code that judges the candidate, and the pipeline's definition. A comment may change after the gate."""
    others = {pipeline.name: sha256_file(pipeline)} if pipeline.exists() else {}
    return code.digest(_JUDGES, [block.name for block in fields(Params)], others)

"""The paths of a run's files, and their format. No other module spells these paths out.

    params.yaml dvc.yaml dvc.lock   the parameters, the stages, and the state of each stage's last run
    data/raw/ data/features/        the log by day, and the feature shards made from it
    models/din/ models/shipped/     the model that is judged, and the one that has learned the test days too
    models/bundle/                  the bundle exported from the latter
    reports/                        the reports of the stages, and the predictions
    .din/                           state that survives DVC, which deletes a stage's outs before it reruns the stage

The root is an argument everywhere. Only the command lines default to the current directory.
"""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from din.base.errors import InputError

Format = Literal[2]
FORMAT: Format = 2
"""The format of logs, features, models and bundles that this release writes, and the only one that it reads."""

Suite = Literal["raw", "features", "predictions"]
SUITES: tuple[Suite, ...] = get_args(Suite)
"""The suites of validation, each named after the directory it judges."""


AT_THE_ROOT = "go to the root of your repository, or begin one with `din init FILE`"
"""The advice for a command that was run outside the root of a repository."""


def require(*files: Path) -> None:
    """Check that files of a workspace's root exist.

    Raises:
        InputError: a file does not exist.
    """
    for path in files:
        if not path.exists():
            raise InputError(f"{path}: not found; {AT_THE_ROOT}")


def user_cache() -> Path:
    """Return the folder of this user's caches, which all workspaces share."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "din-ctr"


class _Place:
    """A path below the root of a workspace, given by its parts."""

    def __init__(self, *parts: str) -> None:
        self._parts = parts

    def __get__(self, workspace: "Workspace", owner: type) -> Path:
        return workspace.root.joinpath(*self._parts)


@dataclass(frozen=True)
class Workspace:
    """The paths of a run below its root.

    The comment of each path names the stage or command that writes it. Paths without one are shared, or belong to DVC.
    """

    root: Path

    params = _Place("params.yaml")  # the parameters
    pipeline = _Place("dvc.yaml")  # the stages, as DVC reads them
    lock = _Place("dvc.lock")  # DVC's record of the last run of each stage

    raw = _Place("data", "raw")  # fetch: the raw log
    truth = _Place("data", "raw", "truth")  # fetch: the true click probabilities, which only simulated logs have
    features = _Place("data", "features")  # featurize: the feature shards

    model = _Place("models", "din")  # train: the model that is judged
    shipped = _Place("models", "shipped")  # refit: the model that is exported, which has learned the test days too
    bundle = _Place("models", "bundle")  # export: the candidate

    reports = _Place("reports")
    code = _Place("reports", "code")  # code: the code and packages that stages depend on
    fetch = _Place("reports", "fetch.json")  # fetch: the source that the raw log was read from
    training = _Place("reports", "training", "summary.json")  # train: the summary
    evaluation = _Place("reports", "evaluation.json")  # evaluate: the metrics
    metrics = _Place("reports", "metrics.json")  # evaluate: the few metrics that `dvc metrics` compares
    plots = _Place("reports", "plots")  # evaluate: the tables that `dvc plots` draws
    predictions = _Place("reports", "predictions")  # evaluate: of the validation and the test rows
    refit = _Place("reports", "refit.json")  # refit: the pass over the test days
    crossfit = _Place("reports", "crossfit")  # refit: cross-fitted predictions of the rows that judge the shipped model
    parity = _Place("reports", "parity.json")  # check_parity: the agreement of training and production
    # DVC does not track the others, since they hold times or are for people.
    training_times = _Place("reports", "training", "times.json")  # train: its duration
    refit_times = _Place("reports", "training", "refit_times.json")  # refit: its duration
    gate = _Place("reports", "gate.json")  # gate: the verdict on the candidate
    report = _Place("reports", "report.html")  # report, and after gate and promote: a page about the run
    runs_page = _Place("reports", "runs.html")  # report --all: a page about all runs of the registry
    tuning_page = _Place("reports", "tuning.html")  # tune: a page about its trials
    tuned = _Place("tuned.yaml")  # tune: the overlay with the best parameters

    state = _Place(".din")  # everything that must survive DVC
    stage_lock = _Place(".din", "stage.lock")  # held by a running stage
    report_lock = _Place(".din", "report.lock")  # held while a page is made
    checkpoints = _Place(".din", "checkpoints")  # train: one folder per run
    scratch = _Place(".din", "featurize")  # featurize: temporary files
    bound = _Place(".din", "verdict")  # gate: the hash of all that its open verdict depends on
    importances = _Place(".din", "importances.json")  # report: what each field is worth to the model
    refused = _Place(".din", "refused")  # report: the reports of the gate about refused candidates
    tuning = _Place(".din", "tune")  # tune: its trials, and its trainings with further seeds
    held = _Place(".din", "tune", "features")  # tune: links to the features that it trains on, while it runs
    runs = _Place(".din", "runs")  # the workspaces of a local scheduler, unless `DIN_HOME` names another folder
    tables = _Place(".din", "validation")  # validate_<suite>: its tables, while it runs
    fetched = _Place(".din", "fetch")  # fetch: downloads, and its memory of the source
    spill = _Place(".din", "fetch", "spill")  # fetch: the rows of the source while it reads them
    seen = _Place(".din", "fetch", "seen")  # fetch: fingerprint and days of each state of its source
    digests = _Place(".din", "fetch", "digests")  # fetch: hashes of the source's files

    @property
    def outs(self) -> tuple[Path, ...]:
        """The folders that only stages write, and the registry if it has its usual place."""
        return self.raw, self.features, self.model.parent, self.reports, self.root / "registry"

    def code_of(self, stage: str) -> Path:
        """Return the file with the code and packages of a stage, which is one of its dependencies."""
        return self.code / f"{stage}.json"

    def machine_of(self, stage: Literal["train", "evaluate", "refit"]) -> Path:
        """Return the file that describes the machine on which a stage computed."""
        return self.reports / "machine" / f"{stage}.json"

    def validation(self, suite: Suite) -> Path:
        """Return the report of a suite; written by `validate_<suite>`."""
        return self.reports / "validation" / f"{suite}.json"

    def verdict(self, suite: Suite) -> Path:
        """Return the file that exists only if a suite is open, always with the same bytes."""
        return self.validation(suite).with_suffix(".verdict")

    def directory_of(self, suite: Suite) -> Path:
        """Return the directory that a suite judges."""
        return {"raw": self.raw, "features": self.features, "predictions": self.predictions}[suite]

    def outcome(self, stage: str) -> Path:
        """Return the file with the outcome of a stage."""
        return self.state / "outcome" / f"{stage}.json"

    def days(self, events: str) -> Path:
        """Return the file in which `fetch` remembers the days of a log, given the paths of its events."""
        return self.fetched / f"days-{hashlib.sha256(events.encode()).hexdigest()[:16]}"

    def earlier_champion(self, role: str) -> Path:
        """Return the folder in which `gate` puts the earlier bundle that the candidate is compared with."""
        return self.state / "gate" / role

    def relative(self, path: Path) -> str:
        """Return a path of the workspace relative to its root, as reports name it."""
        return path.relative_to(self.root).as_posix()

    def located(self, place: str) -> str:
        """Return a place from params.yaml: a relative path starts at the root; URLs and `~` are left unchanged."""
        return place if "://" in place or place.startswith("~") else str(self.root / place)

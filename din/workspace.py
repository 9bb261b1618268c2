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

from din.errors import InputError

Format = Literal[2]
FORMAT: Format = 2
"""The format of logs, features, models and bundles that this release writes, and the only one that it reads."""

Suite = Literal["raw", "features", "predictions"]
SUITES: tuple[Suite, ...] = get_args(Suite)
"""The suites of validation, each named after the directory it judges."""


AT_THE_ROOT = "go to the root of your repository, or begin one with `din init --events FILE`"
"""The advice for a command that was run outside the root of a repository."""


def require(*files: Path) -> None:
    """Check that files of a workspace's root exist.

    Raises:
        InputError: one does not.
    """
    for path in files:
        if not path.exists():
            raise InputError(f"{path}: not found; {AT_THE_ROOT}")


def user_cache() -> Path:
    """Return the folder of this user's caches, which all workspaces share."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "din-ctr"


@dataclass(frozen=True)
class Workspace:
    """The paths of a run below its root."""

    root: Path

    @property
    def params(self) -> Path:
        """The parameter file."""
        return self.root / "params.yaml"

    @property
    def pipeline(self) -> Path:
        """The stages, as DVC reads them."""
        return self.root / "dvc.yaml"

    @property
    def lock(self) -> Path:
        """DVC's record of the last run of each stage."""
        return self.root / "dvc.lock"

    @property
    def raw(self) -> Path:
        """The raw log; written by `fetch`."""
        return self.root / "data" / "raw"

    @property
    def truth(self) -> Path:
        """The folder of the true click probabilities, which only simulated logs have."""
        return self.raw / "truth"

    @property
    def features(self) -> Path:
        """The feature shards; written by `featurize`."""
        return self.root / "data" / "features"

    @property
    def model(self) -> Path:
        """The trained model; written by `train`."""
        return self.root / "models" / "din"

    @property
    def shipped(self) -> Path:
        """The model that is exported: the trained one, advanced over the test days; written by `refit`."""
        return self.root / "models" / "shipped"

    @property
    def bundle(self) -> Path:
        """The candidate; written by `export`."""
        return self.root / "models" / "bundle"

    @property
    def reports(self) -> Path:
        """All reports."""
        return self.root / "reports"

    @property
    def training(self) -> Path:
        """The summary of a training; written by `train`."""
        return self.reports / "training" / "summary.json"

    @property
    def training_times(self) -> Path:
        """The duration of a training; written by `train`. DVC does not track it, because it differs from run to run."""
        return self.reports / "training" / "times.json"

    @property
    def refit_times(self) -> Path:
        """The duration of the pass over the test days; written by `refit`. DVC does not track it either."""
        return self.reports / "training" / "refit_times.json"

    @property
    def code(self) -> Path:
        """The code and packages that stages depend on; written by `code`."""
        return self.reports / "code"

    def code_of(self, stage: str) -> Path:
        """Return the file with the code and packages of a stage, which is a dependency of it."""
        return self.code / f"{stage}.json"

    def machine_of(self, stage: Literal["train", "evaluate", "refit"]) -> Path:
        """Return the file that describes the machine on which a stage computed."""
        return self.reports / "machine" / f"{stage}.json"

    @property
    def fetch(self) -> Path:
        """The source that the raw log was read from; written by `fetch`."""
        return self.reports / "fetch.json"

    @property
    def evaluation(self) -> Path:
        """The metrics; written by `evaluate`."""
        return self.reports / "evaluation.json"

    @property
    def metrics(self) -> Path:
        """The few metrics that `dvc metrics` compares; written by `evaluate`."""
        return self.reports / "metrics.json"

    @property
    def plots(self) -> Path:
        """The tables that `dvc plots` draws; written by `evaluate`."""
        return self.reports / "plots"

    @property
    def predictions(self) -> Path:
        """The predictions of the validation and the test rows; written by `evaluate`."""
        return self.reports / "predictions"

    @property
    def refit(self) -> Path:
        """The pass over the test days; written by `refit`."""
        return self.reports / "refit.json"

    @property
    def crossfit(self) -> Path:
        """The cross-fitted predictions of the rows that judge the shipped model; written by `refit`."""
        return self.reports / "crossfit"

    @property
    def parity(self) -> Path:
        """The agreement of training and production; written by `check_parity`."""
        return self.reports / "parity.json"

    @property
    def gate(self) -> Path:
        """The verdict on the candidate; written by `gate`. DVC does not track it, because it holds measured times."""
        return self.reports / "gate.json"

    @property
    def report(self) -> Path:
        """The run report, a page for people; written by `report`, and after `gate` and `promote`."""
        return self.reports / "report.html"

    @property
    def runs_page(self) -> Path:
        """A page for people about all runs of the registry; written by `report --all`."""
        return self.reports / "runs.html"

    def validation(self, suite: Suite) -> Path:
        """Return the report of a suite; written by `validate_<suite>`."""
        return self.reports / "validation" / f"{suite}.json"

    def verdict(self, suite: Suite) -> Path:
        """Return the file that exists only if a suite is open, always with the same bytes."""
        return self.validation(suite).with_suffix(".verdict")

    def judged(self, suite: Suite) -> Path:
        """Return the directory that a suite judges."""
        return {"raw": self.raw, "features": self.features, "predictions": self.predictions}[suite]

    @property
    def state(self) -> Path:
        """The folder of everything that must survive DVC."""
        return self.root / ".din"

    @property
    def stage_lock(self) -> Path:
        """The lock that a running stage holds."""
        return self.state / "stage.lock"

    def outcome(self, stage: str) -> Path:
        """Return the file that says how a stage ended."""
        return self.state / "outcome" / f"{stage}.json"

    @property
    def fetched(self) -> Path:
        """The downloads of `fetch`, and its memory of the source."""
        return self.state / "fetch"

    @property
    def spill(self) -> Path:
        """The rows of the source while `fetch` reads them."""
        return self.fetched / "spill"

    @property
    def seen(self) -> Path:
        """The fingerprint and the days that `fetch` found in each state of its source."""
        return self.fetched / "seen"

    @property
    def digests(self) -> Path:
        """The hashes of the source's files."""
        return self.fetched / "digests"

    def days(self, events: str) -> Path:
        """Return the file with what `fetch` remembers of each day of a log, given the paths of its events."""
        return self.fetched / f"days-{hashlib.sha256(events.encode()).hexdigest()[:16]}"

    @property
    def scratch(self) -> Path:
        """Temporary files of `featurize`."""
        return self.state / "featurize"

    @property
    def checkpoints(self) -> Path:
        """The checkpoints of trainings, one folder per run."""
        return self.state / "checkpoints"

    @property
    def runs(self) -> Path:
        """The folder in which a scheduler on this machine keeps workspaces, unless `DIN_HOME` names another."""
        return self.state / "runs"

    def earlier_champion(self, role: str) -> Path:
        """Return the folder in which `gate` puts the earlier bundle that the candidate is compared with."""
        return self.state / "gate" / role

    def relative(self, path: Path) -> str:
        """Return a path of the workspace relative to its root, as reports name it."""
        return path.relative_to(self.root).as_posix()

    def located(self, place: str) -> str:
        """Return a place from params.yaml: a relative path starts at the root; URLs and `~` stay as they are."""
        return place if "://" in place or place.startswith("~") else str(self.root / place)

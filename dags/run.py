"""A run and the outcome of a stage, in plain JSON, so that they can travel between tasks and processes."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from din import documents


@dataclass(frozen=True)
class Run:
    """The identity of a run.

    Attributes:
        run_id: names the run's record in the registry, `runs/<run_id>/`.
        commit: the full id.
        until: the last day of the log, YYYY-MM-DD. Empty until the run is opened, if nobody named one.
        params: maps dotted keys to values that replace those in params.yaml of the commit.
        source: the fingerprint of the source's log up to `until` when the run was opened.
        champion: the pin of the champion that the run goes on from (`din pin`). Empty if it starts from scratch.
        revision: the name under which the commit was asked for, e.g. a branch.
    """

    __pydantic_config__ = documents.STRICT

    run_id: str
    commit: str
    until: str
    params: dict[str, Any]
    source: str
    champion: str = ""  # missing in older records, like `revision`
    revision: str | None = None

    @property
    def lock_key(self) -> str:
        """The name below which runs of equal identity share their lock entries."""
        asked = json.dumps([self.commit, self.until, self.params, self.source, self.champion], sort_keys=True)
        return hashlib.sha256(asked.encode()).hexdigest()


@dataclass(frozen=True)
class Outcome:
    """The outcome of a stage or of `promote`.

    Attributes:
        stage: its name.
        exit_code: 0 done, 1 retry or bug, 2 bad input, 3 gate closed; None if it was killed before it left an outcome.
        report: the path of its report in the workspace and in the run's record, or None.
        table: its output: the gate table or the error.
    """

    stage: str
    exit_code: int | None
    report: str | None
    table: str

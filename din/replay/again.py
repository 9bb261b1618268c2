"""Score the requests of a log again, by the versions that it names, fetched from the registry and verified."""

import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from din.errors import InputError
from din.names import Version
from din.registry.registry import Registry
from din.schema import USER_ID, Group
from din.serve.limits import Limits
from din.serve.scorer import Scorer
from din.served_log import pseudonym

TOLERANCE = 1e-6
_ANY_SIZE = Limits(candidates=sys.maxsize, history=sys.maxsize)  # what was answered was within the server's limits


@dataclass(frozen=True)
class Again:
    """The requests that one version answered.

    Attributes:
        version: of the bundle.
        requests: how many were scored again.
        candidates: of all of them.
        differ: requests with a probability that differs by more than `TOLERANCE`, or that are refused now.
        largest: the largest difference; None: no request could be scored.
        problem: why there are requests that could not be scored, or None.
        example: the id of a request that differs, or None.
    """

    version: str
    requests: int
    candidates: int
    differ: int
    largest: float | None
    problem: str | None
    example: str | None


@dataclass(frozen=True)
class Opened:
    """The bundles that a log names, those that could be opened, and why the others could not."""

    scorers: dict[str, Scorer]
    problems: dict[str, str]


def open_all(registry: Registry, versions: Iterable[str]) -> Opened:
    """Open the bundles of some versions.

    Raises:
        Unavailable: the registry doesn't answer.
    """
    numbers = {record.version: record.number for record in registry.history()}
    scorers = {}
    problems = {}
    for version in sorted(set(versions)):
        if Version(version) not in numbers:
            problems[version] = f"no record of {registry.name} has it"
            continue
        try:
            scorers[version] = Scorer.from_registry(registry.uri, registry.model_name, numbers[Version(version)])
        except InputError as error:
            problems[version] = str(error)
    return Opened(scorers, problems)


def score_again(opened: Opened, rows: Sequence[dict[str, Any]], key: bytes | None) -> list[Again]:
    """Return a comparison for each version.

    Args:
        opened: the bundles.
        rows: of the log, with `request` parsed.
        key: of the hashes of users.

    Raises:
        InputError: users are hashed, the model has fields of users, and there is no key.
    """
    by_version: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        by_version[row["version"]].append(row)
    return [_version(opened, version, own, key) for version, own in sorted(by_version.items())]


def _version(opened: Opened, version: str, rows: Sequence[dict[str, Any]], key: bytes | None) -> Again:
    candidates = sum(len(row["probabilities"]) for row in rows)
    scorer = opened.scorers.get(version)
    if scorer is None:
        example = rows[0]["request_id"]
        return Again(version, len(rows), candidates, len(rows), None, opened.problems[version], example)
    scorer = scorer.within(_ANY_SIZE)
    people = _people(scorer, rows, key)
    worst: list[tuple[float, str]] = []
    problem = None
    for row in rows:
        request = row["request"]
        if row["user_id"] in people:
            request = {**request, "user": {**request["user"], USER_ID: people[row["user_id"]]}}
        try:
            again = scorer.score(request)
        except InputError as error:
            problem = str(error)
            worst.append((float("inf"), row["request_id"]))
            continue
        far = np.abs(again - np.asarray(row["probabilities"])).max(initial=0.0)
        worst.append((float(far), row["request_id"]))
    differ = [name for far, name in worst if far > TOLERANCE]
    largest = max((far for far, _ in worst if far < float("inf")), default=None)
    example = max(worst)[1] if differ else None
    return Again(version, len(rows), candidates, len(differ), largest, problem, example)


def _people(scorer: Scorer, rows: Sequence[dict[str, Any]], key: bytes | None) -> dict[str, str]:
    """Return the users that the bundle knows, by their hashes."""
    if not any(row["hashed"] for row in rows):
        return {}
    if key is None:
        if any(field.group is Group.USER for field in scorer.fields):
            raise InputError("the log holds hashes of users, and the model looks users up; give the key as --log-key")
        return {}
    return {pseudonym(key, user): user for user in scorer.users}

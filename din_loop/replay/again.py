"""Score the requests of a log again, by the versions that it names, fetched from the registry and verified."""

import math
import sys
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from din.base.errors import InputError, Unavailable, is_of_this_machine
from din.base.names import Version
from din.bundle.limits import Limits
from din.bundle.scorer import Scorer
from din.release.registry.cache import CACHE, open_fetched
from din.release.registry.registry import Registry
from din.schema import USER_ID, Group
from din_loop.served_log import pseudonym

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
        reads_ages: whether the model reads when behaviours were.
    """

    version: str
    requests: int
    candidates: int
    differ: int
    largest: float | None
    problem: str | None
    example: str | None
    reads_ages: bool = False


def score_again(registry: Registry, rows: Sequence[dict[str, Any]], key: bytes | None) -> list[Again]:
    """Return a comparison for each version.

    Args:
        registry: holds the bundles, of which one is open at a time.
        rows: of the log, with `request` parsed.
        key: of the hashes of users.

    Raises:
        InputError: users are hashed, the model has fields of users, and there is no key.
        Unavailable: the registry doesn't answer.
    """
    by_version: dict[Version, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        by_version[row["version"]].append(row)
    recorded = {record.version for record in registry.history()}
    return [_version(registry, version, recorded, answered, key) for version, answered in sorted(by_version.items())]


def _version(
    registry: Registry,
    version: Version,
    recorded: Collection[Version],
    rows: Sequence[dict[str, Any]],
    key: bytes | None,
) -> Again:
    candidates = sum(len(row["probabilities"]) for row in rows)
    try:
        if version not in recorded:
            raise InputError(f"no record of {registry.name} has it")
        scorer = open_fetched(registry, version, Scorer, CACHE)
    except Unavailable:
        raise
    except Exception as error:  # onnxruntime raises many kinds
        if is_of_this_machine(error):
            raise
        problem = str(error) or type(error).__name__
        return Again(version, len(rows), candidates, len(rows), None, problem, rows[0]["request_id"])
    scorer = scorer.within(_ANY_SIZE)
    people = _people(scorer, rows, key)
    far: dict[str, float] = {}
    problem = None
    for row in rows:
        request = row["request"]
        if row["user_id"] in people:
            request = {**request, "user": {**request["user"], USER_ID: people[row["user_id"]]}}
        try:
            again = scorer.score(request)
        except Exception as error:  # as above
            if is_of_this_machine(error):
                raise
            problem = str(error) or type(error).__name__
            far[row["request_id"]] = math.inf
            continue
        apart = np.abs(again - row["probabilities"])
        far[row["request_id"]] = float(np.nan_to_num(apart, nan=1.0).max(initial=0.0))
    differ = sum(distance > TOLERANCE for distance in far.values())
    largest = max((distance for distance in far.values() if distance < math.inf), default=None)
    example = max(far, key=lambda name: far[name]) if differ else None
    return Again(version, len(rows), candidates, differ, largest, problem, example, scorer.reads_ages)


def _people(scorer: Scorer, rows: Sequence[dict[str, Any]], key: bytes | None) -> dict[str, str]:
    """Return the users that the bundle knows, by their hashes."""
    if not any(row["hashed"] for row in rows):
        return {}
    if key is None:
        if any(field.group is Group.USER for field in scorer.fields):
            raise InputError("the log holds hashes of users, and the model looks users up; give the key as --log-key")
        return {}
    hashes = {row["user_id"] for row in rows}
    return {hashed: user for user in scorer.users if (hashed := pseudonym(key, user)) in hashes}

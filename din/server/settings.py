"""The options of `din serve`, as each of its processes reads them."""

import json
import os
from dataclasses import asdict, dataclass
from typing import Self

from din.serve.limits import DEFAULT_LIMITS, Limits

_VARIABLE = "DIN_SERVE"


@dataclass(frozen=True)
class Settings:
    """The options of `din serve`, for one of its processes.

    Attributes:
        registry: the URI of the registry.
        model: the name of the model there.
        refresh: seconds between two looks at the registry.
        threads: requests that are scored at once.
        queue: requests that may wait for a thread; one more is answered with 503.
        timeout: seconds after which a request is answered with 504, its body included.
        slow: seconds after which a request is logged with the time of each step.
        limits: the largest requests to answer.
        log: the folder of the log of what was answered. None: no log.
        log_share: the share of the users that are logged.
        log_key: the file with the key of the hashes that replace the ids of users in the log. None: ids are logged.
    """

    registry: str
    model: str
    refresh: float = 30.0
    threads: int = 1
    queue: int = 64
    timeout: float = 2.0
    slow: float = 0.5
    limits: Limits = DEFAULT_LIMITS
    log: str | None = None
    log_share: float = 1.0
    log_key: str | None = None

    def hand_over(self) -> None:
        """Leave the settings to the processes that this one starts."""
        os.environ[_VARIABLE] = json.dumps(asdict(self))

    @classmethod
    def handed_over(cls) -> Self:
        """Return the settings that the parent process left."""
        given = json.loads(os.environ[_VARIABLE])
        return cls(**given | {"limits": Limits(**given["limits"])})

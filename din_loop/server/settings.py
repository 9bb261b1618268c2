"""The options of `din serve`, as each of its processes reads them."""

import json
import os
from dataclasses import asdict, dataclass
from typing import Self

from din.bundle.limits import DEFAULT_LIMITS, Limits

_VARIABLE = "DIN_SERVE"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The options of `din serve`, which its help explains, for one of its processes. Times are in seconds."""

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
    shadow: str | None = None
    plugins: tuple[str, ...] = ()

    def hand_over(self) -> None:
        """Leave the settings to the processes that this one starts."""
        os.environ[_VARIABLE] = json.dumps(asdict(self))

    @classmethod
    def handed_over(cls) -> Self:
        """Return the settings that the parent process left."""
        options = json.loads(os.environ[_VARIABLE])
        return cls(**options | {"limits": Limits(**options["limits"]), "plugins": tuple(options["plugins"])})

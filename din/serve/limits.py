"""How much one request may ask for, so that memory and time of an answer are bounded whatever is sent."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from din.errors import InputError


@dataclass(frozen=True)
class Limits:
    """The most that one request may hold; more is refused, never cut.

    Attributes:
        candidates: entries of `candidates`.
        history: entries of `history`; at least the model's own `max_history` is always allowed.
        request_mb: megabytes of a request's line in a file, line end included.
    """

    candidates: int = 10_000
    history: int = 10_000
    request_mb: float = 16.0

    @property
    def request_bytes(self) -> int:
        """Bytes of a request's line."""
        return int(self.request_mb * 1_000_000)

    def check(self, request: Any, max_history: int) -> None:
        """Raise InputError where a request asks for too much; its form is not looked at."""
        if not isinstance(request, Mapping):
            return
        options = {"candidates": self.candidates, "history": max(self.history, max_history)}
        for key, most in options.items():
            values = request.get(key)
            if isinstance(values, list | tuple) and len(values) > most:
                advice = "split them over several requests" if key == "candidates" else "send the newest only"
                raise InputError(
                    f"{key}: {len(values):,} entries; expected at most {most:,}: {advice}, or raise the limit "
                    f"(din score --max-{key}, Limits.{key})"
                )


DEFAULT_LIMITS = Limits()

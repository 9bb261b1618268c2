"""Limits on the size of a request, which bound the memory and time of a response."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from din.base.errors import InputError


@dataclass(frozen=True)
class Limits:
    """The limits of one request. A larger request is refused, never truncated.

    Attributes:
        candidates: the largest number of entries of `candidates`.
        history: the largest number of entries of `history`. The model's own `max_history` is always allowed.
        request_mb: the largest size in MB of a request's line in a file, with the line break.
    """

    candidates: int = 10_000
    history: int = 10_000
    request_mb: float = 16.0

    @property
    def request_bytes(self) -> int:
        """`request_mb` in bytes."""
        return int(self.request_mb * 1_000_000)

    def check(self, request: Any, max_history: int) -> None:
        """Raise InputError if a request is too large. Its form is not checked."""
        if not isinstance(request, Mapping):
            return
        options = {"candidates": self.candidates, "history": max(self.history, max_history)}
        for key, most in options.items():
            values = request.get(key)
            if isinstance(values, list | tuple) and len(values) > most:
                advice = "split them over several requests" if key == "candidates" else "send the newest only"
                limit = f"raise the limit (--max-{key}, Limits.{key})"
                raise InputError(f"{key}: {len(values):,} entries; expected at most {most:,}: {advice}, or {limit}")


DEFAULT_LIMITS = Limits()

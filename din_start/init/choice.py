"""A guessed value, and the reason for it."""

from dataclasses import dataclass
from typing import Any

from din.base import documents


@dataclass(frozen=True)
class Choice:
    """A value, and the reason for it, which may have several lines."""

    __pydantic_config__ = documents.STRICT

    value: Any
    reason: str

    @property
    def lines(self) -> list[str]:
        """The lines of the reason; names from the log may hold codes that would steer a terminal or break YAML."""
        return [line if line.isprintable() else repr(line)[1:-1] for line in self.reason.splitlines()]

"""The choice of a value for a role, and the errors that ask a person instead."""

from dataclasses import dataclass

from din.errors import InputError
from din.init import words


@dataclass(frozen=True)
class Choice:
    """A value of a parameter, and the reason for it."""

    value: str
    reason: str


class Undecided(InputError):
    """A role that needs a person.

    Attributes:
        role: `time`, `label`, `user` or `item`.
        candidates: the columns that may be it, the likeliest first; for the label, also rules.
    """

    def __init__(self, message: str, role: str, candidates: list[str]) -> None:
        super().__init__(message)
        self.role = role
        self.candidates = candidates


class Misnamed(InputError):
    """A column that a person named for a role, and that does not exist or can't have it.

    Attributes:
        role: `time`, `label`, `user` or `item`.
    """

    def __init__(self, message: str, role: str) -> None:
        super().__init__(message)
        self.role = role


def by_name(names: list[str], entries: tuple[str, ...]) -> list[str]:
    """Return the names that match an entry, the most certain first."""
    ranked = [(place, at, name) for at, name in enumerate(names) if (place := words.rank(name, entries)) is not None]
    return [name for _, _, name in sorted(ranked)]

"""The choice of a column or rule for a role, the errors that ask a person instead, and the questions."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from din.errors import InputError, listed
from din.init import words

T = TypeVar("T")

_QUESTIONS = {
    "time": "Which column is the time at which the item was shown?",
    "label": "Which column says whether the user clicked? A rule such as rating >= 4 is fine, too.",
    "user": "Which column is the user?",
    "item": "Which column is the item?",
}


@dataclass(frozen=True)
class Choice:
    """A value of a parameter, and the reason for it."""

    value: str
    reason: str


class Undecided(InputError):
    """A role (`time`, `label`, `user` or `item`) that needs a person, with the candidates, the likeliest first."""

    def __init__(self, message: str, role: str, candidates: list[str]) -> None:
        super().__init__(message)
        self.role = role
        self.candidates = candidates


class Misnamed(InputError):
    """A column that a person named for a role, and that does not exist or can't have it."""

    def __init__(self, message: str, role: str) -> None:
        super().__init__(message)
        self.role = role


def by_name(names: list[str], entries: tuple[str, ...]) -> list[str]:
    """Return the names that match an entry, the most certain first."""
    ranked = [(place, at, name) for at, name in enumerate(names) if (place := words.rank(name, entries)) is not None]
    return [name for _, _, name in sorted(ranked)]


def decided(guess: Callable[[dict[str, str]], T], given: dict[str, str], answer: Callable[[str], str] | None) -> T:
    """Return a guess from the columns that are known by role, and ask as long as a role can't be guessed.

    Raises:
        Undecided: nobody is there to ask (`answer` is None), or nothing is left to choose from.
    """
    answered: dict[str, str] = {}
    question = ""
    while True:
        try:
            return guess(given | answered)
        except Undecided as error:
            role = error.role
            if answer is None or not error.candidates or role in given | answered:
                raise
            question = f"{_QUESTIONS[role]} Candidates: {listed(error.candidates)}"
            why = str(error)
        except Misnamed as error:
            role = error.role
            if answer is None or role not in answered:
                raise
            why = str(error)
        answered[role] = answer(f"{why}\n{question}")

"""Ask a person which column has a role, where neither names nor values decide."""

from collections.abc import Callable
from typing import TypeVar

from din.errors import listed
from din.init.choice import Misnamed, Undecided

T = TypeVar("T")

_QUESTIONS = {
    "time": "Which column is the time at which the item was shown?",
    "label": "Which column says whether the user clicked? A rule such as rating >= 4 is fine, too.",
    "user": "Which column is the user?",
    "item": "Which column is the item?",
}


def decided(guess: Callable[[dict[str, str]], T], given: dict[str, str], answer: Callable[[str], str] | None) -> T:
    """Return a guess, and ask as long as a role can't be guessed.

    Args:
        guess: guesses, given the columns that are known by role.
        given: what is known from the start.
        answer: asks a person; None = nobody is there.

    Raises:
        Undecided: a role can't be guessed, and nobody is there to ask, or nothing is left to choose from.
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

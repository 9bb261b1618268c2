"""Measured tables between two marks of a page."""

from pathlib import Path

from din.errors import InputError


def write_between(marks: tuple[str, str], page: Path, text: str) -> None:
    """Replace what stands between the marks, each on a line of its own.

    Raises:
        InputError: the page lacks a mark, or the second comes first; it is left as it was.
    """
    begin, end = marks
    head, opened, rest = page.read_text(encoding="utf-8").partition(f"{begin}\n")
    _, closed, tail = rest.partition(end)
    if not (opened and closed):
        raise InputError(f"{page}: no place for the tables; put {begin} and, after it, {end} on lines of their own")
    page.write_text(f"{head}{begin}\n{text.strip()}\n{end}{tail}", encoding="utf-8")

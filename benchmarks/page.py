"""Write measured tables between two marks of a page."""

from dataclasses import dataclass
from pathlib import Path

from din.errors import InputError


@dataclass(frozen=True)
class Place:
    """The lines between two marks of a page, each on a line of its own."""

    page: Path
    begin: str
    end: str

    @classmethod
    def of(cls, marks: tuple[str, str], page: Path) -> "Place":
        """Find the place, which is best done before long measurements.

        Raises:
            InputError: the page can't be read, lacks a mark, or the second comes first.
        """
        place = cls(page, *marks)
        place._around()
        return place

    def write(self, text: str) -> None:
        """Replace the text between the marks.

        Raises:
            InputError: see `of`. The page is not changed.
        """
        head, tail = self._around()
        self.page.write_text(f"{head}{self.begin}\n{text.strip()}\n{self.end}{tail}", encoding="utf-8")

    def _around(self) -> tuple[str, str]:
        try:
            text = self.page.read_text(encoding="utf-8")
        except OSError as error:
            raise InputError(f"{self.page}: {error.strerror}; expected a page to put the tables into") from None
        head, opened, rest = text.partition(f"{self.begin}\n")
        _, closed, tail = rest.partition(self.end)
        if not (opened and closed):
            advice = f"put {self.begin} and, after it, {self.end} on lines of their own"
            raise InputError(f"{self.page}: no place for the tables; {advice}")
        return head, tail

"""Tell what a column holds by its name, in several languages; `words.toml` lists the words of each meaning.

A name is split into words without accents: `Kunden-Nr.` is kunden, nr, and `userId` is user, id.
"""

import re
import tomllib
import unicodedata
from collections.abc import Iterable
from pathlib import Path

_TEXT = Path(__file__).with_name("words.toml").read_text(encoding="utf-8")
ENTRIES = {meaning: entries.split() for meaning, entries in tomllib.loads(_TEXT).items()}
"""The entries of each meaning; earlier ones are more certain."""
_SPECIAL = str.maketrans({"ß": "ss", "ä": "ae", "ö": "oe", "ü": "ue", "ø": "o", "ł": "l", "ı": "i"})


def words(name: str) -> list[str]:
    """Return the words of a column's name, in lower case and without accents."""
    split = plain(re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name))
    return [word for word in re.split(r"[\W_]+", split) if word and word not in ("token", "float", "seq")]


def plain(name: str) -> str:
    """Return a name in lower case and without accents."""
    letters = unicodedata.normalize("NFKD", name.lower().translate(_SPECIAL))
    return "".join(letter for letter in letters if not unicodedata.combining(letter))


def rank(name: str, *meanings: str) -> int | None:
    """Return the place of the first entry of the meanings that matches a word of a name, or None."""
    parts = words(name)
    for place, entry in enumerate(entry for meaning in meanings for entry in ENTRIES[meaning]):
        whole = entry.removesuffix("$")
        if any(word == whole if entry.endswith("$") else word.startswith(whole) for word in parts):
            return place
    return None


def means(name: str, *meanings: str) -> bool:
    """Return whether a name has one of the meanings."""
    return rank(name, *meanings) is not None


def by_name(names: Iterable[str], *meanings: str) -> list[str]:
    """Return the names that have one of the meanings, the most certain first."""
    ranked = [(place, name) for name in names if (place := rank(name, *meanings)) is not None]
    return [name for _, name in sorted(ranked, key=lambda pair: pair[0])]


def describes_click(name: str) -> bool:
    """Return whether a name begins with a click and goes on, such as click_os: what follows says what it holds."""
    first, *others = words(name) or [""]
    return bool(others) and means(first, "click") and not means(" ".join(others), "number", "total", "rating", "time")

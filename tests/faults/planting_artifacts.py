"""Ways to plant faults in documents, folders and logs, and checks of the answers."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from din.artifacts import hash_files
from din.errors import GateClosed, InputError, Unavailable

MOST_CHARACTERS = 2_000
"""The longest message that is accepted, so that a hostile value can't flood a log."""


def refusal(call: Callable[[], object]) -> str:
    """Return the message of an InputError or GateClosed that a call must raise."""
    try:
        found = call()
    except (InputError, GateClosed, Unavailable) as error:
        message = str(error)
        check_message(message)
        return message
    return pytest.fail(f"accepted: {found!r}")


def check_message(message: str) -> None:
    """Check that a message is one block of printable lines of bounded length, without a traceback."""
    assert "Traceback" not in message and "this is a bug" not in message
    assert all(line.isprintable() for line in message.splitlines())
    assert 0 < len(message) < MOST_CHARACTERS


@dataclass(frozen=True)
class Broken:
    """A way to break a file that holds a JSON object, and a word of the message of its readers."""

    plant: Callable[[Path], object]
    says: str


def _text(change: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(change(path.read_bytes()))


def _first(pair: bytes) -> Callable[[Path], object]:
    """Put a pair of key and value before all others of the outermost object."""
    return _text(lambda text: text.replace(b"{", b"{" + pair + b", ", 1))


def _first_key_twice(path: Path) -> None:
    key = next(iter(json.loads(path.read_bytes())))
    _first(f'"{key}": 0'.encode())(path)


def nested(depth: int) -> bytes:
    """Return JSON of lists nested to this depth."""
    return b"[" * depth + b"]" * depth


BROKEN = {
    "nested 10,000 deep": Broken(_first(b'"x": ' + nested(10_000)), "nested deep"),
    "of 20 MB": Broken(lambda path: os.truncate(path, 20_000_000), "larger than"),
    "not UTF-8": Broken(_first(b'"\xff\xfe": 0'), "not a JSON document"),
    "with NaN": Broken(_first(b'"x": NaN'), "not a JSON document"),
    "with a huge integer": Broken(_first(b'"x": 1' + b"0" * 5_000), ""),
    "a key twice": Broken(_first_key_twice, "appears twice"),
    "an unknown key": Broken(_first(b'"approved": true'), "'approved' is unknown"),
    "a list": Broken(_text(lambda text: b"[" + text + b"]"), "the document"),
    "empty": Broken(_text(lambda text: b""), "not a JSON document"),
    "an empty object": Broken(_text(lambda text: b"{}"), "missing"),
    "truncated": Broken(_text(lambda text: text[: len(text) // 2]), "not a JSON document"),
    "garbage appended": Broken(_text(lambda text: text + b"]"), "not a JSON document"),
}
A_FEW = {how: BROKEN[how] for how in ("nested 10,000 deep", "an unknown key", "truncated")}
"""For documents that `din.documents.read` reads as it reads those that are broken in every way."""


def flip(path: Path, at: int = -1) -> None:
    """Change one bit of a file."""
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def swap(one: Path, other: Path) -> None:
    """Exchange the contents of two files."""
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)


@contextmanager
def untouched(folder: Path) -> Iterator[None]:
    """Check that nothing below a folder changes."""
    before = hash_files(folder)
    yield
    assert hash_files(folder) == before

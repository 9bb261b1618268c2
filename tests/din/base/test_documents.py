"""The strict reader: one line for any problem of a document."""

import json
import math
from datetime import date
from pathlib import Path

import pytest

from din.base import documents
from din.base.errors import InputError
from din.base.names import ModelName, RunId, Version
from din.contracts.facts import Facts
from din.release.registry.records import Override
from tests.factories import documents_of

SOUND = json.dumps(documents_of.facts())
TEXT = SOUND.replace('"seed": 1, "packages"', '"seed": "1", "packages"')

DAMAGE = {
    "nested 10,000 deep": (b"[" * 10_000 + b"]" * 10_000, "nested deeper than 200 levels"),
    "larger than the limit": (b" " * (documents.MOST_BYTES + 1), "larger than 16,777,216 bytes"),
    "cut off": (SOUND[:100].encode(), "EOF while parsing"),
    "NaN": (SOUND.replace('"seed": 1', '"seed": NaN').encode(), "not a JSON document"),
    "infinite": (SOUND.replace('"gauc": 0.74', '"gauc": 1e999').encode(), "1e999 is beyond the range of numbers"),
    "a key twice": (SOUND.replace('"seed": 1', '"seed": 1, "seed": 2').encode(), "key 'seed' appears twice"),
    "an unknown key": (SOUND.replace('"seed": 1', '"sead": 1, "seed": 1').encode(), "key 'sead' is unknown"),
    "a missing key": (SOUND.replace('"seed": 1, ', "").encode(), "key 'seed' is missing in the document"),
    "text for a number": (TEXT.encode(), "seed: Input should be a valid integer"),
    "no time, at length": (SOUND.replace("2024-10-03T12", "x" * 100_000, 1).encode(), "train_until: Invalid isoformat"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_named_in_one_line(tmp_path: Path, damage: str) -> None:
    """The line names place, key, value and expectation for any document."""
    content, message = DAMAGE[damage]
    path = tmp_path / "facts.json"
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        documents.read(Facts, path)
    assert str(path) in str(error.value) and message in str(error.value)
    assert "\n" not in str(error.value) and len(str(error.value)) < 2000


@pytest.mark.parametrize("mark", ["\n", "\u202e"])
def test_text_for_people_holds_no_code_that_changes_how_it_is_shown(mark: str) -> None:
    """A control character or a mark that reverses text is refused in names and reasons."""
    documents.check(Override, {"gates": ["a zero-width\u200cjoiner"], "compared": True}, "000001.json")
    with pytest.raises(InputError, match=r"gates\.0: String should match pattern"):
        documents.check(Override, {"gates": [f"one{mark}two"], "compared": True}, "000001.json")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({date(2024, 1, 1): 2}, "key datetime.date(2024, 1, 1) in the document is not text"),
        ({"a": [math.nan]}, "a.0: nan"),
    ],
)
def test_what_yaml_can_say_and_json_cannot_is_named(value: object, message: str) -> None:
    """Keys that are dates, and numbers that are not finite, are named."""
    with pytest.raises(InputError) as error:
        documents.check(Facts, value, "params.yaml")
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["", "a/b", "A" * 64, "0" * 63, "0" * 65, 7, None])
def test_a_version_is_64_hex_digits(text: object) -> None:
    """A version can't be built from other text."""
    with pytest.raises(InputError, match="expected 64 hex digits"):
        Version(text)


@pytest.mark.parametrize("text", ["", "..", ".a", "a/b", "a b", "é", "a\n", "-a", "a" * 129])
def test_a_model_name_is_one_plain_segment(text: str) -> None:
    """The message says where the name comes from."""
    with pytest.raises(InputError, match=r"promote\.model_name"):
        ModelName(text)


def test_an_id_of_a_scheduler_becomes_a_name() -> None:
    """Characters that a name can't hold become dashes, a name stays as it is, and no id names a folder above."""
    name = RunId.of("manual__2026-01-01T00:00:00+00:00")
    assert name == "manual__2026-01-01T00-00-00-00-00" == RunId.of(name)
    for given in ("", "..", ".x", "::"):
        with pytest.raises(InputError, match="DIN_RUN_ID"):
            RunId.of(given)

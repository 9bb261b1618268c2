"""Field records: the learned values that each kind must and may have."""

from typing import Any

import pytest

from din.base import documents
from din.base.errors import InputError
from din.contracts.manifests import CodedField
from din.kinds import KINDS, Number
from din.seams import Registered


class Scaled(Number):
    """A number that is scaled by the lowest and the highest one of training."""

    learned = frozenset({"lowest", "highest"})


@pytest.fixture(autouse=True)
def plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register the kind of a plugin."""
    monkeypatch.setitem(KINDS._things, "scaled", Registered(Scaled, None, __name__))


def record(kind: str, **learned: Any) -> dict[str, Any]:
    """Return the record of a field without buckets."""
    return {"name": "price", "group": "item", "kind": kind, "buckets": None, "rows": 2, **learned}


@pytest.mark.parametrize(
    "valid",
    [
        record("numeric", mean=1.0, std=2.0),
        record("scaled", lowest=0.0, highest=9.0),
        record("of a plugin that is not loaded", anything=[1, "a"]),
    ],
)
def test_a_kind_has_its_own_learned_values(valid: dict[str, Any]) -> None:
    """A plugin's kind names them, and they come back as they are."""
    assert documents.check(CodedField, valid, "field") == valid


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (record("numeric", mean=1.0, std=2.0, lowest=0.0), "a field of kind numeric has no lowest"),
        (record("numeric", mean="1", std=2.0), "field: mean: Input should be a valid number"),
        (record("scaled", lowest=0.0), "expected highest and lowest of this field"),
    ],
)
def test_a_record_has_the_values_of_its_kind(wrong: dict[str, Any], message: str) -> None:
    """Neither fewer nor others, and built-in ones of their type."""
    with pytest.raises(InputError, match=message):
        documents.check(CodedField, wrong, "field")

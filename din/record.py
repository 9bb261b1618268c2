"""Records of the registry's log, and where they and a run's files lie below a model's name."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Literal

from din.errors import GateClosed, InputError


class StaleChampion(GateClosed):
    """Somebody else appended first: the comparison that allowed this append was with a champion of the past."""


@dataclass(frozen=True)
class Record:
    """One line of the log: who made which version the champion, when and why. `previous` is the version before."""

    number: int
    version: str
    action: Literal["promote", "rollback"]
    previous: str | None
    run_id: str | None
    nonce: str
    by: str
    at: str
    reason: str
    files: Mapping[str, str] = field(default_factory=dict)  # name below runs/<run_id>/ to sha256


def parse_record(content: bytes, at: str) -> Record:
    """A record from its bytes; keys of a later version are ignored.

    Raises:
        InputError: it isn't a record; `at` says where it lies.
    """
    known = {f.name for f in fields(Record)}
    try:
        return Record(**{name: value for name, value in json.loads(content).items() if name in known})
    except (AttributeError, TypeError, ValueError) as error:
        raise InputError(f"{at}: not a promotion record ({error})") from None


def record_key(number: int) -> str:
    """Where the record of this number lies."""
    return f"promotions/{number:06d}.json"


def run_key(run_id: str, area: str = "runs") -> str:
    """Where a run's record lies; schedulers' ids hold colons and more."""
    safe = re.sub(r"[^\w.-]+", "-", run_id, flags=re.ASCII)
    return f"{area}/{safe}"

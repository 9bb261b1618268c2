"""The rule for rows that an earlier model may have learned, in the gate's comparison with a champion."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from din.errors import InputError
from din.facts import Facts
from din.features.reader import Features
from din.gates.earlier_champion import fair_rows
from tests.factories import documents_of
from tests.factories.features import write_features

TRAINED = datetime(1970, 1, 3, tzinfo=UTC)
"""Time of today's last training row."""
NOON = np.array([2.5, 3.5, 4.5]) * 24 * 3600 * 1_000_000
"""Times of today's held-out rows: 1970-01-03 at noon, and the two days after."""


@dataclass(frozen=True)
class Case:
    """An earlier model, and the answer of the rule.

    Attributes:
        name: the name of the case.
        protocol: today's protocol.
        split: the differences in the earlier model's split.
        days: how much later than today's its log ended.
        hours: how much later than today's its training ended.
        rows: the mask of today's rows that it can't have learned, or None if that is unknown.
        says: words of the refusal.
    """

    name: str
    protocol: str
    split: dict[str, Any] = field(default_factory=dict)
    days: int = 0
    hours: int = 0
    rows: tuple[bool, bool, bool] | None = (True, True, True)
    says: str = ""


def unknown(name: str, protocol: str, says: str, **changes: Any) -> Case:
    """Return a case of an earlier model that can't be compared."""
    return Case(name, protocol, **changes, rows=None, says=says)


CASES = [
    *(Case(f"{protocol}: the same log and split", protocol) for protocol in ("temporal", "by_user", "leave_last_out")),
    *(
        unknown(f"{protocol}: another {key}", protocol, f"{key} {value} there", split={key: value})
        for protocol in ("by_user", "leave_last_out")
        for key, value in (("seed", 99), ("valid_fraction", 0.3), ("test_fraction", 0.5))
    ),
    unknown("another protocol", "by_user", "name 'temporal' there, 'by_user' here", split={"name": "temporal"}),
    Case("temporal: seed and fractions play no part", "temporal", split={"seed": 99, "test_fraction": 0.5}),
    Case("temporal: an older log", "temporal", days=-1, hours=-24),
    Case(
        "temporal: it learned the first row that is held out today",
        "temporal",
        hours=18,
        rows=(False, True, True),
    ),
    Case("by_user: a later log holds out the same users", "by_user", days=1, hours=18),
    Case("leave_last_out: an older log", "leave_last_out", days=-1),
    unknown("leave_last_out: a later day", "leave_last_out", "data until", days=1),
    unknown("leave_last_out: a later row", "leave_last_out", "trained until 1970-01-03 18", hours=18),
]


def facts(case: Case, features: Features) -> Facts:
    """Return the facts of the earlier bundle."""
    split = documents_of.PROTOCOL | {"name": case.protocol} | case.split
    until = features.last_day() + timedelta(days=case.days)
    trained = TRAINED + timedelta(hours=case.hours)
    return Facts(**documents_of.facts(protocol=split, until=until.isoformat(), seen_until=trained.isoformat()))


@pytest.fixture
def today(tmp_path: Path) -> Features:
    """Return features that are split like `PROTOCOL`."""
    features = write_features(tmp_path / "features")
    changes = {"params": documents_of.PROTOCOL, "train_until": TRAINED.isoformat()}
    features.manifest = features.manifest.model_copy(update=changes)
    return features


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_comparison_leaves_learned_rows_out(case: Case, today: Features) -> None:
    """The gate compares exactly the rows that the champion can't have learned, and closes if that is unknown."""
    candidate = facts(Case("today", case.protocol), today)
    if case.rows is None:
        with pytest.raises(InputError, match=f"may have trained on today's test rows: .*{case.says}"):
            fair_rows(candidate, facts(case, today), NOON)
    else:
        assert fair_rows(candidate, facts(case, today), NOON).tolist() == list(case.rows)

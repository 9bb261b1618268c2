"""The rows that a champion may have learned, and the comparisons that this rules out."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from din.base.errors import InputError
from din.contracts.facts import Facts
from din.release.gates.earlier_champion import fair_rows
from tests.factories import documents_of

NOON = np.array([2.5, 3.5, 4.5]) * 24 * 3600 * 1_000_000
"""Times of today's held-out rows: 1970-01-03 at noon, and the two days after. Training ended on 1970-01-03 at 0:00."""
ALL = [True, True, True]

# The protocol, how the champion's log differs (see `facts`), and its unseen rows or the words of the refusal.
CASES: list[tuple[str, dict[str, Any], list[bool] | str]] = [
    *((protocol, {}, ALL) for protocol in ("temporal", "by_user", "leave_last_out")),
    *(
        (protocol, {key: value}, f"{key} {value} there")
        for protocol in ("by_user", "leave_last_out")
        for key, value in (("seed", 99), ("valid_fraction", 0.3), ("test_fraction", 0.5))
    ),
    ("by_user", {"name": "temporal"}, "name 'temporal' there, 'by_user' here"),
    ("temporal", {"name": "by_user", "days": -3}, ALL),
    ("temporal", {"name": "leave_last_out", "days": -2}, [False, True, True]),  # its log ends on the first row's day
    ("temporal", {"name": "by_user"}, [False, False, False]),
    ("temporal", {"seed": 99, "test_fraction": 0.5}, ALL),
    ("temporal", {"days": -1, "hours": -24}, ALL),
    *(("temporal", {"hours": hours}, [False, True, True]) for hours in (12, 18)),  # 12: the first row itself
    ("by_user", {"days": 1, "hours": 18}, ALL),
    ("leave_last_out", {"days": -1}, ALL),
    ("leave_last_out", {"days": 1}, "data until"),
    ("leave_last_out", {"hours": 18}, "trained until 1970-01-03 18"),
]


def facts(days: int = 0, hours: int = 0, **split: Any) -> Facts:
    """Return the facts of a bundle whose log ended some days later than today's, and its training some hours later."""
    until = date(1970, 1, 5) + timedelta(days=days)
    seen = datetime(1970, 1, 3, tzinfo=UTC) + timedelta(hours=hours)
    times = {"until": until.isoformat(), "seen_until": seen.isoformat()}
    return Facts(**documents_of.facts(protocol=documents_of.PROTOCOL | split, **times))


@pytest.mark.parametrize(("protocol", "earlier", "answer"), CASES, ids=str)
def test_a_comparison_leaves_learned_rows_out(protocol: str, earlier: dict[str, Any], answer: list[bool] | str) -> None:
    """The gate compares exactly the rows that the champion can't have learned, and closes if that is unknown."""
    champion = facts(**{"name": protocol} | earlier)
    if isinstance(answer, str):
        with pytest.raises(InputError, match=f"may have trained on today's test rows: .*{answer}"):
            fair_rows(facts(name=protocol), champion, NOON)
    else:
        assert fair_rows(facts(name=protocol), champion, NOON).tolist() == answer

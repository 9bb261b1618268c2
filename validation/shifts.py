"""Does training's knowledge of a field still hold on validation, test and their last days?

Three ways to fail: values are missing or were never seen, the values' relation to the label is gone, the items that
were shown most are not shown any more. All three happen to some degree in a growing log, so each is compared with
what training's own late part shows against its early part (validation/sample.py), and with chance.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from din.metrics import auc
from din.schema import ITEM_ID, UNKNOWN, Field, Group
from validation.leak import rates
from validation.sample import Impressions, Sample

_SIGMAS = 5.0
_MIN_ROWS = 100
_MIN_SKILL = 0.03  # of AUC - 0.5: weaker relations come and go
_MIN_ORDER = 0.3  # of the correlation of the items' impressions
_KEPT = 0.25  # share of a relation below which it is gone
_MIN_ITEMS = 100


@dataclass(frozen=True)
class Shift:
    """A figure of a field on a part, and what was expected there."""

    field: str
    group: Group
    part: str
    value: float
    expected: float

    def row(self) -> dict[str, object]:
        """The shift as a row of a report's sample."""
        return {
            "field": self.field,
            "rows of": self.part,
            "found": round(self.value, 4),
            "expected": round(self.expected, 4),
        }


def unknown_shares(sample: Sample) -> list[Shift]:
    """The share of unknown or missing values that chance doesn't explain, the largest excess first.

    expected: training's share, and the share of late training values that early training doesn't have.
    """
    early, late = sample.early_and_late
    found = []
    for field in sample.fields:
        share = unknown_share(sample.train, field)
        expected = min(1.0, share + _new_share(early, late, field))
        for part in sample.judged:
            value = unknown_share(part, field)
            own = part.users if field.group is Group.USER else len(part)
            noise = np.sqrt(max(expected * (1 - expected), 1 / max(own, 1)) / max(own, 1))
            if len(part) >= _MIN_ROWS and value - expected > _SIGMAS * noise:
                found.append(Shift(field.name, field.group, part.name, value, expected))
    return sorted(found, key=lambda shift: shift.expected - shift.value)


def unknown_share(part: Impressions, field: Field) -> float:
    """The share of a field's values that are unknown or missing."""
    code = part.codes[field.name].code
    return float((code == UNKNOWN).mean()) if len(code) else 0.0


def lost_relations(sample: Sample) -> list[Shift]:
    """AUCs, on known values, of the CTRs that training teaches, where they lost nearly all that late training had.

    The shares of the history with the candidate's value, which need no teaching, are judged alike as `history <field>`.
    """
    early, late = sample.early_and_late
    found = []
    for field in sample.fields:
        before = _taught(early, field)
        now = _taught(sample.train, field)
        found += _lost(sample, late, field.name, field.group, before, now)
    for name in sample.train.shares:
        share = _share_of(name)
        found += _lost(sample, late, f"history {name}", Group.BEHAVIOUR, share, share)
    return sorted(found, key=lambda shift: shift.value - shift.expected)


def lost_item_order(sample: Sample) -> list[Shift]:
    """Correlations of the items' impressions with training's, where late training had one and a part nearly none.

    Not judged under `leave_last_out`, where half of the items are drawn evenly.
    """
    if sample.features.manifest["protocol"] == "leave_last_out":
        return []
    early, late = sample.early_and_late
    found = []
    for part in sample.judged:
        expected = _order(sample, early, late.thinned(len(part)))
        value = _order(sample, sample.train, part)
        if expected is not None and value is not None and expected >= _MIN_ORDER and value < _KEPT * expected:
            found.append(Shift(ITEM_ID, Group.ITEM, part.name, value, expected))
    return sorted(found, key=lambda shift: shift.value)


Scores = Callable[[Impressions], tuple[np.ndarray, np.ndarray]]  # scores [B] and which are known [B]


def _taught(train: Impressions, field: Field) -> Scores:
    """Score by the CTR of each value in training."""
    rate = rates(train, train.codes[field.name], np.ones(len(train), bool))

    def scores(part: Impressions) -> tuple[np.ndarray, np.ndarray]:
        codes = part.codes[field.name]
        known = np.bincount(codes.row, weights=codes.code != UNKNOWN, minlength=len(part)) > 0
        return codes.mean(rate, len(part)), known

    return scores


def _share_of(name: str) -> Scores:
    def scores(part: Impressions) -> tuple[np.ndarray, np.ndarray]:
        return part.shares[name], part.history > 0

    return scores


def _lost(sample: Sample, late: Impressions, name: str, group: Group, before: Scores, now: Scores) -> list[Shift]:
    had = _skill(late, *before(late), group)
    if had is None or had.value < max(_MIN_SKILL, _SIGMAS * had.noise):
        return []
    found = []
    for part in sample.judged:
        has = _skill(part, *now(part), group)
        if has is not None and has.value < _KEPT * had.value and had.value - has.value > _SIGMAS * has.noise:
            found.append(Shift(name, group, part.name, 0.5 + has.value, 0.5 + had.value))
    return found


@dataclass(frozen=True)
class _Skill:
    """AUC - 0.5 and its standard error."""

    value: float
    noise: float


def _skill(part: Impressions, scores: np.ndarray, known: np.ndarray, group: Group) -> _Skill | None:
    """The skill of scores on impressions whose value is known; None where they are too few to tell."""
    own = part.take(known, part.name)
    return _Skill(auc(own.label, scores[known]) - 0.5, own.noise(group)) if own.enough else None


def _new_share(early: Impressions, late: Impressions, field: Field) -> float:
    """The share of late values that no early impression has."""
    seen = np.zeros(early.codes[field.name].size, bool)
    seen[early.codes[field.name].code] = True
    code = late.codes[field.name].code
    return float((~seen[code] & (code != UNKNOWN)).mean()) if len(code) else 0.0


def _order(sample: Sample, train: Impressions, part: Impressions) -> float | None:
    """The correlation of the logarithms of the items' impressions, over items that training shows."""
    items = sample.features.items.num_rows
    before, now = (np.log1p(np.bincount(rows.item, minlength=items)) for rows in (train, part))
    shown = before > 0
    if len(part) < _MIN_ROWS or shown.sum() < _MIN_ITEMS or np.ptp(before[shown]) == 0 or np.ptp(now[shown]) == 0:
        return None
    return float(np.corrcoef(before[shown], now[shown])[0, 1])

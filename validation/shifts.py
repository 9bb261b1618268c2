"""Check that training's knowledge of a field still holds on validation, test and their last days.

It can fail in three ways: values are missing or were never seen, values have lost their relation to the label, or the
items that were shown most are no longer shown. All three happen to some degree in a growing log. Each is therefore
compared with the difference between the late and the early part of training (validation/sample.py), and with chance.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from din.field_forms import UNKNOWN
from din.metrics import auc
from din.schema import ITEM_ID, Field, Group
from validation import constants
from validation.leak import rates
from validation.sample import Impressions, Sample


@dataclass(frozen=True)
class Shift:
    """A figure of a field on a part of the log, and its expected value."""

    field: str
    part: str
    value: float
    expected: float

    def row(self) -> dict[str, object]:
        """Return the shift as a row of a report's sample."""
        return {
            "field": self.field,
            "rows of": self.part,
            "found": round(self.value, 4),
            "expected": round(self.expected, 4),
        }


def missing_shares(sample: Sample) -> pd.DataFrame:
    """Return the share of training rows without a value, by field, the largest first."""
    shares = [unknown_share(sample.train, field) for field in sample.fields]
    found = pd.DataFrame({"missing": shares}, index=pd.Index([field.name for field in sample.fields], name="field"))
    return found.sort_values("missing", ascending=False, kind="stable")


def unknown_shares(sample: Sample) -> pd.DataFrame:
    """Return shares of unknown or missing values that are larger than chance explains, the largest excess first.

    The expected share is that of training plus the share of late training's values that early training lacks. Rows that
    come *in addition* to the usual ones, e.g. of new users on a holiday, take nothing away, so on a day with more rows
    than the usual day of late training, the share is that of the usual number of rows that known values lack.
    """
    early, late = sample.early_and_late
    temporal = sample.features.manifest["protocol"] == "temporal"
    found = []
    for field in sample.fields:
        share = unknown_share(sample.train, field)
        expected = min(1.0, share + _new_share(early, late, field))
        for part in sample.judged:
            value = unknown_share(part, field)
            value -= (1 - value) * max(0.0, part.rows_a_day / late.rows_a_day - 1) if temporal else 0.0
            own = part.users if field.group is Group.USER else len(part)
            noise = np.sqrt(max(expected * (1 - expected), 1 / max(own, 1)) / max(own, 1))
            if len(part) >= constants.MIN_ROWS and value - expected > constants.SIGMAS * noise:
                found.append((field.name, part.name, value, expected, value - expected))
    table = pd.DataFrame(found, columns=["field", "rows of", "found", "expected", "excess"])
    return table.set_index(["field", "rows of"]).sort_values("excess", ascending=False, kind="stable")


def unknown_share(part: Impressions, field: Field) -> float:
    """Return the share of a field's values that are unknown or missing."""
    code = part.codes[field.name].code
    return float((code == UNKNOWN).mean()) if len(code) else 0.0


def lost_relations(sample: Sample) -> list[Shift]:
    """Return the item fields whose AUC on a part has lost nearly all that late training had.

    The AUC is that of scoring known values by their CTR in training. The shares of the history with the candidate's
    value, which need no training, are judged in the same way as `history <field>`.
    """
    early, late = sample.early_and_late
    found = []
    for field in sample.features.of(Group.ITEM):
        before = _taught(early, field)
        now = _taught(sample.train, field)
        found += _lost(sample, late, field.name, field.group, before, now)
    for name in sample.train.shares:
        share = _share_of(name)
        found += _lost(sample, late, f"history {name}", Group.BEHAVIOUR, share, share)
    return sorted(found, key=lambda shift: shift.value - shift.expected)


def lost_item_order(sample: Sample) -> list[Shift]:
    """Return the parts whose items' impressions hardly correlate with training's, although late training's did.

    Nothing is judged under `leave_last_out`, where half of the items are drawn evenly.
    """
    if sample.features.manifest["protocol"] == "leave_last_out":
        return []
    early, late = sample.early_and_late
    found = []
    for part in sample.judged:
        expected = _order(sample, early, late.thinned(len(part)))
        value = _order(sample, sample.train, part)
        if (
            expected is not None
            and value is not None
            and expected >= constants.MIN_ORDER
            and value < constants.KEPT * expected
        ):
            found.append(Shift(ITEM_ID, part.name, value, expected))
    return sorted(found, key=lambda shift: shift.value)


Scores = Callable[[Impressions], tuple[np.ndarray, np.ndarray]]  # returns scores [B] and a mask [B] of the known ones


def _taught(train: Impressions, field: Field) -> Scores:
    """Return a function that scores impressions by the CTR of their values in training."""
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
    if had is None or had.value < max(constants.MIN_SKILL, constants.SIGMAS * had.noise):
        return []
    found = []
    for part in sample.judged:
        has = _skill(part, *now(part), group)
        if (
            has is not None
            and has.value < constants.KEPT * had.value
            and had.value - has.value > constants.SIGMAS * has.noise
        ):
            found.append(Shift(name, part.name, 0.5 + has.value, 0.5 + had.value))
    return found


@dataclass(frozen=True)
class _Skill:
    """AUC - 0.5 and its standard error."""

    value: float
    noise: float


def _skill(part: Impressions, scores: np.ndarray, known: np.ndarray, group: Group) -> _Skill | None:
    """Return the skill of scores on impressions whose value is known, or None if there are too few."""
    own = part.take(known, part.name)
    return _Skill(auc(own.label, scores[known]) - 0.5, own.noise(group)) if own.enough else None


def _new_share(early: Impressions, late: Impressions, field: Field) -> float:
    """Return the share of late values that no early impression has."""
    seen = np.zeros(early.codes[field.name].size, bool)
    seen[early.codes[field.name].code] = True
    code = late.codes[field.name].code
    return float((~seen[code] & (code != UNKNOWN)).mean()) if len(code) else 0.0


def _order(sample: Sample, train: Impressions, part: Impressions) -> float | None:
    """Return the correlation of the logarithms of the items' impressions, over items that training shows."""
    items = sample.features.items.num_rows
    before, now = (np.log1p(np.bincount(rows.item, minlength=items)) for rows in (train, part))
    shown = before > 0
    if (
        len(part) < constants.MIN_ROWS
        or shown.sum() < constants.MIN_ITEMS
        or np.ptp(before[shown]) == 0
        or np.ptp(now[shown]) == 0
    ):
        return None
    return float(np.corrcoef(before[shown], now[shown])[0, 1])

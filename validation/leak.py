"""Does a field, or a pair of fields, tell the label? Then it is feedback in disguise, known only after the impression.

The CTR of each value on one half of the users is a score of the other half's impressions: in the same half, a value
seen once would always tell. Judged are training, validation, test and their last days (validation/sample.py), since a
table may leak on the days alone that were appended last. A part with few clicks isn't judged: chance tells there too.

Costs about 10 ms a field and 5 ms a pair for each 100,000 rows.
"""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from din.metrics import auc
from din.schema import ITEM_ID, USER_ID, Field, Group, Kind
from validation.checks import SAMPLE
from validation.sample import Codes, Impressions, Sample

_MAX_SAMPLED_AUC = 0.97  # where nobody was shown the negatives, an honest item field tells them from clicks
_SIGMAS = 5.0
_MIN_HITS = 100
_MAX_CTR = 0.8
_MAX_PAIR_FIELDS = 16
_MAX_PAIR_ROWS = 50_000
_PAIR_ORDER = (Group.CONTEXT, Group.USER, Group.ITEM)


@dataclass(frozen=True)
class Finding:
    """How far something tells the label on a part of the log.

    Attributes:
        name: of the field, of the pair, or of a history's share.
        group: whose property it is; of a pair, its first field's.
        value: AUC on the part.
        base: AUC on training; of a pair, `value`.
        fields: one, two, or none for a history.
    """

    name: str
    group: Group
    part: Impressions
    value: float
    base: float
    fields: tuple[Field, ...] = ()

    @property
    def lower(self) -> float:
        """AUC less two standard errors."""
        return self.value - 2 * self.part.noise(Group.CONTEXT)

    @property
    def rise(self) -> float:
        """AUC beyond training's."""
        return self.value - self.base

    def row(self) -> dict[str, Any]:
        """The finding as a row of a report's sample."""
        found = {"field": self.name, "rows of": self.part.name, "auc": round(self.value, 4)}
        return found if len(self.fields) > 1 else found | {"auc of train": round(self.base, 4)}


@dataclass(frozen=True)
class Hits:
    """The impressions of a part whose candidate lies in its history, and their clicks."""

    part: Impressions
    shown: int
    clicks: int

    @property
    def lower(self) -> float:
        """CTR less three standard errors."""
        rate = self.clicks / self.shown
        return rate - 3 * float(np.sqrt(max(rate * (1 - rate), 1 / self.shown) / self.shown))

    def row(self) -> dict[str, Any]:
        """The hits as a row of a report's sample."""
        return {"rows of": self.part.name, "candidate in history": self.shown, "clicks": self.clicks}


def limit(sample: Sample, max_auc: float) -> float:
    """The highest plausible AUC: higher than asked for where negatives are sampled."""
    sampled = sample.features.manifest["protocol"] == "leave_last_out"
    return max(max_auc, _MAX_SAMPLED_AUC) if sampled else max_auc


def single_fields(sample: Sample) -> list[Finding]:
    """Every field on training and on each judged part with enough rows, the strongest first."""
    found = []
    for field in sample.fields:
        found += _on_parts(sample, field.name, field.group, _field_auc(field), (field,))
    return _strongest_first(found)


def histories(sample: Sample) -> list[Finding]:
    """Every share of the history with the candidate's value, as a score, the strongest first.

    Under `item_id` it is the candidate itself that lies in the history.
    """
    found = []
    for name in sample.train.shares:
        found += _on_parts(sample, f"history {name}", Group.BEHAVIOUR, _share_auc(name), ())
    return _strongest_first(found)


def history_hits(sample: Sample) -> list[Hits]:
    """Parts with enough impressions whose candidate lies in the history, the highest CTR of these first.

    Not judged where nearly all impressions are clicked, or negatives are never the user's own.
    """
    if sample.features.manifest["protocol"] == "leave_last_out":
        return []
    found = []
    for part in (sample.train, *sample.judged):
        hit = part.shares[ITEM_ID] > 0
        if hit.sum() >= _MIN_HITS and part.label.mean() < _MAX_CTR:
            found.append(Hits(part, int(hit.sum()), int(part.label[hit].sum())))
    return sorted(found, key=lambda hits: -hits.lower)


def pairs(sample: Sample, leaking: Collection[str]) -> list[Finding]:
    """Pairs of fields on each split, the strongest first.

    Left out are `multi` fields, and those that are leaking alone. Of many, contexts come first, then user fields.
    """
    out = {USER_ID, *leaking}
    candidates = [field for field in sample.fields if field.kind is not Kind.MULTI and field.name not in out]
    candidates.sort(key=lambda field: _PAIR_ORDER.index(field.group))
    found = []
    for one, other in combinations(candidates[:_MAX_PAIR_FIELDS], 2):
        name = f"{one.name} × {other.name}"
        for split in (sample.train, sample.valid, sample.test):
            if split.enough:
                part = split.thinned_users(_MAX_PAIR_ROWS)
                value = held_out_auc(part, crossed(part, one, other))
                found.append(Finding(name, one.group, part, value, value, (one, other)))
    return _strongest_first(found)


def risen(findings: list[Finding], train: Impressions) -> list[Finding]:
    """Findings whose rise from training's figure chance doesn't explain, the steepest first."""
    certain = [
        finding
        for finding in findings
        if finding.rise > _SIGMAS * np.hypot(finding.part.noise(finding.group), train.noise(finding.group))
    ]
    return sorted(certain, key=lambda finding: -finding.rise)


def _on_parts(
    sample: Sample, name: str, group: Group, measure: Callable[[Impressions], float], fields: tuple[Field, ...]
) -> list[Finding]:
    if not sample.train.enough:
        return []
    base = measure(sample.train)
    parts = [part for part in sample.judged if part.enough]
    on_train = Finding(name, group, sample.train, base, base, fields)
    return [on_train, *(Finding(name, group, part, measure(part), base, fields) for part in parts)]


def _field_auc(field: Field) -> Callable[[Impressions], float]:
    return lambda part: held_out_auc(part, part.codes[field.name])


def _share_auc(name: str) -> Callable[[Impressions], float]:
    return lambda part: auc(part.label, part.shares[name])


def _strongest_first(findings: list[Finding]) -> list[Finding]:
    """The highest AUC less its noise first."""
    return sorted(findings, key=lambda finding: -finding.lower)


def held_out_auc(part: Impressions, codes: Codes) -> float:
    """AUC on one half of the users, of CTRs by value from the other half."""
    scores = codes.mean(rates(part, codes, part.half), len(part))
    return auc(part.label[~part.half], scores[~part.half])


def rates(part: Impressions, codes: Codes, fitted: np.ndarray) -> np.ndarray:
    """The CTR of each code [size] on the impressions of a mask [B], drawn to the mean by one more impression."""
    shown, clicks = tally(part, codes, fitted)
    return (clicks + part.label.mean()) / (shown + 1)


def tally(part: Impressions, codes: Codes, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Impressions and clicks of each code [size], over the impressions of a mask [B]."""
    own = rows[codes.row]
    code = codes.code[own]
    clicked = part.label[codes.row[own]]
    return np.bincount(code, minlength=codes.size), np.bincount(code, weights=clicked, minlength=codes.size)


def crossed(part: Impressions, first: Field, second: Field) -> Codes:
    """The pairs of two fields' values that occur, as codes."""
    one, other = part.codes[first.name], part.codes[second.name]
    _, code = np.unique(one.code.astype(np.int64) * other.size + other.code, return_inverse=True)
    return Codes(code, one.row, int(code.max(initial=0)) + 1)


def frequent_values(sample: Sample, finding: Finding) -> Iterator[dict[str, Any]]:
    """Rows for a report: the fields' most frequent values on the part, with impressions and clicks."""
    part = finding.part
    codes = [part.codes[field.name] for field in finding.fields]
    cells = codes[0] if len(codes) == 1 else crossed(part, *finding.fields)
    shown, clicks = tally(part, cells, np.ones(len(part), bool))
    names = [_namer(sample, field) for field in finding.fields]
    for cell in np.argsort(-shown, kind="stable")[:SAMPLE]:
        if shown[cell]:
            at = int(np.flatnonzero(cells.code == cell)[0])
            called = {f.name: name(int(c.code[at])) for f, c, name in zip(finding.fields, codes, names, strict=True)}
            yield {"rows of": part.name, **called, "rows": shown[cell], "clicks": clicks[cell]}


def _namer(sample: Sample, field: Field) -> Callable[[int], Any]:
    """What a report calls a code: its raw value, or the rank of a number."""
    if field.standardised:
        return lambda code: f"hundredth {code}" if code else "missing"
    named = sample.features.vocabulary(field)["value"].to_pylist()
    return lambda code: named[code]

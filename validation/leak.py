"""Detect fields, and pairs of fields, that tell the label: such a field is feedback, known only after the impression.

The CTR of each value on one half of the users scores the impressions of the other half. On the same half, every value
that is seen once would tell the label. Training, validation, test and their last days are judged, since a table may
leak only on the days that were appended last (validation/sample.py). A part with few clicks is not judged, because
there a field may tell the label by chance.

Each 100,000 rows take about 10 ms per field and 5 ms per pair.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from din.metrics import auc
from din.schema import ITEM_ID, USER_ID, Field, Group
from validation import constants
from validation.expectations import SAMPLE
from validation.sample import Codes, Impressions, Sample

_PAIR_ORDER = (Group.CONTEXT, Group.USER, Group.ITEM)


@dataclass(frozen=True)
class Finding:
    """The AUC with which a field, a pair, or a history tells the label on a part of the log.

    Attributes:
        name: the name of the field, the pair, or the history's share.
        group: the group of the field, or of the pair's first field.
        part: the part of the log.
        value: the AUC on the part.
        base: the AUC on training; for a pair, `value`.
        fields: one or two fields, or none for a history.
    """

    name: str
    group: Group
    part: Impressions
    value: float
    base: float
    fields: tuple[Field, ...] = ()

    @property
    def lower(self) -> float:
        """The AUC minus two standard errors."""
        return self.value - 2 * self.part.noise(Group.CONTEXT)


def table(findings: list[Finding], train: Impressions) -> pd.DataFrame:
    """Return findings by field and part: the AUC, that of training, its `lower` end, and its certain `rise`.

    The rise above training is 0 if chance explains it.
    """
    rows = []
    for finding in findings:
        rise = finding.value - finding.base
        certain = rise > constants.SIGMAS * np.hypot(finding.part.noise(finding.group), train.noise(finding.group))
        figures = (finding.value, finding.base, finding.lower, rise if certain else 0.0)
        rows.append((finding.name, finding.part.name, *figures))
    columns = ["field", "rows of", "auc", "auc of train", "lower", "rise"]
    return pd.DataFrame(rows, columns=columns).set_index(["field", "rows of"])


def limit(sample: Sample, max_auc: float) -> float:
    """Return the highest plausible AUC, which is higher than `max_auc` if negatives are sampled."""
    sampled = sample.features.manifest["protocol"] == "leave_last_out"
    return max(max_auc, constants.MAX_SAMPLED_AUC) if sampled else max_auc


def single_fields(sample: Sample) -> list[Finding]:
    """Measure every field on training and on each judged part with enough rows; return the strongest first."""
    found = []
    for field in sample.fields:
        found += _on_parts(sample, field.name, field.group, _field_auc(field), (field,))
    return _strongest_first(found)


def histories(sample: Sample) -> list[Finding]:
    """Measure the share of the history with the candidate's value, for each item field; return the strongest first.

    For `item_id`, it is the share of the candidate itself.
    """
    found = []
    for name in sample.train.shares:
        found += _on_parts(sample, f"history {name}", Group.BEHAVIOUR, _share_auc(name), ())
    return _strongest_first(found)


def history_hits(sample: Sample) -> pd.DataFrame:
    """Count, by part, the impressions whose candidate lies in their history, and their clicks, highest CTR first.

    `lower` is the CTR minus three standard errors. Parts are left out if few candidates do, or if nearly all
    impressions are clicked; all are if negatives are never the user's own items.
    """
    rows = []
    protocol = sample.features.manifest["protocol"]
    for part in (sample.train, *sample.judged) if protocol != "leave_last_out" else ():
        hit = part.shares[ITEM_ID] > 0
        shown, clicks = int(hit.sum()), int(part.label[hit].sum())
        if shown >= constants.MIN_HITS and part.label.mean() < constants.MAX_CTR:
            rate = clicks / shown
            error = float(np.sqrt(max(rate * (1 - rate), 1 / shown) / shown))
            rows.append((part.name, shown, clicks, rate - 3 * error))
    found = pd.DataFrame(rows, columns=["rows of", "candidate in history", "clicks", "lower"])
    return found.set_index("rows of").sort_values("lower", ascending=False, kind="stable")


def pairs(sample: Sample, leaking: Collection[str]) -> list[Finding]:
    """Measure pairs of fields on each split; return the strongest first.

    Left out are `multi` fields, vectors, and fields that are leaking alone. Of many, contexts come first, then user
    fields.
    """
    out = {USER_ID, *leaking}
    candidates = [field for field in sample.fields if field.form.scalar and field.name not in out]
    candidates.sort(key=lambda field: _PAIR_ORDER.index(field.group))
    found = []
    for one, other in combinations(candidates[: constants.MAX_PAIR_FIELDS], 2):
        name = f"{one.name} × {other.name}"
        for split in (sample.train, sample.valid, sample.test):
            if split.enough:
                part = split.thinned_users(constants.MAX_PAIR_ROWS)
                value = held_out_auc(part, crossed(part, one, other))
                found.append(Finding(name, one.group, part, value, value, (one, other)))
    return _strongest_first(found)


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
    """Sort findings by AUC minus noise, the highest first."""
    return sorted(findings, key=lambda finding: -finding.lower)


def held_out_auc(part: Impressions, codes: Codes) -> float:
    """Return the AUC on one half of the users of scoring by the CTR of each value on the other half."""
    scores = codes.mean(rates(part, codes, part.half), len(part))
    return auc(part.label[~part.half], scores[~part.half])


def rates(part: Impressions, codes: Codes, fitted: np.ndarray) -> np.ndarray:
    """Return the CTR of each code [size] on the impressions of a mask [B], smoothed by one impression of mean CTR."""
    shown, clicks = tally(part, codes, fitted)
    return (clicks + part.label.mean()) / (shown + 1)


def tally(part: Impressions, codes: Codes, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Count impressions and clicks of each code [size] over the impressions of a mask [B]."""
    own = rows[codes.row]
    code = codes.code[own]
    clicked = part.label[codes.row[own]]
    return np.bincount(code, minlength=codes.size), np.bincount(code, weights=clicked, minlength=codes.size)


def crossed(part: Impressions, first: Field, second: Field) -> Codes:
    """Return codes of the pairs of two fields' values that occur."""
    one = part.codes[first.name]
    other = part.codes[second.name]
    _, code = np.unique(one.code.astype(np.int64) * other.size + other.code, return_inverse=True)
    return Codes(code, one.row, int(code.max(initial=0)) + 1)


def shown(sample: Sample, findings: list[Finding]) -> list[dict[str, Any]]:
    """Return rows for a report: the strongest finding, and the most frequent values of its fields, with clicks."""
    finding = findings[0]
    part = finding.part
    codes = [part.codes[field.name] for field in finding.fields]
    cells = codes[0] if len(codes) == 1 else crossed(part, *finding.fields)
    times, clicks = tally(part, cells, np.ones(len(part), bool))
    names = [_namer(sample, field) for field in finding.fields]
    rows: list[dict[str, Any]] = [
        {"field": finding.name, "rows of": part.name, "auc": finding.value, "auc of train": finding.base}
    ]
    for cell in np.argsort(-times, kind="stable")[:SAMPLE]:
        if times[cell]:
            at = int(np.flatnonzero(cells.code == cell)[0])
            called = {f.name: name(int(c.code[at])) for f, c, name in zip(finding.fields, codes, names, strict=True)}
            rows.append({"rows of": part.name, **called, "rows": times[cell], "clicks": clicks[cell]})
    return rows


def _namer(sample: Sample, field: Field) -> Callable[[int], Any]:
    """Return a function that names a code in a report by its raw value, or by the rank of a number."""
    if not field.form.holds_ids:
        return lambda code: f"hundredth {code}" if code else "missing"
    named = sample.features.vocabulary(field)["value"].to_pylist()
    return lambda code: named[code]

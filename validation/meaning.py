"""Check that no field leaks the label, that fields have values, and that item ids keep their meaning.

A field that predicts the label too well is feedback, known only after the impression. Each value's CTR on one half of
the users scores the impressions of the other half; on the same half, every value seen only once would reveal its label.
Training, validation, test, and the last days of validation and test are judged (validation/sample.py), because a table
may leak only on the days that were appended last. A part with few clicks is not judged, because a field may predict
them by chance. Each 100,000 rows take about 10 ms per field and 5 ms per pair.

The tables `fields`, `pairs` and `histories` have a row for each combination with a part, the strongest first. With too
few rows, a table is empty, and its expectation holds or is left out.
"""

from collections.abc import Collection, Iterator
from itertools import combinations

import numpy as np
import pandas as pd

from din.kinds import UNKNOWN
from din.metrics.ranking import auc
from din.schema import ITEM_ID, USER_ID, Field, Group
from validation import detector_limits
from validation.expectations import Expected, highest, none_of
from validation.feature_directory import FeatureDirectory
from validation.rates import rates_of_labels
from validation.sample import Codes, EncodedImpressions, Sample

_NOT_KNOWN = "it is known only after the impression. Remove it from featurize.fields, or declare it under behaviour"
_HONEST = "If it is honest, raise validate_features.max_field_auc"
_LATER = (
    "a field tells far more about the label on later days than in training: the values of those days were made when "
    "their labels were known. Export the values as they were known before the impressions"
)
_PAIR_ORDER = (Group.CONTEXT, Group.USER, Group.ITEM)


def judge_meaning(features: FeatureDirectory) -> Iterator[Expected]:
    """Expect that no field leaks the label, and that fields have values and items keep their meaning.

    * `label_leak`: **leakage**: one context, item or user field alone predicts the labels (`max_field_auc`).
    * `label_leak_later`: **leakage**: a field's AUC is far higher on later rows than in training. Item fields are not
      judged under `leave_last_out`, where new items differ from negatives that are drawn from all days.
    * `pair_leak`: **leakage**: two fields together predict the label (`max_field_auc`).
    * `history_leak`, `history_leak_later`: **leakage**: the share of the history that equals the candidate, or has its
      category, predicts the label (`max_field_auc`).
    * `rate_of_judged_rows`: **leakage**: a field is a rate or a count over the labels of validation or test rows, such
      as the CTR of the whole log.
    * `grade_of_judged_rows`: **leakage**: the few values of a field order items or users by their clicks in training
      and in the judged rows, such as grades of the whole log.
    * `rate_of_training_rows`: a **warning**: a field is a rate or a count over the training rows that it describes, so
      training relies on it too much.
    * `empty_field`: no training row has the field; `missing_values` **warns** if many rows lack it.
    * `item_order_kept`: the items shown most in training are not those shown most later: ids are permuted.
    """
    sample = Sample(features)
    yield from _leaks(sample)
    yield from rates_of_labels(features)
    yield from _missing(sample)
    yield _item_order(sample)


def _leaks(sample: Sample) -> Iterator[Expected]:
    fields = _singles(sample)
    advice = f"a field alone gives away the label: {_NOT_KNOWN}. {_HONEST}"
    yield _highest(sample, "label_leak", "fields", fields, "lower", advice)
    yield _highest(sample, "label_leak_later", "fields", fields, "rise", _LATER)
    leaking = fields["lower"].to_numpy() > sample.features.threshold("label_leak").maximum
    pairs = _pairs(sample, set(fields.index.get_level_values("field")[leaking]))
    if len(pairs):
        advice = f"a pair of fields gives away the label: {_NOT_KNOWN}. {_HONEST}"
        yield _highest(sample, "pair_leak", "pairs", pairs, "lower", advice)
    histories = _histories(sample)
    advice = (
        "histories that hold the candidate's value give away the label: they contain the click that is to be "
        f"predicted. End fetch.table.history before the first event. {_HONEST}"
    )
    yield _highest(sample, "history_leak", "histories", histories, "lower", advice)
    yield _highest(sample, "history_leak_later", "histories", histories, "rise", _LATER)


def _highest(sample: Sample, name: str, table: str, rows: pd.DataFrame, column: str, advice: str) -> Expected:
    """Expect no value of a column above its threshold. The report names the field with the highest, if above 0."""
    values = rows[column].to_numpy()
    about = str(rows.index.get_level_values("field")[values.argmax()]) if values.max(initial=0) > 0 else None
    return highest(sample.features, name, table, rows, column, about=about, advice=advice)


# ---- how well fields, pairs and histories predict the label

_Row = tuple[str, str, float, float, float, float]


def _row(
    name: str, group: Group, part: EncodedImpressions, value: float, train: EncodedImpressions, base: float
) -> _Row:
    """Return a row of `_table`, given the AUC `value` on a part and the AUC `base` on training."""
    rise = value - base
    certain = rise > detector_limits.SIGMAS * np.hypot(part.noise(group), train.noise(group))
    by_row = part.noise(Group.BEHAVIOUR if group is Group.BEHAVIOUR else Group.CONTEXT)
    return name, part.name, value, base, value - 2 * by_row, rise if certain else 0.0


def _table(rows: list[_Row]) -> pd.DataFrame:
    """Return the AUC of each field and part beside its AUC on training.

    `lower` is the AUC minus two standard errors, as if rows were independent: a leak must not hide behind few users or
    items. `rise` is the increase over training, or 0 if chance explains it.
    """
    columns = ["field", "rows of", "auc", "auc of train", "lower", "rise"]
    table = pd.DataFrame(rows, columns=columns).set_index(["field", "rows of"])
    return table.sort_values("lower", ascending=False, kind="stable")


def _parts(sample: Sample) -> list[EncodedImpressions]:
    """Return training and the judged parts that have enough rows, or nothing if training has too few."""
    return [part for part in (sample.train, *sample.judged) if part.enough] if sample.train.enough else []


def _singles(sample: Sample) -> pd.DataFrame:
    """Measure how well each field predicts the label.

    Under `leave_last_out`, item fields rise honestly: negatives are drawn from the items of all days, so items that are
    new, or in demand, when users end their histories differ from them.
    """
    rows = []
    for field in sample.fields:
        measured = [(part, held_out_auc(part, part.codes[field.name])) for part in _parts(sample)]
        rows += [_row(field.name, field.group, part, value, *measured[0]) for part, value in measured]
    table = _table(rows)
    if sample.features.manifest.protocol == "leave_last_out":
        items = [field.name for field in sample.fields if field.group is Group.ITEM]
        table.loc[table.index.isin(items, level="field"), "rise"] = 0.0
    return table


def _histories(sample: Sample) -> pd.DataFrame:
    """Measure how well the share of the history with the candidate's value predicts the label, per item field."""
    rows = []
    for name in sample.train.shares:
        measured = [(part, auc(part.label, part.shares[name])) for part in _parts(sample)]
        rows += [_row(f"history {name}", Group.BEHAVIOUR, part, value, *measured[0]) for part, value in measured]
    return _table(rows)


def _pairs(sample: Sample, leaking: Collection[str]) -> pd.DataFrame:
    """Measure how well pairs of fields predict the label on each split.

    `multi` fields, vectors, the user's id, and fields that already leak alone are left out. If there are more than
    `MAX_PAIR_FIELDS`, contexts come first, then user fields.
    """
    out = {USER_ID, *leaking}
    candidates = [field for field in sample.fields if field.form.scalar and field.name not in out]
    candidates.sort(key=lambda field: _PAIR_ORDER.index(field.group))
    rows = []
    for first, second in combinations(candidates[: detector_limits.MAX_PAIR_FIELDS], 2):
        for split in (sample.train, sample.valid, sample.test):
            if split.enough:
                part = split.thinned_users(detector_limits.MAX_PAIR_ROWS)
                value = held_out_auc(part, _crossed(part, first, second))
                rows.append(_row(f"{first.name} × {second.name}", first.group, part, value, part, value))
    return _table(rows)


def held_out_auc(part: EncodedImpressions, codes: Codes) -> float:
    """Score one half of the users by each value's CTR on the other half, and return the AUC.

    The CTR is smoothed by one impression of mean CTR.
    """
    fitted = part.half[codes.row]
    code = codes.code[fitted]
    shown = np.bincount(code, minlength=codes.size)
    clicks = np.bincount(code, weights=part.label[codes.row[fitted]], minlength=codes.size)
    scores = codes.mean((clicks + part.label.mean()) / (shown + 1), len(part))
    return auc(part.label[~part.half], scores[~part.half])


def _crossed(part: EncodedImpressions, first: Field, second: Field) -> Codes:
    """Return one code for each pair of values that occurs."""
    first_codes = part.codes[first.name]
    second_codes = part.codes[second.name]
    _, code = np.unique(first_codes.code.astype(np.int64) * second_codes.size + second_codes.code, return_inverse=True)
    return Codes(code, first_codes.row, int(code.max(initial=0)) + 1)


# ---- values and items


def _missing(sample: Sample) -> Iterator[Expected]:
    """Expect each field to have a value in most training rows."""
    codes = {field.name: sample.train.codes[field.name].code for field in sample.fields}
    shares = {name: float((code == UNKNOWN).mean()) if len(code) else 0.0 for name, code in codes.items()}
    missing = pd.DataFrame({"missing": shares.values()}, index=pd.Index(shares, name="field"))
    missing = missing.sort_values("missing", ascending=False, kind="stable")
    advice = (
        "the share of training rows that lack the field's value: do the ids of its table match the log's? If they do, "
        "remove it from featurize.fields"
    )
    for name in ("empty_field", "missing_values"):
        yield _highest(sample, name, "training", missing, "missing", advice)


def _item_order(sample: Sample) -> Expected:
    """Expect the judged parts to show items about as often as training, if late training agrees with early training.

    Nothing is judged under `leave_last_out`, where half of the rows have sampled items.
    """
    lost = []
    if sample.features.manifest.protocol != "leave_last_out":
        early, late = sample.early_and_late
        for part in sample.judged:
            expected = _order(sample, early, late.thinned(len(part)))
            correlation = _order(sample, sample.train, part)
            if expected >= detector_limits.MIN_ORDER and correlation < detector_limits.KEPT * expected:  # False for NaN
                lost.append({"part": part.name, "correlation": round(correlation, 4), "expected": round(expected, 4)})
    return none_of(
        sample.features,
        "item_order_kept",
        "judged",
        pd.Index([part.name for part in sample.judged], name="part"),
        sorted(lost, key=lambda row: row["correlation"] - row["expected"]),
        about=ITEM_ID if lost else None,
        advice="the items shown most on these days are not the ones shown most in training, although the days of "
        "training agree with each other: are item ids permuted, or do they have another meaning?",
    )


def _order(sample: Sample, train: EncodedImpressions, part: EncodedImpressions) -> float:
    """Correlate the logarithms of items' impressions in two parts, over the items shown in `train`.

    Return NaN if there are too few items or rows, or if all items of a part are shown equally often.
    """
    before, now = (
        np.log1p(np.bincount(impressions.item, minlength=sample.features.items.num_rows).astype(float))
        for impressions in (train, part)
    )
    shown = before > 0
    vary = shown.sum() >= detector_limits.MIN_ITEMS and np.ptp(before[shown]) > 0 and np.ptp(now[shown]) > 0
    return (
        float(np.corrcoef(before[shown], now[shown])[0, 1])
        if vary and len(part) >= detector_limits.MIN_ROWS
        else np.nan
    )

"""Check the meaning of fields: none may leak the label, or change its meaning on later days.

Leaks (validation/leak.py, rates.py) are judged before shifts (shifts.py), on training, validation, test and their last
days: `fields`, `pairs` and `histories` have a row for each and each of these parts, the strongest first. If there are
too few rows for a figure, its table is empty, and its expectation holds or is left out.
"""

from collections.abc import Iterator
from functools import partial

import pandas as pd

from validation import constants, leak, rates, shifts
from validation.expectations import Expected, Severity, at_most, figure, none_of
from validation.sample import Sample
from validation.shards import Features

_NOT_KNOWN = "it is known only after the impression. Remove it from featurize.fields, or declare it under behaviour"
_HONEST = "If it is honest, raise validate_features.max_field_auc"


def judge_meaning(features: Features) -> Iterator[Expected]:
    """Expect that no field leaks the label, or means something else on later days."""
    sample = Sample(features)
    yield from _leaks(sample)
    yield from _rates(features)
    yield from _values(sample)
    yield from _relations(sample)


def _leaks(sample: Sample) -> Iterator[Expected]:
    highest = leak.limit(sample, sample.features.params.validate_features.max_field_auc)
    singles = leak.single_fields(sample)
    pairs = leak.pairs(sample, {one.name for one in singles if one.lower > highest})
    fields = leak.table(singles, sample.train)
    strong = min(leak.limit(sample, constants.STRONG_AUC), highest)
    limits: tuple[tuple[str, float, Severity], ...] = (
        ("label_leak", highest, "critical"),
        ("strong_field", strong, "warning"),
    )
    for name, limit, severity in limits:
        yield at_most(
            name,
            "fields",
            fields,
            "lower",
            limit,
            about=_worst(fields, "lower"),
            severity=severity,
            advice=f"a field alone tells the label: {_NOT_KNOWN}. {_HONEST}",
            sample=partial(leak.shown, sample, singles),
        )
    yield _later("label_leak_later", "fields", fields)
    if pairs:
        table = leak.table(pairs, sample.train)
        yield at_most(
            "pair_leak",
            "pairs",
            table,
            "lower",
            highest,
            about=_worst(table, "lower"),
            advice=f"a pair of fields tells the label: {_NOT_KNOWN}. {_HONEST}",
            sample=partial(leak.shown, sample, pairs),
        )
    histories = leak.table(leak.histories(sample), sample.train)
    yield at_most(
        "history_leak",
        "histories",
        histories,
        "lower",
        highest,
        about=_worst(histories, "lower"),
        advice="histories that hold the candidate's value tell the label: they contain the click that is to be "
        f"predicted. End fetch.table.history before the first event. {_HONEST}",
    )
    yield _later("history_leak_later", "histories", histories)
    hits = leak.history_hits(sample)
    if len(hits):
        yield at_most(
            "history_hits_ctr",
            "hits",
            hits,
            "lower",
            constants.MAX_HITS_CTR,
            about="history_end",
            advice="impressions whose item is in the history are nearly all clicked: histories hold some of the clicks "
            "to be predicted. End fetch.table.history before the first event",
        )


def _later(name: str, table: str, found: pd.DataFrame) -> Expected:
    return at_most(
        name,
        table,
        found,
        "rise",
        constants.MAX_RISE,
        about=_worst(found, "rise"),
        advice="a field tells far more about the label on later days than in training: the values of those days were "
        "made when their labels were known. Export the values as they were known before the impressions",
    )


def _worst(found: pd.DataFrame, column: str) -> str | None:
    """Return the field with the highest value of a column, or None if no value is above 0."""
    values = found[column].to_numpy()
    return str(found.index.get_level_values("field")[values.argmax()]) if values.max(initial=0) > 0 else None


def _rates(features: Features) -> Iterator[Expected]:
    found = rates.exclusions(features)
    kinds: tuple[tuple[str, bool, Severity], ...] = (
        ("rate_of_judged_rows", True, "critical"),
        ("rate_of_training_rows", False, "warning"),
    )
    for name, later, severity in kinds:
        lowest = next((one for one in found if one.later == later), None)
        if lowest is None:
            continue
        one, other = lowest.parts
        yield figure(
            name,
            lowest.correlation,
            minimum=constants.MIN_CORRELATION,
            column=lowest.field.name,
            severity=severity,
            advice=f"{lowest.field.name!r} was computed from the labels of these rows: among equal values, more clicks "
            f"in {one} mean fewer in {other}. Compute it from the days before the rows it describes, or leave it out",
            sample=lowest.sample,
        )


def _values(sample: Sample) -> Iterator[Expected]:
    unknown = shifts.unknown_shares(sample)
    missing = shifts.missing_shares(sample)
    of_later = (
        "values are missing, or were never seen in training, in far more rows than expected from training, and rows "
        "with known values are fewer: has the source lost the column, or changed its spelling or ids? See "
        "validate_features.max_new_values"
    )
    of_training = (
        "the share of training rows that lack the field's value: do the ids of its table match the log's? If they do, "
        "remove it from featurize.fields"
    )
    most = sample.features.params.validate_features.max_new_values
    judged: tuple[tuple[str, str, pd.DataFrame, str, float, Severity, str], ...] = (
        ("many_new_values", "values", unknown, "excess", most, "critical", of_later),
        ("new_values", "values", unknown, "excess", constants.FEW_NEW_VALUES, "warning", of_later),
        ("empty_field", "training", missing, "missing", constants.ALL_MISSING, "critical", of_training),
        ("missing_values", "training", missing, "missing", constants.MANY_MISSING, "warning", of_training),
    )
    for name, table, found, column, limit, severity, advice in judged:
        about = _worst(found, column)
        yield at_most(name, table, found, column, limit, about=about, severity=severity, advice=advice)


def _relations(sample: Sample) -> Iterator[Expected]:
    lost = shifts.lost_relations(sample)
    yield none_of(
        "item_relations_kept",
        [shift.row() for shift in lost],
        column=lost[0].field if lost else None,
        advice="clicks of these days depend on the field otherwise than in training, by the AUC of training's CTRs, or "
        "of the share of the history with the candidate's value. Either the field means something else (ids, a column "
        "of the item table, or histories permuted or lost), or the labels do (shuffled, joined to the wrong rows, "
        "counted by another rule), or rows are not a user's impressions (robots, copies). Warnings of validate_raw on "
        "these days tell which",
    )
    lost = shifts.lost_item_order(sample)
    yield none_of(
        "item_order_kept",
        [shift.row() for shift in lost],
        column=lost[0].field if lost else None,
        advice="the items shown most on these days are not the ones shown most in training, although the days of "
        "training agree with each other: are item ids permuted, or do they have another meaning?",
    )

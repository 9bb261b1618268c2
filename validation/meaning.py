"""Check the meaning of fields: none may leak the label, or change its meaning on later days.

Leaks (validation/leak.py, rates.py) are judged before shifts (shifts.py). Each figure is the worst over all fields and
over training, validation, test and their last days. If there are too few rows for a figure, its expectation is left
out.
"""

from collections.abc import Iterator

from validation import leak, rates, shifts
from validation.expectations import SAMPLE, Expected, Severity, figure, graded
from validation.sample import Sample
from validation.shards import Features

_STRONG_AUC = 0.75
_MAX_RISE = 0.15
_MAX_HITS_CTR = 0.92
_FEW_NEW_VALUES = 0.1
_MANY_MISSING = 0.4
_ALL_MISSING = 0.99
_NOT_KNOWN = "it is known only after the impression. Remove it from featurize.fields, or declare it under behaviour"
_HONEST = "If it is honest, raise validate_features.max_field_auc"


def judge_meaning(features: Features) -> Iterator[Expected]:
    """Expect that no field leaks the label, or means something else on later days."""
    limits = features.params.validate_features
    sample = Sample(features)
    highest = leak.limit(sample, limits.max_field_auc)
    singles = leak.single_fields(sample)
    yield from _fields(sample, singles, highest)
    yield from _pairs(sample, {one.name for one in singles if one.lower > highest}, highest)
    yield from _histories(sample, highest)
    yield from _rates(features)
    yield from _values(sample, limits.max_new_values)
    yield from _relations(sample)


def _fields(sample: Sample, singles: list[leak.Finding], highest: float) -> Iterator[Expected]:
    if not singles:
        yield figure("label_leak", 0, maximum=highest, advice="too few rows or clicks to judge any field")
        yield _later("label_leak_later", [], sample)
        return
    found = singles[0]
    told = f"on {found.part.name}, the {found.group} field {found.name!r} alone tells the label"
    strong = ("strong_field", min(leak.limit(sample, _STRONG_AUC), highest))
    yield from graded(
        ("label_leak", highest),
        strong,
        found.lower,
        column=found.name,
        advice=f"{told}: {_NOT_KNOWN}. {_HONEST}",
        sample=[found.row(), *leak.frequent_values(sample, found)],
    )
    yield _later("label_leak_later", singles, sample)


def _pairs(sample: Sample, leaking: set[str], highest: float) -> Iterator[Expected]:
    pairs = leak.pairs(sample, leaking)
    if not pairs:
        return
    found = pairs[0]
    yield figure(
        "pair_leak",
        found.lower,
        maximum=highest,
        column=found.name,
        advice=f"on {found.part.name}, the pair {found.name} tells the label: {_NOT_KNOWN}. {_HONEST}",
        sample=[found.row(), *leak.frequent_values(sample, found)],
    )


def _histories(sample: Sample, highest: float) -> Iterator[Expected]:
    histories = leak.histories(sample)
    if not histories:
        yield figure("history_leak", 0, maximum=highest, advice="too few rows or clicks to judge the histories")
        yield _later("history_leak_later", [], sample)
        return
    found = histories[0]
    yield figure(
        "history_leak",
        found.lower,
        maximum=highest,
        column=found.name,
        advice=f"on {found.part.name}, histories that hold the candidate's value tell the label: they contain the "
        f"click that is to be predicted. End fetch.table.history before the first event. {_HONEST}",
        sample=[one.row() for one in histories[:SAMPLE]],
    )
    yield _later("history_leak_later", histories, sample)
    hits = leak.history_hits(sample)
    if hits:
        yield figure(
            "history_hits_ctr",
            hits[0].lower,
            maximum=_MAX_HITS_CTR,
            column="history_end",
            advice=f"on {hits[0].part.name}, impressions whose item is in the history are nearly all clicked: "
            "histories hold some of the clicks to be predicted. End fetch.table.history before the first event",
            sample=[one.row() for one in hits[:SAMPLE]],
        )


def _later(name: str, findings: list[leak.Finding], sample: Sample) -> Expected:
    """Expect no field to tell far more on a later part than in training."""
    risen = leak.risen(findings, sample.train)
    rows = [one.row() for one in risen[:SAMPLE]]
    on = f"{risen[0].name!r} tells far more about the label on {risen[0].part.name} than in training" if risen else ""
    return figure(
        name,
        risen[0].rise if risen else 0,
        maximum=_MAX_RISE,
        column=risen[0].name if risen else None,
        advice=f"{on}: the values of those days were made when their labels were known. Export the values as they were "
        "known before the impressions",
        sample=rows,
    )


def _rates(features: Features) -> Iterator[Expected]:
    found = rates.exclusions(features)
    later = [one for one in found if one.later]
    training = [one for one in found if not one.later]
    if later:
        yield _rate("rate_of_judged_rows", later[0], "critical")
    if training:
        yield _rate("rate_of_training_rows", training[0], "warning")


def _rate(name: str, lowest: rates.Exclusion, severity: Severity) -> Expected:
    one, other = lowest.parts
    return figure(
        name,
        lowest.correlation,
        minimum=rates.MIN_CORRELATION,
        column=lowest.field.name,
        severity=severity,
        advice=f"{lowest.field.name!r} was computed from the labels of these rows: among equal values, more clicks in "
        f"{one} mean fewer in {other}. Compute it from the days before the rows it describes, or leave it out",
        sample=lowest.sample,
    )


def _values(sample: Sample, max_new_values: float) -> Iterator[Expected]:
    found = shifts.unknown_shares(sample)
    excess = found[0].value - found[0].expected if found else 0
    yield from graded(
        ("many_new_values", max_new_values),
        ("new_values", _FEW_NEW_VALUES),
        excess,
        column=found[0].field if found else None,
        advice="values are missing, or were never seen in training, in far more rows than expected from training, and "
        "rows with known values are fewer: has the source lost the column, or changed its spelling or ids? See "
        "validate_features.max_new_values",
        sample=[shift.row() for shift in found[:SAMPLE]],
    )
    missing = sorted(sample.fields, key=lambda field: -shifts.unknown_share(sample.train, field))
    yield from graded(
        ("empty_field", _ALL_MISSING),
        ("missing_values", _MANY_MISSING),
        shifts.unknown_share(sample.train, missing[0]),
        column=missing[0].name,
        advice="the share of training rows that lack the field's value: do the ids of its table match the log's? If "
        "they do, remove it from featurize.fields",
        sample=[{"field": f.name, "share": shifts.unknown_share(sample.train, f)} for f in missing[:SAMPLE]],
    )


def _relations(sample: Sample) -> Iterator[Expected]:
    yield _kept(
        "item_relations_kept",
        shifts.lost_relations(sample),
        "clicks of these days depend on the field otherwise than in training, by the AUC of training's CTRs, or of "
        "the share of the history with the candidate's value. Either the field means something else (ids, a column of "
        "the item table, or histories permuted or lost), or the labels do (shuffled, joined to the wrong rows, counted "
        "by another rule), or rows are not a user's impressions (robots, copies). Warnings of validate_raw on these "
        "days tell which",
    )
    yield _kept(
        "item_order_kept",
        shifts.lost_item_order(sample),
        "the items shown most on these days are not the ones shown most in training, although the days of training "
        "agree with each other: are item ids permuted, or do they have another meaning?",
    )


def _kept(name: str, lost: list[shifts.Shift], advice: str) -> Expected:
    rows = [shift.row() for shift in lost]
    column = lost[0].field if lost else None
    return figure(name, len(rows), maximum=0, column=column, advice=advice, sample=rows)

"""Detect fields of items or users that were computed from the judged labels, e.g. the CTR or clicks of the whole log.

Items with about equal values x are compared on two parts of the log, A and B. An item that does better than similar
items in A is either better in B too, or as likely worse as better, because noise in A is independent of noise in B. For
an honest x, the residuals of A and B therefore correlate positively or not at all. A rate over both parts is the
exception, because it fixes their sum: each click more in A is a click less in B, and the correlation is near -1.

    x = (clicks of A + clicks of B) / (impressions of A + impressions of B)

A count of clicks fixes the sum as well, so x is also judged as a count: clicks are expected in proportion to x, and in
each part in proportion to its share of the item's impressions. A count of impressions then fixes nothing.

A context that is constant for each item, or for each user, is judged like an item or user field. One that is constant
for each of their days, e.g. a counter of the day's clicks, is judged among days: A and B are halves of a day's rows.

Coarse values, e.g. grades from 1 to 5, leave most differences between items inside a grade, where A and B correlate
positively whatever the grades were made of. But grades of the whole log order its items without a fault, and those of
training order training's. An honest attribute hardly ever separates good items from bad ones so well. If it does, the
judged rows mend only as many faults of the order as their number explains:

    misplaced pairs       by clicks of training      of all rows    expected of all rows
    grades of all rows                    1.8 %            0.0 %                   1.1 %
    honest categories                    35.5 %           36.2 %                  34.3 %

Not judged are ids,
`multi` fields, vectors (they have no order), fields known for fewer than `MIN_ENTITIES` items or users of both parts,
and parts that exclude each other whatever x is (e.g. one click per user).

Shapes: E items or users. DuckDB counts the impressions of one shard at a time, once for items and once for users.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from din.kinds import UNKNOWN
from din.schema import DAY_US, ITEM_ID, SPLITS, USER_ID, Field, Group
from validation import detector_limits
from validation.expectations import Expected, figure
from validation.feature_directory import FeatureDirectory
from validation.sample import SECOND_HALF
from validation.suite_data import SAMPLE, quoted, text

_NORMAL = NormalDist()
_IDS = {Group.ITEM: ITEM_ID, Group.USER: USER_ID}
_LATER = (("train", "valid and test"), ("test, half 1", "test, half 2"))
_TRAINING = (("train, half 1", "train, half 2"),)
_PARTS = {
    "train": "split = 'train'",
    "valid and test": "split <> 'train'",
    "train, half 1": "split = 'train' AND NOT half",
    "train, half 2": "split = 'train' AND half",
    "test, half 1": "split = 'test' AND NOT half",
    "test, half 2": "split = 'test' AND half",
}
# An item's impressions are halved by user, and a user's by time: a user's rows are in chronological order.
_HALVES = {
    Group.ITEM: SECOND_HALF,
    Group.USER: "2 * (row_number() OVER (PARTITION BY split, user ORDER BY row) - 1) >= "
    "count(*) OVER (PARTITION BY split, user)",
}


@dataclass(frozen=True)
class Counts:
    """Impressions and clicks [E] of each item or user in a part of the log."""

    shown: np.ndarray
    clicks: np.ndarray

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(self.shown + other.shown, self.clicks + other.clicks)


def rates_of_labels(features: FeatureDirectory) -> Iterator[Expected]:
    """Expect no field whose equal values make the clicks of two parts exclude each other.

    A failure is critical if the model is judged on one of the parts, and a warning on the halves of training.
    """
    groups: list[Group] = [Group.ITEM]
    if not features.one("SELECT bool_or(sampled = 1) FROM rows")[0]:  # sampled negatives give each user one per click
        groups.append(Group.USER)
    entities = [_entities(features, group) for group in groups]
    days = [_days(features, group) for group in groups]
    for name, pairs in (("rate_of_judged_rows", _LATER), ("rate_of_training_rows", _TRAINING)):
        correlations = [
            (lowest, field, of, value, parts)
            for of in (*entities, *days)
            for parts in pairs
            for lowest, field, value in _on_parts(of.values, *(of.counts[part] for part in parts))
        ]
        if not correlations:
            continue
        lowest, field, of, value, (first, second) = min(correlations, key=lambda judged: judged[0])
        yield figure(
            features,
            name,
            lowest,
            about=field.name,
            advice=f"{field.name!r} was computed from the labels of these rows: among equal values, more clicks in "
            f"{first} mean fewer in {second}. Compute it from the days before the rows it describes, or leave it out",
            sample=_sample(of, field, value, {part: of.counts[part] for part in (first, second)}),
        )
    yield from _grades(features, entities)


def _grades(features: FeatureDirectory, entities: Iterable["Entities"]) -> Iterator[Expected]:
    """Expect no field of few values that orders items, or users, by their clicks in training and judged rows."""
    train, later = _LATER[0]
    left = [
        (share, field, of, value)
        for of in entities
        for field, value in of.values
        if (share := faults_left(value, of.counts[train], of.counts[later])) is not None
    ]
    if not left:
        return
    lowest, field, of, value = min(left, key=lambda judged: judged[0])
    yield figure(
        features,
        "grade_of_judged_rows",
        lowest,
        about=field.name,
        advice=f"{field.name!r} was computed from the labels of {later}: with their clicks its values are in order, "
        "with those of training alone they are not. Compute it from the days before the rows it describes, or leave it "
        "out",
        sample=_sample(of, field, value, {part: of.counts[part] for part in (train, later)}),
    )


def faults_left(value: np.ndarray, train: Counts, later: Counts) -> float | None:
    """Return the share of the faults expected in the order of values by all clicks that are really there.

    A fault is a pair of entities whose values and clicks are in opposite order; values are in the order of their mean.
    If clicks are a rate plus normal noise, z = Φ⁻¹(faults) grows with the square root of the impressions.

    Args:
        value: [E], NaN if unknown.
        train: counts [E] in training.
        later: counts [E] of the same entities in the judged rows.

    Returns:
        The lowest share for clicks, their rate, and the rate smoothed by `SMOOTHING` impressions; None if there are too
        many values for the entities, or too few faults to tell.
    """
    shared = np.flatnonzero((train.shown > 0) & (later.shown > 0) & np.isfinite(value))
    grades, grade = np.unique(value[shared], return_inverse=True)
    if len(shared) < detector_limits.MIN_ENTITIES or not 2 <= len(grades) <= len(shared) // detector_limits.LEAST_ALIKE:
        return None
    before, whole = (Counts(part.shown[shared], part.clicks[shared]) for part in (train, train + later))
    more = np.sqrt(whole.shown.sum() / before.shown.sum())
    left = []
    for score in (_clicks, _rate, _smoothed):
        faults, faults_of_all = (_faults(grade, score(counts)) for counts in (before, whole))
        expected = _NORMAL.cdf(more * _NORMAL.inv_cdf(faults)) if 0 < faults < 1 else 0.0
        if expected * len(shared) >= detector_limits.LEAST_FAULTS:
            left.append(faults_of_all / expected)
    return min(left, default=None)


def _faults(grade: np.ndarray, score: np.ndarray) -> float:
    """Return the share of pairs on both sides of a cut between grades that scores put in opposite order, over all cuts.

    Args:
        grade: [E], the number of each entity's grade, from 0 without gaps.
        score: [E].
    """
    mean = np.bincount(grade, weights=score) / np.bincount(grade)
    place = np.argsort(np.argsort(mean))[grade]
    faults = pairs = 0
    for cut in range(1, len(mean)):
        above, below = score[place >= cut], np.sort(score[place < cut])
        faults += int((len(below) - np.searchsorted(below, above, side="right")).sum())
        pairs += len(above) * len(below)
    return faults / pairs


def _clicks(counts: Counts) -> np.ndarray:
    return counts.clicks


def _rate(counts: Counts) -> np.ndarray:
    return counts.clicks / counts.shown


def _smoothed(counts: Counts) -> np.ndarray:
    mean = counts.clicks.sum() / counts.shown.sum()
    return (counts.clicks + detector_limits.SMOOTHING * mean) / (counts.shown + detector_limits.SMOOTHING)


def correlation(value: np.ndarray, a: Counts, b: Counts) -> float | None:
    """Return the correlation of two parts' residuals among entities of about equal value.

    Args:
        value: [E], NaN if unknown. All entities with equal values are compared with each other.
        a: counts [E] in the first part.
        b: counts [E] of the same entities in the second part.

    Returns:
        The lower of the correlations for x as a rate and as a count, in [-1, 1]. It is 0 if chance explains a negative
        value, and None if too few entities can be compared.
    """
    entities = np.flatnonzero((a.shown > 0) & (b.shown > 0) & np.isfinite(value))
    _, which, size = np.unique(value[entities], return_inverse=True, return_counts=True)
    alike = ((np.cumsum(size) - size) // detector_limits.ALIKE)[which]
    compared = np.bincount(alike)[alike] > 1 if len(entities) else np.zeros(0, bool)
    if compared.sum() < detector_limits.MIN_ENTITIES:
        return None
    first, second = (Counts(part.shown[entities], part.clicks[entities]) for part in (a, b))
    expected = [(_others(first.clicks, first.shown, alike), _others(second.clicks, second.shown, alike))]
    count = np.maximum(value[entities], 0)
    total = first + second
    could_be_a_count = value[entities].min() >= -detector_limits.RATE_ROUNDING * count.max()
    if could_be_a_count and count.any() and total.clicks.any():
        rate = count * _others(total.clicks, count, alike) / total.shown
        expected.append((_in_part(first, rate), _in_part(second, rate)))
    correlations = [
        _correlation(_residuals(first, rate)[compared], _residuals(second, second_rate)[compared])
        for rate, second_rate in expected
    ]
    return min((value for value in correlations if value is not None), default=None)


def _correlation(first: np.ndarray, second: np.ndarray) -> float | None:
    """Return the uncentred correlation of residuals [E]: 0 if chance explains a negative one, None if all are 0."""
    scale = np.sqrt((first**2).sum() * (second**2).sum())
    if scale == 0:
        return None
    product = first * second
    chance = product.sum() > -detector_limits.RATE_SIGMAS * np.sqrt((product**2).sum())
    return max(0.0, float(product.sum() / scale)) if chance else float(product.sum() / scale)


def _others(clicks: np.ndarray, shown: np.ndarray, alike: np.ndarray) -> np.ndarray:
    """Return the CTR [E] of the *other* entities in each group `alike`, smoothed by one impression of mean CTR."""
    mean = clicks.sum() / shown.sum()
    others = np.bincount(alike, weights=shown)[alike] - shown
    return (np.bincount(alike, weights=clicks)[alike] - clicks + mean) / (others + 1)


def _in_part(part: Counts, rate: np.ndarray) -> np.ndarray:
    """Scale rates [E] so that the expected clicks add up to the part's clicks: its CTR may differ from the log's."""
    return np.minimum(rate * part.clicks.sum() / (part.shown * rate).sum(), 1)


def _residuals(part: Counts, rate: np.ndarray) -> np.ndarray:
    """Return the clicks [E] in excess of the expected rate, in standard deviations due to chance and `SPREAD`."""
    deviation = np.sqrt(part.shown * rate * (1 - rate) + (detector_limits.SPREAD * part.shown) ** 2)
    return (part.clicks - part.shown * rate) / deviation


_Valued = tuple[Field, np.ndarray]  # a field, and its value [E] of each item or user


@dataclass(frozen=True)
class Entities:
    """Items or users, or their days.

    Attributes:
        values: the fields that have one value for each, and their values [E].
        counts: their impressions and clicks, by the part of the log.
        key: the column of their ids.
        ids: [E] their ids.
        day: [E] their days, or None.
    """

    values: list[_Valued]
    counts: Mapping[str, Counts]
    key: str
    ids: pa.ChunkedArray
    day: np.ndarray | None = None


def _on_parts(values: list[_Valued], a: Counts, b: Counts) -> Iterator[tuple[float, Field, np.ndarray]]:
    """Yield each field's correlation, the field and its values, unless the parts exclude each other without a field."""
    by_itself = correlation(np.zeros(len(a.shown)), a, b)
    if by_itself is None or by_itself < detector_limits.MIN_BY_ITSELF:
        return
    for field, value in values:
        coefficient = correlation(value, a, b)
        if coefficient is not None:
            yield coefficient, field, value


def _counts(features: FeatureDirectory, group: Group) -> dict[str, Counts]:
    """Count the impressions and clicks of each item or user, one shard at a time, by the name of the part."""
    size = len(_table(features, group))
    counts = {part: Counts(np.zeros(size), np.zeros(size)) for part in _PARTS}
    columns = [
        f"count(*) FILTER ({part}) AS shown_{number}, count(*) FILTER ({part} AND label = 1) AS clicks_{number}"
        for number, part in enumerate(_PARTS.values())
    ]
    for shard in range(features.manifest.shards):
        counted = features.arrays(
            f"SELECT entity, {', '.join(columns)} FROM (SELECT {group} AS entity, split, label, {_HALVES[group]} "
            f"AS half FROM ({features.rows_of(shard)}) WHERE split <> 'behaviours') GROUP BY entity"
        )
        for number, part in enumerate(counts.values()):
            part.shown[counted["entity"]] += counted[f"shown_{number}"]
            part.clicks[counted["entity"]] += counted[f"clicks_{number}"]
    return counts


def _entities(features: FeatureDirectory, group: Group) -> Entities:
    """Return the items or users."""
    ids = _table(features, group)["value"]
    return Entities(list(_values(features, group)), _counts(features, group), _IDS[group], ids)


def _days(features: FeatureDirectory, group: Group) -> Entities:
    """Return the days of items or users, with the contexts that are constant for nearly all of those days.

    DuckDB groups all rows once for each group, if a context is declared at all.
    """
    contexts = [field for field in features.of(Group.CONTEXT) if field.form.scalar]
    ids = _table(features, group)["value"]
    if not contexts:
        return Entities([], {part: Counts(np.zeros(0), np.zeros(0)) for part in _PARTS}, _IDS[group], ids.slice(0, 0))
    half = SECOND_HALF if group is Group.ITEM else _HALVES[group].replace("PARTITION BY split", "PARTITION BY day")
    rows = " UNION ALL BY NAME ".join(
        f"SELECT '{split}' AS split, user, item, label, timestamp // {DAY_US} AS day, file_row_number AS row, "
        f"{_named(contexts)} FROM "
        f"read_parquet({text(features.root / 'shards' / '*' / f'{split}.parquet')}, hive_partitioning = false, "
        "file_row_number = true)"
        for split in SPLITS
    )
    counted = [
        f"count(*) FILTER ({part}) AS shown_{number}, count(*) FILTER ({part} AND label = 1) AS clicks_{number}"
        for number, part in enumerate(_PARTS.values())
    ]
    columns = features.arrays(
        f"SELECT {group} AS entity, day, count(*) AS shown, {', '.join([*_bounds(features, contexts), *counted])} "
        f"FROM (SELECT *, {half} AS half FROM ({rows})) GROUP BY ALL ORDER BY entity, day"
    )
    counts = {
        part: Counts(columns[f"shown_{number}"].astype(float), columns[f"clicks_{number}"].astype(float))
        for number, part in enumerate(_PARTS)
    }
    values = [
        (field, _numbers(features, field, columns[f"low_{number}"]))
        for number, field in enumerate(contexts)
        if _is_constant(columns, number)
    ]
    return Entities(values, counts, _IDS[group], ids.take(columns["entity"]), columns["day"].astype("datetime64[D]"))


def _table(features: FeatureDirectory, group: Group) -> pa.Table:
    return features.items if group is Group.ITEM else features.users


def _values(features: FeatureDirectory, group: Group) -> Iterator[_Valued]:
    """Yield the fields of a group, and the contexts that are constant for nearly all its entities, with values [E]."""
    for field in features.of(group):
        if field.form.scalar and field.name != _IDS[group]:
            stored, _ = features.known(_table(features, group)[field.name], field)
            yield field, _numbers(features, field, stored)
    contexts = [field for field in features.of(Group.CONTEXT) if field.form.scalar]
    if not contexts:
        return
    files = ", ".join(text(features.root / "shards" / "*" / f"{split}.parquet") for split in SPLITS)
    by_entity = features.arrays(
        f"SELECT entity, count(*) AS shown, {', '.join(_bounds(features, contexts))} FROM (SELECT {group} AS entity, "
        f"{_named(contexts)} FROM read_parquet([{files}], hive_partitioning = false)) GROUP BY entity"
    )
    for number, field in enumerate(contexts):
        if _is_constant(by_entity, number):
            value = np.full(len(_table(features, group)), np.nan)
            value[by_entity["entity"]] = by_entity[f"low_{number}"]
            yield field, _numbers(features, field, value)


def _named(contexts: Iterable[Field]) -> str:
    """Return SQL that selects contexts under names that are no other column's."""
    return ", ".join(f"{quoted(field.name)} AS value_{number}" for number, field in enumerate(contexts))


def _bounds(features: FeatureDirectory, contexts: Iterable[Field]) -> list[str]:
    """Return SQL for the lowest and the highest known value of each context, as `_named` names them."""
    bounds = []
    for number, field in enumerate(contexts):
        column = f"value_{number}"
        usable = f"{column} > 0 AND {column} < {features.known_rows[field.name]}"
        value = f"CASE WHEN {usable if field.form.holds_ids else f'isfinite({column})'} THEN {column} END"
        bounds += [f"min({value})::DOUBLE AS low_{number}", f"max({value})::DOUBLE AS high_{number}"]
    return bounds


def _is_constant(columns: Mapping[str, np.ndarray], number: int) -> bool:
    """Return whether a context has one value for nearly all of what was shown more than once."""
    low = columns[f"low_{number}"]
    repeated = (columns["shown"] > 1) & np.isfinite(low)
    return bool(repeated.any() and (low == columns[f"high_{number}"])[repeated].mean() > detector_limits.CONSTANT)


def _numbers(features: FeatureDirectory, field: Field, stored: np.ndarray) -> np.ndarray:
    """Return stored values [E] as numbers whose neighbours are alike: raw numbers, or else ids. NaN is unknown."""
    if not field.form.holds_ids:
        moments = next(record for record in features.manifest.fields if record["name"] == field.name)
        return moments.get("mean", 0.0) + moments.get("std", 1.0) * stored.astype(float)
    raw = features.vocabulary(field)["value"]
    order = np.arange(len(raw), dtype=float)
    if field.form.has_vocabulary:
        with suppress(pa.ArrowInvalid, pa.ArrowNotImplementedError):
            order = pc.cast(raw, pa.float64()).to_numpy()
    is_known = stored > UNKNOWN  # False for NaN
    return np.where(is_known, order[np.where(is_known, stored, UNKNOWN).astype(int)], np.nan)


def _sample(of: Entities, field: Field, value: np.ndarray, parts: Mapping[str, Counts]) -> list[dict[str, Any]]:
    """Return rows for the report: the entities with the most impressions in both parts."""
    often = np.argsort(-np.minimum(*(counts.shown for counts in parts.values())), kind="stable")[:SAMPLE]
    return [
        {of.key: of.ids[int(at)].as_py()}
        | ({} if of.day is None else {"date": str(of.day[at])})
        | {field.name: round(float(value[at]), 4)}
        | {
            f"CTR of {part}": round(float(counts.clicks[at] / max(counts.shown[at], 1)), 4)
            for part, counts in parts.items()
        }
        for at in often
    ]

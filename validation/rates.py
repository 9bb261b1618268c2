"""Detect fields of items or users that were computed from the judged labels, e.g. the CTR or clicks of the whole log.

Items with about equal values x are compared on two parts of the log, A and B. An item that is better than similar items
in A is either better in B too, or as likely worse as better, since noise in A is independent of noise in B. For an
honest x, the residuals of A and B therefore correlate positively or not at all. A rate over both parts is the
exception, because it fixes their sum: each click more in A is a click less in B, and the correlation is near -1.

    x = (clicks of A + clicks of B) / (impressions of A + impressions of B)

A count of clicks fixes the sum as well, so x is also judged as a count: clicks are expected in proportion to x, and in
each part in proportion to its share of the item's impressions. A count of impressions then fixes nothing.

A context that is constant for each item, or for each user, is judged like a field of theirs. Not judged: ids, `multi`
fields, vectors (no order says which of them are alike), fields known for fewer than `MIN_ENTITIES` items or users of
both parts, and parts that exclude each other whatever x is (one click a user). Reads all impressions once; memory grows
with items and users, beside one shard.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from din.field_forms import UNKNOWN
from din.schema import ITEM_ID, SPLITS, USER_ID, Field, Group
from validation import constants
from validation.expectations import SAMPLE
from validation.sample import in_second_half
from validation.shards import Features, Rows

_IDS = {Group.ITEM: ITEM_ID, Group.USER: USER_ID}

LATER = (("train", "valid and test"), ("test, half 1", "test, half 2"))
_TRAINING = ("train, half 1", "train, half 2")


@dataclass(frozen=True)
class Counts:
    """Impressions and clicks [E] of each item or user in a part of the log."""

    shown: np.ndarray
    clicks: np.ndarray

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(self.shown + other.shown, self.clicks + other.clicks)


@dataclass(frozen=True)
class Exclusion:
    """The correlation of the clicks of two parts among entities of about equal value of a field.

    Attributes:
        field: the field.
        parts: the two parts.
        correlation: the correlation of the parts' residuals, or 0 if chance explains a negative one.
        sample: the entities that both parts show most, with their value and CTRs.
    """

    field: Field
    parts: tuple[str, str]
    correlation: float
    sample: list[dict[str, Any]]

    @property
    def later(self) -> bool:
        """True if the model is judged on one of the parts."""
        return self.parts in LATER


def exclusions(features: Features) -> list[Exclusion]:
    """Judge every field on each pair of parts where that is possible; return the lowest correlation first."""
    log = _Log(features)
    found = [one for group in _IDS for parts in (*LATER, _TRAINING) for one in _on_parts(log, group, parts)]
    return sorted(found, key=lambda one: one.correlation)


def correlation(value: np.ndarray, a: Counts, b: Counts) -> float | None:
    """Return the correlation of two parts' residuals among entities of about equal value.

    Args:
        value: [E], NaN if unknown. All entities with equal values are compared with each other.
        a: counts [E] in the first part.
        b: counts [E] of the same entities in the second part.

    Returns:
        The correlation in [-1, 1], 0 if chance explains a negative one, or None if too few entities can be compared.
    """
    known = np.flatnonzero((a.shown > 0) & (b.shown > 0) & np.isfinite(value))
    _, which, size = np.unique(value[known], return_inverse=True, return_counts=True)
    alike = ((np.cumsum(size) - size) // constants.ALIKE)[which]
    compared = np.bincount(alike)[alike] > 1 if len(known) else np.zeros(0, bool)
    if compared.sum() < constants.MIN_ENTITIES:
        return None
    one, other = (Counts(part.shown[known], part.clicks[known]) for part in (a, b))
    expected = [(_others(one.clicks, one.shown, alike), _others(other.clicks, other.shown, alike))]
    count = np.maximum(value[known], 0)
    total = one + other
    could_be_a_count = (
        value[known].min() >= -constants.RATE_ROUNDING * count.max()
    )  # a standardised 0 comes back as about 0
    if could_be_a_count and count.any() and total.clicks.any():
        rate = count * _others(total.clicks, count, alike) / total.shown
        expected.append((_in_part(one, rate), _in_part(other, rate)))
    found = [
        _correlation(_residuals(one, rate)[compared], _residuals(other, other_rate)[compared])
        for rate, other_rate in expected
    ]
    return min((value for value in found if value is not None), default=None)


def _correlation(one: np.ndarray, other: np.ndarray) -> float | None:
    """Return the correlation of residuals about 0, 0 if chance explains a negative one, or None without residuals."""
    scale = np.sqrt((one**2).sum() * (other**2).sum())
    if scale == 0:
        return None
    product = one * other
    chance = product.sum() > -constants.RATE_SIGMAS * np.sqrt((product**2).sum())
    return max(0.0, float(product.sum() / scale)) if chance else float(product.sum() / scale)


def _others(clicks: np.ndarray, shown: np.ndarray, alike: np.ndarray) -> np.ndarray:
    """Return the CTR [E] of the *other* entities that are alike, smoothed by one impression of mean CTR."""
    mean = clicks.sum() / shown.sum()
    others = np.bincount(alike, weights=shown)[alike] - shown
    return (np.bincount(alike, weights=clicks)[alike] - clicks + mean) / (others + 1)


def _in_part(part: Counts, rate: np.ndarray) -> np.ndarray:
    """Scale rates [E] so that the expected clicks sum to the part's, whose CTR may differ from the log's."""
    return np.minimum(rate * part.clicks.sum() / (part.shown * rate).sum(), 1)


def _residuals(part: Counts, rate: np.ndarray) -> np.ndarray:
    """Return the clicks beyond the expected rate [E], in standard deviations of chance and spread."""
    deviation = np.sqrt(part.shown * rate * (1 - rate) + (constants.SPREAD * part.shown) ** 2)
    return (part.clicks - part.shown * rate) / deviation


def _on_parts(log: "_Log", group: Group, parts: tuple[str, str]) -> Iterator[Exclusion]:
    if log.sampled and group is Group.USER:
        return  # each user has a click and a sampled negative
    a, b = log.counts[group, parts[0]], log.counts[group, parts[1]]
    by_itself = correlation(np.zeros(len(a.shown)), a, b)
    if by_itself is None or by_itself < constants.MIN_BY_ITSELF:
        return
    for field, value in log.numbers(group):
        found = correlation(value, a, b)
        if found is not None:
            yield Exclusion(field, parts, found, log.sample(field, group, value, parts))


class _Log:
    """The counts by group and part, and the values of fields by entity."""

    def __init__(self, features: Features) -> None:
        self.features = features
        self.sampled = False
        self._moments = {
            record["name"]: (record["mean"], record["std"])
            for record in features.manifest["fields"]
            if "mean" in record and "std" in record
        }
        self.counts: dict[tuple[Group, str], Counts] = {}
        self._orders: dict[Field, np.ndarray] = {}
        self._tables = {Group.ITEM: features.items, Group.USER: features.users}
        self._contexts = [field for field in features.of(Group.CONTEXT) if field.form.scalar]
        self._bounds = {
            (group, field): (np.full(table.num_rows, np.nan), np.full(table.num_rows, np.nan))
            for group, table in self._tables.items()
            for field in self._contexts
        }
        for shard in range(features.manifest["shards"]):
            for split in SPLITS:
                self._add(split, *features.read(shard, split))
        for group in self._tables:
            self.counts[group, "valid and test"] = self.counts[group, "valid"] + self.counts[group, "test"]

    def numbers(self, group: Group) -> Iterator[tuple[Field, np.ndarray]]:
        """Yield the group's fields, and contexts that are constant for nearly all its entities, with values [E]."""
        for field in self.features.of(group):
            if field.form.scalar and field.name != _IDS[group]:
                yield field, self._numbers(self._tables[group][field.name], field)
        shown = sum(self.counts[group, split].shown for split in SPLITS)
        for field in self._contexts:
            low, high = self._bounds[group, field]
            repeated = (shown > 1) & np.isfinite(low)
            if repeated.any() and (low == high)[repeated].mean() > constants.CONSTANT:
                yield field, low

    def sample(self, field: Field, group: Group, value: np.ndarray, parts: tuple[str, str]) -> list[dict[str, Any]]:
        """Return rows for a report: the entities that both parts show most."""
        a, b = (self.counts[group, part] for part in parts)
        often = np.argsort(-np.minimum(a.shown, b.shown), kind="stable")[:SAMPLE]
        names = self._tables[group]["value"]
        return [
            {_IDS[group]: names[int(at)].as_py(), field.name: round(float(value[at]), 4)}
            | {
                f"CTR of {part}": round(float(counts.clicks[at] / max(counts.shown[at], 1)), 4)
                for part, counts in zip(parts, (a, b), strict=True)
            }
            for at in often
        ]

    def _add(self, split: str, rows: Rows, table: pa.Table) -> None:
        self.sampled |= bool((rows["sampled"] == 1).any())
        clicked = rows["label"] == 1
        half = {Group.ITEM: in_second_half(rows["user"]), Group.USER: _second_half_of_each(rows["user"])}
        for group, entity in ((Group.ITEM, rows["item"]), (Group.USER, rows["user"])):
            parts = {split: np.ones(len(rows), bool), f"{split}, half 1": ~half[group], f"{split}, half 2": half[group]}
            for part, own in parts.items():
                size = self._tables[group].num_rows
                shown = np.bincount(entity[own], minlength=size)
                clicks = np.bincount(entity[own], weights=clicked[own], minlength=size)
                before = self.counts.get((group, part), Counts(np.zeros(size), np.zeros(size)))
                self.counts[group, part] = before + Counts(shown, clicks)
            for field in self._contexts:
                number = self._numbers(table[field.name], field)
                low, high = self._bounds[group, field]
                np.fmin.at(low, entity, number)
                np.fmax.at(high, entity, number)

    def _numbers(self, column: pa.ChunkedArray, field: Field) -> np.ndarray:
        """Return a column as numbers, so that near values are alike: raw values if they are numbers, else ids."""
        found, _ = self.features.known(column, field)
        if not field.form.holds_ids:
            mean, std = self._moments[field.name]
            return mean + std * found.astype(float)
        return np.where(found > UNKNOWN, self._order(field)[found], np.nan)

    def _order(self, field: Field) -> np.ndarray:
        """Return a number for each id of a field: its raw value if all are numbers, else the id, also for buckets."""
        if field not in self._orders:
            raw = self.features.vocabulary(field)["value"]
            self._orders[field] = np.arange(len(raw), dtype=float)
            if field.form.has_vocabulary:
                with suppress(pa.ArrowInvalid, pa.ArrowNotImplementedError):
                    self._orders[field] = pc.cast(raw, pa.float64()).to_numpy()
        return self._orders[field]


def _second_half_of_each(user: np.ndarray) -> np.ndarray:
    """Mark the rows [B] that lie in the second half, by time, of their user's rows; a user's rows are adjacent."""
    if not len(user):
        return np.zeros(0, bool)
    first = np.flatnonzero(np.r_[True, user[1:] != user[:-1]])
    length = np.diff(np.r_[first, len(user)])
    return 2 * (np.arange(len(user)) - np.repeat(first, length)) >= np.repeat(length, length)

"""One vectorised pass over all impressions of `data/features/` that counts offending rows by rule and keeps a few.

    B impressions of a split · T behaviours of the shard · U users

Behaviours must be sorted by (user, time), which is checked as well. The first and the last behaviour of a history
[start, end) then tell whose it is, and the last one tells whether it reaches the impression's time. Memory holds one
shard and an array [U].
"""

from collections import defaultdict
from dataclasses import dataclass, field
from enum import Enum, unique
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from din.field_forms import UNKNOWN
from din.schema import ITEM_ID, SPLITS, USER_ID, Group
from validation.expectations import SAMPLE
from validation.shards import Features, Rows, date_of, integers, values

_FEATURIZE = "a fault of featurize: run `dvc repro featurize`, and report it if it stays"
_LEAK = "the model would learn from the future; " + _FEATURIZE


@dataclass(frozen=True)
class _Explanation:
    """The column that a rule is about, and what to do about rows that break it."""

    column: str | None
    advice: str


@unique
class Rule(_Explanation, Enum):
    """The rules for the rows of the shards."""

    USER_IN_RANGE = "user", "a user is a row of users.parquet; " + _FEATURIZE
    ITEM_IN_RANGE = "item", "an item is a row of items.parquet; " + _FEATURIZE
    LABEL_0_OR_1 = "label", "a label is 0 or 1; " + _FEATURIZE
    BEHAVIOURS_SORTED = "timestamp", "behaviours are sorted by user, time and sequence; " + _FEATURIZE
    HISTORY_WITHIN_BEHAVIOURS = "history_end", "0 ≤ history_start ≤ history_end ≤ behaviours; " + _FEATURIZE
    HISTORY_LENGTH = "history_end", "a history is cut to featurize.max_history; " + _FEATURIZE
    HISTORY_OF_OWN_USER = "history_start", "a history holds another user's behaviours; " + _FEATURIZE
    HISTORY_BEFORE_IMPRESSION = "history_end", "a history reaches the time of its impression; " + _LEAK
    HISTORY_COMPLETE = "history_end", "a history lacks behaviours from before its impression; " + _FEATURIZE
    USER_IN_ONE_SHARD = "user", "a user's rows lie in several shards; " + _FEATURIZE
    SPLITS_APART = None, "a row lies on the wrong side of a split, which would improve the metrics; " + _FEATURIZE
    NEGATIVES_NOT_OWN = "item", "a sampled negative is one of the user's own behaviours; " + _FEATURIZE

    @property
    def label(self) -> str:
        """The rule's name in reports."""
        return self.name.lower()


@dataclass
class Split:
    """The totals of a split.

    Attributes:
        rows: the number of impressions.
        clicks: the number of clicks.
        behaviours: the sum of the history lengths.
        first: the earliest timestamp, or None without rows.
        last: the latest timestamp, or None without rows.
    """

    rows: int = 0
    clicks: int = 0
    behaviours: int = 0
    first: int | None = None
    last: int | None = None

    def add(self, rows: Rows) -> None:
        """Count the rows of one shard."""
        self.rows += len(rows)
        self.clicks += int((rows["label"] == 1).sum())
        self.behaviours += int((rows["history_end"] - rows["history_start"]).sum())
        if len(rows):
            first, last = int(rows["timestamp"].min()), int(rows["timestamp"].max())
            self.first = first if self.first is None else min(self.first, first)
            self.last = last if self.last is None else max(self.last, last)

    @property
    def dates(self) -> str:
        """The split's first and last date."""
        if self.first is None or self.last is None:
            return "no rows"
        return f"{date_of(self.first)} to {date_of(self.last)}"


@dataclass
class Found:
    """The findings of a scan.

    Attributes:
        counts: the number of offending rows of each rule; a rule that was never evaluated has no count.
        samples: some offending rows of each rule.
        splits: the totals of each split.
    """

    counts: dict[str, int] = field(default_factory=dict)
    samples: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    splits: dict[str, Split] = field(default_factory=lambda: {split: Split() for split in SPLITS})

    def add(self, rule: Rule, broken: np.ndarray, rows: Rows) -> None:
        """Count the rows of a mask [B] that break a rule, and keep the first ones as examples."""
        self.mark(rule.label, broken, rows)

    def mark(self, name: str, broken: np.ndarray, rows: Rows) -> None:
        """Count and keep rows like `add`, for an expectation that is not a `Rule`."""
        self.count(name, int(broken.sum()))
        room = SAMPLE - len(self.samples[name])
        self.samples[name] += [rows.example(int(at)) for at in np.flatnonzero(broken)[:room]]

    def count(self, name: str, broken: int) -> None:
        """Record that an expectation was evaluated, and how many rows broke it."""
        self.counts[name] = self.counts.get(name, 0) + broken


def scan(features: Features, raw: Path) -> Found:
    """Judge both tables and every shard by `Rule`, every field by `<field>_in_range`, and count unknown ids."""
    found = Found()
    _fields_in_range(found, features, features.items, features.root / "items.parquet", Group.ITEM)
    _fields_in_range(found, features, features.users, features.root / "users.parquet", Group.USER)
    home = np.full(features.users.num_rows, -1)
    prior = Prior(raw)
    for shard in range(features.manifest["shards"]):
        rows, table = features.read(shard, "behaviours")
        _fields_in_range(found, features, table, rows.path, Group.BEHAVIOUR)
        behaviours = Behaviours(rows, features.manifest["order"] == "sequence", prior)
        files = {"behaviours": rows}
        found.add(Rule.BEHAVIOURS_SORTED, behaviours.unsorted(), rows)
        for split in SPLITS:
            rows, table = features.read(shard, split)
            files[split] = rows
            _fields_in_range(found, features, table, rows.path, Group.CONTEXT)
            _impressions(found, features, split, rows)
            _histories(found, rows, behaviours, features.manifest["max_history"])
        for rows in files.values():
            found.add(Rule.USER_IN_RANGE, ~_in_range(rows["user"], features.users.num_rows), rows)
            found.add(Rule.ITEM_IN_RANGE, ~_in_range(rows["item"], features.items.num_rows), rows)
        _one_shard(found, files, home, shard)
        _splits_by_user(found, files, features.manifest["protocol"])
    if features.manifest["protocol"] == "temporal":
        _splits_by_time(found, features)
    return found


class Prior:
    """The behaviours that are prior history rather than events.

    They precede events of the same time, whatever their sequence. This matters for ties alone, so the raw history is
    read when the first tie is met.
    """

    def __init__(self, raw: Path) -> None:
        self._raw = raw

    @cached_property
    def _keys(self) -> pd.MultiIndex | None:
        path = self._raw / "history.parquet"
        if not path.exists():
            return None
        table = pq.read_table(path, columns=["timestamp", "sequence"])
        return pd.MultiIndex.from_arrays([table["timestamp"].cast(pa.int64()).to_numpy(), table["sequence"].to_numpy()])

    def __call__(self, timestamp: np.ndarray, sequence: np.ndarray) -> np.ndarray:
        """Mark which of K behaviours are prior history: bool [K]."""
        if len(timestamp) == 0 or self._keys is None:
            return np.zeros(len(timestamp), bool)
        return pd.MultiIndex.from_arrays([timestamp, sequence]).isin(self._keys)


class Behaviours:
    """A shard's T behaviours, followed by one of no user so that position T can be read."""

    def __init__(self, rows: Rows, by_sequence: bool, prior: Prior) -> None:
        self.user = np.append(rows["user"], -2)
        self.timestamp = np.append(rows["timestamp"], np.iinfo(np.int64).max)
        self.sequence = np.append(rows["sequence"], 0)
        self.item = rows["item"]
        self.by_sequence = by_sequence
        self.prior = prior

    def __len__(self) -> int:
        return len(self.item)

    def unsorted(self) -> np.ndarray:
        """Mark the rows that come after one that they should precede: bool [T]."""
        user, timestamp, sequence = self.user[:-1], self.timestamp[:-1], self.sequence[:-1]
        broken = np.zeros(len(self), bool)
        same = user[1:] == user[:-1]
        tie = same & (timestamp[1:] == timestamp[:-1])
        broken[1:] = (user[1:] < user[:-1]) | (same & (timestamp[1:] < timestamp[:-1]))
        swapped = np.flatnonzero(tie & (sequence[1:] < sequence[:-1]))
        broken[1 + swapped] = ~self.prior(timestamp[swapped], sequence[swapped])
        return broken

    def before(self, at: np.ndarray, rows: Rows) -> np.ndarray:
        """Mark the rows whose behaviour at position `at` [B] lies strictly before them in the log's order: bool [B]."""
        timestamp = self.timestamp[at]
        sequence = self.sequence[at]
        before = timestamp < rows["timestamp"]
        if self.by_sequence:
            tie = timestamp == rows["timestamp"]
            before |= tie & (sequence < rows["sequence"])
            rest = np.flatnonzero(tie & ~before)
            before[rest] = self.prior(timestamp[rest], sequence[rest])
        return before


def _histories(found: Found, rows: Rows, behaviours: Behaviours, max_history: int) -> None:
    user, start, end = rows["user"], rows["history_start"], rows["history_end"]
    inside = (start >= 0) & (start <= end) & (end <= len(behaviours))
    found.add(Rule.HISTORY_WITHIN_BEHAVIOURS, ~inside, rows)
    found.add(Rule.HISTORY_LENGTH, end - start > max_history, rows)
    held = inside & (end > start)
    first = np.where(held, start, len(behaviours))
    last = np.where(held, end - 1, len(behaviours))
    foreign = held & ((behaviours.user[first] != user) | (behaviours.user[last] != user))
    found.add(Rule.HISTORY_OF_OWN_USER, foreign, rows)
    own = inside & ~foreign
    found.add(Rule.HISTORY_BEFORE_IMPRESSION, own & held & ~behaviours.before(last, rows), rows)
    oldest = np.searchsorted(behaviours.user[:-1], user)
    following = np.where(held, end, oldest)
    following = np.where(own, following, len(behaviours))
    stale = (behaviours.user[following] == user) & behaviours.before(following, rows)
    cut = held & (start > np.maximum(oldest, end - max_history))
    found.add(Rule.HISTORY_COMPLETE, own & (stale | cut), rows)
    mine = rows["sampled"] == 1
    if mine.any():
        width = 1 + max(rows["item"].max(initial=0), behaviours.item.max(initial=0))
        keys = user.astype(np.int64) * width + rows["item"]
        mine &= np.isin(keys, behaviours.user[:-1].astype(np.int64) * width + behaviours.item)
    found.add(Rule.NEGATIVES_NOT_OWN, mine, rows)


def _impressions(found: Found, features: Features, split: str, rows: Rows) -> None:
    found.add(Rule.LABEL_0_OR_1, ~np.isin(rows["label"], (0, 1)), rows)
    found.splits[split].add(rows)
    if split == "train":
        return
    for name, column, table in (
        ("unknown_items_rate", "item", features.items),
        ("unknown_users_rate", "user", features.users),
    ):
        ids = {"item": ITEM_ID, "user": USER_ID}[column]
        if ids in features.rows:
            known = np.append(integers(table[ids]), UNKNOWN)
            row = np.where(_in_range(rows[column], table.num_rows), rows[column], -1)
            found.mark(name, (known[row] == UNKNOWN) | (known[row] >= features.rows[ids]), rows)


def _fields_in_range(found: Found, features: Features, table: pa.Table, path: Path, group: Group) -> None:
    for own in features.of(group):
        found_values, row = values(table[own.name], own)
        broken = own.form.outside(found_values, features.stored_rows[own.name])
        count = int(broken.sum())
        found.count(f"{own.name}_in_range", count)
        if count:
            at = np.flatnonzero(broken)[:SAMPLE]
            examples = [{"file": str(path), "row": row[i], own.name: found_values[i].tolist()} for i in at]
            found.samples[f"{own.name}_in_range"] += examples


def _one_shard(found: Found, files: dict[str, Rows], home: np.ndarray, shard: int) -> None:
    users = np.unique(np.concatenate([rows["user"] for rows in files.values()]))
    users = users[_in_range(users, len(home))]
    other = home[users]
    home[users] = shard
    found.add(
        Rule.USER_IN_ONE_SHARD,
        other >= 0,
        Rows(files["train"].path.parent, {"user": users, "also_in_shard": other}),
    )


def _splits_by_user(found: Found, files: dict[str, Rows], protocol: str) -> None:
    """Check that splits by user are disjoint.

    Under by_user, no user is in two splits. Under leave_last_out, no user is in both train and valid, and no row of
    theirs comes after the test row.
    """
    train, valid, test = (files[split] for split in SPLITS)
    if protocol != "temporal":
        found.add(Rule.SPLITS_APART, np.isin(valid["user"], train["user"]), valid)
    if protocol == "by_user":
        found.add(Rule.SPLITS_APART, np.isin(test["user"], np.concatenate([train["user"], valid["user"]])), test)
    if protocol == "leave_last_out":
        tests = pd.DataFrame({name: test[name] for name in ("user", "timestamp", "sequence")})
        first = tests.sort_values(["timestamp", "sequence"], kind="stable").drop_duplicates("user").set_index("user")
        for rows in (train, valid):
            own = first.reindex(rows["user"])
            timestamp = own["timestamp"].to_numpy()  # NaN for a user without a test row
            sequence = own["sequence"].to_numpy()
            tie = rows["timestamp"] == timestamp
            found.add(Rule.SPLITS_APART, (rows["timestamp"] > timestamp) | (tie & (rows["sequence"] >= sequence)), rows)


def _splits_by_time(found: Found, features: Features) -> None:
    """Check, under temporal, that every row precedes the first row of each later split; times are read once more."""
    end = np.iinfo(np.int64).max
    for split in reversed(SPLITS):
        first = end
        for shard in range(features.manifest["shards"]):
            rows, _ = features.read(shard, split)
            found.add(Rule.SPLITS_APART, rows["timestamp"] >= end, rows)
            first = min(first, int(rows["timestamp"].min(initial=first)))
        end = min(end, first)


def _in_range(ids: np.ndarray, rows: int) -> np.ndarray:
    return (ids >= 0) & (ids < rows)

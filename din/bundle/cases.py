"""The cases that parity compares: the same impressions as features and as raw requests.

Real impressions are drawn from all splits. Edge cases are made from one of them: histories of 0, 1, max and more
behaviours; 0, 1, 2, many and duplicate candidates; ids and values that are missing or were never seen in training; and
extreme numbers.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from din.bundle.requests_from_log import requests_for
from din.features.packing import PackedBatch, Packer
from din.features.reader import Features, Impressions, Shard
from din.kinds import NEVER_SEEN, UNKNOWN, Level
from din.schema import ITEM_ID, SPLITS, USER_ID, Group, parse_field

_MANY = 50
_PACK = 1024
_ROW_COLUMNS = ("user", "item", "timestamp", "sequence", "label")


@dataclass(frozen=True)
class ParityCase:
    """B impressions, packed from features, and as requests with B candidates in total.

    Attributes:
        requests: the impressions as requests, with profiles and side fields.
        bare: the same requests without profiles and side fields, which the bundle looks up by id.
        extreme: whether it has numbers so large that float32 is not precise enough to compare scores.
    """

    name: str
    packed: PackedBatch
    requests: list[dict[str, Any]]
    bare: list[dict[str, Any]]
    extreme: bool = False


@dataclass(frozen=True)
class _Longest:
    """The drawn impression with the longest history."""

    shard: Shard
    row: int
    place: int  # among all drawn impressions

    @property
    def length(self) -> int:
        """The number of its behaviours."""
        return int(self.shard.impressions.history_length[self.row])


def real_cases(
    features: Features, raw: Path, most: int, seed: int, *, ages: bool = False
) -> tuple[list[ParityCase], list[ParityCase]]:
    """Return cases of `most` impressions from all splits, and the edge cases made from one of them.

    The first impression of each label is always among them. With `ages`, pack the ages of behaviours. Beside the shard
    of the edge cases, few shards are in memory at a time.
    """
    packer = Packer(features, ages=ages)
    batches = []
    tables = []
    longest = None
    place = 0
    for split, number, drawn in _drawn(features, most, np.random.default_rng(seed)):
        shard = features.shard(number, split)
        for start in range(0, len(drawn), _PACK):
            batches.append(packer.pack(shard, drawn[start : start + _PACK]))
        tables.append(pa.table({name: getattr(shard.impressions, name)[drawn] for name in _ROW_COLUMNS}))
        at = int(shard.impressions.history_length[drawn].argmax())
        candidate = _Longest(shard, int(drawn[at]), place + at)
        if longest is None or candidate.length > longest.length:
            longest = candidate
        place += len(drawn)
    requests = requests_for(pa.concat_tables(tables), raw, features.root)
    real = []
    rest = iter(requests)
    for packed in batches:
        in_batch = [*islice(rest, len(packed))]
        real.append(ParityCase("impressions", packed, in_batch, [_bare(request) for request in in_batch]))
    assert longest is not None  # every log has rows
    return real, list(_Edges(features, packer, longest, requests[longest.place], seed).cases())


def _drawn(features: Features, most: int, random: np.random.Generator) -> Iterator[tuple[str, int, np.ndarray]]:
    """Yield split, number of the shard, and drawn rows of each part of which some were drawn."""
    places = [(split, number, rows) for split in SPLITS for number, rows in enumerate(features.split_rows(split))]
    ends = np.cumsum([rows for *_, rows in places])
    chosen = random.choice(ends[-1], min(most, ends[-1]), replace=False)
    chosen = np.union1d(chosen, _firsts(features))
    for (split, number, rows), end in zip(places, ends, strict=True):
        start = end - rows
        drawn = chosen[(chosen >= start) & (chosen < end)] - start
        if len(drawn):
            yield split, number, drawn


def _firsts(features: Features) -> list[int]:
    """Return the places of the log's first click and first impression without one: an AUC needs both."""
    firsts: dict[int, int] = {}
    place = 0
    for split in SPLITS:
        for number, rows in enumerate(features.split_rows(split)):
            labels, at = np.unique(features.labels(number, split), return_index=True)
            firsts = {label: place + row for label, row in zip(labels.tolist(), at.tolist(), strict=True)} | firsts
            if len(firsts) == 2:
                return [*firsts.values()]
            place += rows
    return [*firsts.values()]


def _bare(request: dict[str, Any]) -> dict[str, Any]:
    user = {USER_ID: request["user"][USER_ID]}
    return request | {"user": user, "candidates": [candidate[ITEM_ID] for candidate in request["candidates"]]}


class _Edges:
    """Variations of the drawn impression with the longest history."""

    def __init__(
        self, features: Features, packer: Packer, longest: _Longest, request: dict[str, Any], seed: int
    ) -> None:
        self.features = features
        self.packer = packer
        self.shard = longest.shard
        self.row = longest.row
        self.request = request
        impressions = longest.shard.impressions
        self.past = np.arange(int(impressions.history_start[self.row]), int(impressions.history_end[self.row]))
        self.raw_items = features.raw_items()
        random = np.random.default_rng(seed)
        self.items = random.choice(features.manifest.items - 1, _MANY) + 1

    def cases(self) -> Iterator[ParityCase]:
        """Yield all edge cases."""
        most = self.features.manifest.max_history
        lengths = (0, 1, most, most + 3) if len(self.past) else (0,)
        for length in lengths:
            yield self._case(f"history of {length}", self.items[:3], length)
        for count in (0, 1, 2, _MANY):
            yield self._case(f"{count} candidates", self.items[:count])
        yield self._case("duplicate candidates", self.items[[0, 1, 0]])
        yield self._case("unknown candidate", np.array([UNKNOWN, self.items[0], UNKNOWN]))
        yield self._unknown_user()
        for level in Level:
            yield self._level(level)

    def _case(self, name: str, items: np.ndarray, length: int | None = None, user: int | None = None) -> ParityCase:
        """Return the impression with other candidates.

        Args:
            items: [B] the candidates, as rows of items.parquet.
            length: the length of the history, which is repeated if it is too short. None keeps the history.
            user: a row of users.parquet. None keeps the user.
        """
        length = len(self.past) if length is None else length
        places = np.arange(length) % max(len(self.past), 1)
        behaviours = self.past[places][-self.features.manifest.max_history :] if length else self.past[:0]
        count = len(items)
        impressions = self.shard.impressions
        same = np.full(count, self.row)
        zeros = np.zeros(count, np.int32)
        shard = Shard(
            Impressions(
                user=impressions.user[same] if user is None else np.full(count, user, np.int32),
                item=items.astype(np.int32),
                label=zeros,
                history_start=zeros,
                history_end=np.full(count, len(behaviours), np.int32),
                timestamp=impressions.timestamp[same],
                sequence=zeros,
                sampled=zeros,
                contexts={name: column.take(same) for name, column in impressions.contexts.items()},
            ),
            self.shard.behaviours.take(behaviours),
        )
        ids = [NEVER_SEEN if item == UNKNOWN else self.raw_items[int(item)].as_py() for item in items]
        history = [self.request["history"][place] for place in places]
        request = self.request | {"history": history, "candidates": [{ITEM_ID: value} for value in ids]}
        return ParityCase(name, self.packer.pack(shard, np.arange(count)), [request], [request])

    def _unknown_user(self) -> ParityCase:
        case = self._case("unknown user", self.items[:2], user=UNKNOWN)
        request = case.requests[0] | {"user": {USER_ID: NEVER_SEEN}}
        return replace(case, requests=[request], bare=[request])

    def _level(self, level: Level) -> ParityCase:
        """Return a case in which every field with an example value of this level has it, in features and request."""
        case = self._case(f"values: {level}", self.items[:3])
        raw: dict[Group, dict[str, Any]] = {group: {} for group in Group}
        lookups = {group: dict(fields) for group, fields in case.packed.lookups.items()}
        for record in self.features.records:
            field = parse_field(record)
            example = field.form.examples(record).get(level)
            if field.name in (USER_ID, ITEM_ID) or example is None:
                continue
            raw[field.group][field.name] = example.raw
            column = example.column.times(len(lookups[field.group][field.name]))
            offset = self.packer.layout.offsets[field.name]
            lookups[field.group][field.name] = field.form.look_up(column, offset)
        packed = replace(case.packed, lookups=lookups)
        request = case.requests[0]
        request |= {
            "user": request["user"] | raw[Group.USER],
            "context": request["context"] | raw[Group.CONTEXT],
            "history": [entry | raw[Group.ITEM] | raw[Group.BEHAVIOUR] for entry in request["history"]],
            "candidates": [entry | raw[Group.ITEM] for entry in request["candidates"]],
        }
        extreme = level in (Level.LOWEST, Level.HIGHEST)
        return replace(case, packed=packed, requests=[request], bare=[request], extreme=extreme)

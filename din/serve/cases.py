"""What parity compares on: the same impressions once as features and once as raw requests.

Real ones, drawn from all splits, and edge cases made from one of them: histories of 0, 1, max and more behaviours;
0, 1, 2 and many candidates, duplicates among them; ids and values never seen or not given; numbers far outside.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from din.features.packing import PackedBatch, Packer
from din.features.reader import Features, Impressions, Shard
from din.field_forms import NEVER_SEEN, UNKNOWN, Level
from din.schema import ITEM_ID, SPLITS, USER_ID, Group, parse_field
from din.serve.requests import requests_for

_MANY = 50
_PACK = 1024
_ROW_COLUMNS = ("user", "item", "timestamp", "sequence", "label")


@dataclass(frozen=True)
class Case:
    """B impressions: packed from features, and as requests with B candidates in all.

    bare: the same requests, leaving what a bundle knows by id (profiles, side fields) to it.
    """

    name: str
    packed: PackedBatch
    requests: list[dict[str, Any]]
    bare: list[dict[str, Any]]


@dataclass(frozen=True)
class _Drawn:
    shard: Shard
    rows: np.ndarray
    requests: list[dict[str, Any]]


def real_cases(features: Features, raw: Path, most: int, seed: int) -> tuple[list[Case], list[Case]]:
    """At most `most` impressions drawn from all splits, and the edge cases made from one of them."""
    packer = Packer(features)
    drawn = _draw(features, raw, most, np.random.default_rng(seed))
    real = []
    for part in drawn:
        for at in range(0, len(part.rows), _PACK):
            some = slice(at, at + _PACK)
            requests = part.requests[some]
            packed = packer.pack(part.shard, part.rows[some])
            real.append(Case("impressions", packed, requests, [_bare(request) for request in requests]))
    part = max(drawn, key=lambda part: int(part.shard.impressions.history_length[part.rows].max()))
    return real, list(_Edges(features, packer, part, seed).cases())


def _draw(features: Features, raw: Path, most: int, random: np.random.Generator) -> list[_Drawn]:
    places = [(split, number, rows) for split in SPLITS for number, rows in enumerate(features.split_rows(split))]
    ends = np.cumsum([rows for *_, rows in places])
    chosen = np.sort(random.choice(ends[-1], min(most, ends[-1]), replace=False))
    parts, tables = [], []
    for (split, number, rows), end in zip(places, ends, strict=True):
        own = chosen[(chosen >= end - rows) & (chosen < end)] - (end - rows)
        if len(own):
            shard = features.shard(number, split)
            parts.append((shard, own))
            tables.append(pa.table({name: getattr(shard.impressions, name)[own] for name in _ROW_COLUMNS}))
    requests = iter(requests_for(pa.concat_tables(tables), raw, features.root))
    return [_Drawn(shard, own, [next(requests) for _ in own]) for shard, own in parts]


def _bare(request: dict[str, Any]) -> dict[str, Any]:
    user = {USER_ID: request["user"][USER_ID]}
    return request | {"user": user, "candidates": [candidate[ITEM_ID] for candidate in request["candidates"]]}


class _Edges:
    """Variations of the drawn impression with the longest history."""

    def __init__(self, features: Features, packer: Packer, part: _Drawn, seed: int) -> None:
        self.features, self.packer, self.shard = features, packer, part.shard
        longest = int(part.shard.impressions.history_length[part.rows].argmax())
        self.row, self.request = part.rows[longest], part.requests[longest]
        impressions = part.shard.impressions
        self.past = np.arange(int(impressions.history_start[self.row]), int(impressions.history_end[self.row]))
        self.raw_items = features.raw_items()
        random = np.random.default_rng(seed)
        self.items = random.choice(features.manifest["items"] - 1, _MANY) + 1

    def cases(self) -> Iterator[Case]:
        """All edge cases."""
        most = self.features.manifest["max_history"]
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

    def _case(self, name: str, items: np.ndarray, length: int | None = None, user: int | None = None) -> Case:
        length = len(self.past) if length is None else length
        places = np.arange(length) % max(len(self.past), 1)
        behaviours = self.past[places][-self.features.manifest["max_history"] :] if length else self.past[:0]
        count, impressions = len(items), self.shard.impressions
        same = np.full(count, self.row)
        zeros = np.zeros(count, np.int32)
        shard = Shard(
            Impressions(
                user=impressions.user[same] if user is None else np.full(count, user, np.int32),
                item=items.astype(np.int32),
                label=zeros,
                history_start=zeros,
                history_end=np.full(count, len(behaviours), np.int32),
                timestamp=zeros,
                sequence=zeros,
                sampled=zeros,
                contexts={name: column.take(same) for name, column in impressions.contexts.items()},
            ),
            self.shard.behaviour_item[behaviours],
            {name: column.take(behaviours) for name, column in self.shard.behaviour_fields.items()},
        )
        ids = [NEVER_SEEN if item == UNKNOWN else self.raw_items[int(item)].as_py() for item in items]
        history = [self.request["history"][place] for place in places]
        request = self.request | {"history": history, "candidates": [{ITEM_ID: value} for value in ids]}
        return Case(name, self.packer.pack(shard, np.arange(count)), [request], [request])

    def _unknown_user(self) -> Case:
        case = self._case("unknown user", self.items[:2], user=UNKNOWN)
        request = case.requests[0] | {"user": {USER_ID: NEVER_SEEN}}
        return replace(case, requests=[request], bare=[request])

    def _level(self, level: Level) -> Case:
        """Every field of every group that has such a value takes it, in the features and in the request."""
        case = self._case(f"values: {level}", self.items[:3])
        said: dict[Group, dict[str, Any]] = {group: {} for group in Group}
        lookups = {group: dict(own) for group, own in case.packed.lookups.items()}
        for record in self.features.manifest["fields"]:
            field = parse_field(record)
            example = field.form.examples(record).get(level)
            if field.name in (USER_ID, ITEM_ID) or example is None:
                continue
            said[field.group][field.name] = example.raw
            column = example.column.times(len(lookups[field.group][field.name]))
            offset = self.packer.layout.offsets[field.name]
            lookups[field.group][field.name] = field.form.look_up(column, offset)
        packed = replace(case.packed, lookups=lookups)
        request = case.requests[0]
        request = {
            "user": request["user"] | said[Group.USER],
            "context": request["context"] | said[Group.CONTEXT],
            "history": [entry | said[Group.ITEM] | said[Group.BEHAVIOUR] for entry in request["history"]],
            "candidates": [entry | said[Group.ITEM] for entry in request["candidates"]],
        }
        return replace(case, packed=packed, requests=[request], bare=[request])

"""The slow twin of din.featurize: plain dicts, lists, and loops over every impression's history, without an engine.

It shares only the md5 rule with the real one, which is part of the format. Days are numbers: 0 is training, and the nth
held-out day of a temporal split is n.
"""

import hashlib
import math
import struct
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from typing import Any

BEFORE_ALL = -(2**62)
Row = dict[str, Any]


def draw(text: str) -> int:
    """Return a uniform integer below 2³² from md5."""
    return int(hashlib.md5(text.encode()).hexdigest()[:8], 16)


class Twin:
    """The expected features of a log of tests.factories.events: impressions, vocabularies, items, users."""

    def __init__(self, log: Any, params: Any, order: str) -> None:
        self.log, self.params, self.order = log, params.featurize, order
        days = sorted({_day(event) for event in log.events})
        self.last = date.fromisoformat(log.until) if log.until else days[-1]
        window, history = params.data.window_days, params.data.history_days
        self.first = self.last - timedelta(days=window - 1) if window else days[0]
        prior = [
            {**row, "is_event": 0, "behaviour": 1, "label": 0, "timestamp": _or(row["timestamp"], BEFORE_ALL)}
            for row in log.history
        ]
        rows = prior + [{**row, "is_event": 1} for row in log.events]
        if history is not None:
            oldest = self.first - timedelta(days=history)
            rows = [row for row in rows if row["timestamp"] == BEFORE_ALL or _day(row) >= oldest]
        self.rows = sorted(rows, key=lambda r: (r["user_id"], r["timestamp"], r["is_event"], r["sequence"]))
        self.impressions = self._impressions()
        self.train = [row for row in self.impressions if row["split"] == "train"]
        self.shown = {(row["is_event"], row["user_id"], row["sequence"]) for row in self.impressions}
        self.days = self._days()
        self.side = {row["item_id"]: row for row in log.items}
        self.profile = {row["user_id"]: row for row in log.users}
        fields = [("item", "item_id", "id")]
        fields += [(group, name, spec) for group, columns in log.fields.items() for name, spec in columns.items()]
        self.coders = {name: self._learn(group, name, spec) for group, name, spec in fields}

    def _split(self, user: Any, row: Row, clicks: list[Row]) -> str | None:
        split = self._whole_split(user, row, clicks)
        negative = split == "train" and not row["label"]
        if negative and draw(f"{self.params.seed}/keep/{user}/{row['sequence']}") >= self.params.keep_negatives * 2**32:
            return None
        return split

    def _whole_split(self, user: Any, row: Row, clicks: list[Row]) -> str | None:
        """Return the split of a row as if all negatives were kept."""
        if _day(row) < self.first:
            return None
        held_out = draw(f"{self.params.seed}/split/{user}") / 2**32
        if self.log.protocol == "temporal":
            ago = (self.last - _day(row)).days
            p = self.params
            return "test" if ago < p.test_days else "valid" if ago < p.test_days + p.valid_days else "train"
        if self.log.protocol == "by_user":
            test, valid = self.params.test_fraction, self.params.valid_fraction
            return "test" if held_out < test else "valid" if held_out < test + valid else "train"
        if row not in clicks[1:]:
            return None
        return "test" if row is clicks[-1] else "valid" if held_out < self.params.valid_fraction else "train"

    def _impressions(self) -> list[Row]:
        pool = sorted({row["item_id"] for row in self.rows if row["label"]})
        found = []
        for user in sorted({row["user_id"] for row in self.rows}):
            mine = [row for row in self.rows if row["user_id"] == user]
            clicks = [row for row in mine if row["is_event"] and row["label"]]
            for row in mine:
                split = self._split(user, row, clicks) if row["is_event"] else None
                if split is None:
                    continue
                seen = [past for past in mine if past["behaviour"] and self._before(past, row)]
                shown = {**row, "split": split, "history": seen[-self.params.max_history :], "sampled": 0}
                found.append(shown)
                if self.log.protocol == "leave_last_out":
                    own = {past["item_id"] for past in mine}
                    found.append({**shown, "item_id": self._negative(row, pool, own), "label": 0, "sampled": 1})
        return found

    def kept_negatives(self) -> float:
        kept = sum(not row["label"] for row in self.train)
        events = [row for row in self.rows if row["is_event"] and not row["label"]]
        return kept / sum(self._whole_split(row["user_id"], row, []) == "train" for row in events)

    def held_out(self) -> list[date]:
        """Return the days of validation and test rows."""
        count = self.params.valid_days + self.params.test_days if self.log.protocol == "temporal" else 0
        return [self.last - timedelta(days=ago) for ago in reversed(range(count))]

    def _days(self) -> list[tuple[list[Row], list[Row]]]:
        """Return the impressions of training and of each held-out day, and the behaviours that they see first."""
        parts = [self.train, *([row for row in self.impressions if _day(row) == day] for day in self.held_out())]
        known: set[Any] = set()
        found = []
        for rows in parts:
            seen = {(r["is_event"], r["user_id"], r["sequence"]): r for row in rows for r in row["history"]}
            found.append((rows, [row for key, row in seen.items() if key not in known]))
            known |= seen.keys()
        return found

    def _before(self, past: Row, row: Row) -> bool:
        if self.order == "strict":
            return past["timestamp"] < row["timestamp"]
        if self.order == "daily":
            return _day(past) < _day(row)
        return tuple(past[k] for k in _KEY) < tuple(row[k] for k in _KEY)

    def _negative(self, row: Row, pool: list[Any], own: set[Any]) -> Any:
        attempt = 0
        while True:
            drawn = draw(f"{self.params.seed}/negative/{row['user_id']}/{row['sequence']}/{attempt}")
            if (item := pool[drawn * len(pool) // 2**32]) not in own:
                return item
            attempt += 1

    def raw(self, group: str, name: str, row: Row) -> Any:
        """Return a field's raw value on a row of the log."""
        if name in ("item_id", "user_id"):
            return row[name]
        tables = {"item": (self.side, "item_id"), "user": (self.profile, "user_id")}
        if group in tables:
            table, key = tables[group]
            row = table.get(row[key], {})
        value = row.get(name)
        return None if isinstance(value, float) and not abs(value) <= _LARGEST else value

    def owners(self, group: str, row: Row) -> list[Row]:
        """Return the rows of the log whose field values an impression uses."""
        return {"item": [row, *row["history"]], "behaviour": row["history"]}.get(group, [row])

    def _learn(self, group: str, name: str, spec: Any) -> Row:
        kind, buckets = (spec["kind"], spec.get("buckets")) if isinstance(spec, dict) else (spec, None)
        shown, past = self._counted(group, 0)
        coder: Row = {"kind": kind, "buckets": buckets, "group": group, "name": name}
        counts: Counter[Any] = Counter()
        if kind == "vector":  # one row for missing, then one for each number
            tables = {"item": self.log.items, "user": self.log.users}
            coder["length"] = max(len(row.get(name) or []) for row in tables.get(group, self.rows))
            values = [None] * coder["length"]
        elif kind == "numeric":
            known = sorted(self._numbers(group, name, shown if group == "item" else shown + past))
            if buckets:
                ranks = [math.ceil(len(known) * k / buckets) - 1 for k in range(1, buckets)]
                coder["edges"] = sorted({known[rank] for rank in ranks}) if known else []
            else:
                mean = sum(known) / max(len(known), 1)
                variance = sum((value - mean) ** 2 for value in known) / max(len(known), 1)
                coder |= {"mean": mean, "std": math.sqrt(variance) or 1.0}
            values = [None] if not buckets else [float("-inf"), *coder["edges"]]
            coder["ids"] = {None: 0}
        else:
            counts.update(self._values(coder, shown + past))
            values = self._new(coder, counts)
            coder["ids"] = {value: n for n, value in enumerate(values, 1)}
        rows = _vocabulary([None, *values])
        for row in shown + past:
            for n in self._ids(coder, row):
                rows[n]["count"] += 1
        for row in self.train:
            for n in {n for owner in self.owners(group, row) for n in self._ids(coder, owner)}:
                rows[n]["impressions"] += 1
        coder["known"] = [len(rows)]
        for number, day in enumerate(self.held_out(), 1):
            if kind not in ("numeric", "vector"):
                rows += self._late(coder, counts, number, day)
            coder["known"].append(len(rows))
        return coder | {"rows": rows}

    def _counted(self, group: str, number: int) -> tuple[list[Row], list[Row]]:
        """Return the impressions and the behaviours that count for a field of a group on a day.

        An impression counts once for an item, even if its own click is among the behaviours.
        """
        shown, past = self.days[number]
        if group == "behaviour":
            return [], past
        others = [row for row in past if (row["is_event"], row["user_id"], row["sequence"]) not in self.shown]
        return shown, others if group == "item" else []

    def _values(self, coder: Row, rows: list[Row]) -> list[Any]:
        """Return the values of some rows, of a list each once."""
        found = [self.raw(coder["group"], coder["name"], row) for row in rows]
        return [part for value in found for part in set(_or(value, []))] if coder["kind"] == "multi" else found

    def _new(self, coder: Row, counts: Counter[Any]) -> list[Any]:
        """Return the values that have been counted often enough and have no id yet, in the order of their ids."""
        least = self.params.min_count if coder["kind"] == "id" else 1
        ids = coder.get("ids", {})
        values = [value for value, n in counts.items() if value is not None and n >= least and value not in ids]
        return sorted(values, key=lambda value: (-counts[value], value))

    def _late(self, coder: Row, counts: Counter[Any], number: int, day: date) -> list[Row]:
        """Return the rows of the values that become known on a held-out day, and give them ids."""
        shown, past = self._counted(coder["group"], number)
        counts.update(self._values(coder, shown + past))
        rows = []
        for value in self._new(coder, counts):
            owners = [self.owners(coder["group"], row) for row in self.days[number][0]]
            impressions = sum(value in self._values(coder, own) for own in owners)
            coder["ids"][value] = len(coder["ids"]) + 1
            row = {"value": value, "id": coder["ids"][value], "count": counts[value], "impressions": impressions}
            rows.append(row | {"known_since": day})
        return rows

    def _numbers(self, group: str, name: str, rows: list[Row]) -> list[float]:
        values = [self.raw(group, name, row) for row in rows]
        return [float(value) for value in values if value is not None]

    def encode(self, name: str, value: Any) -> Any:
        """Return a raw value as the files hold it: an id, a standardised float ("nan" if missing), or a list of ids."""
        coder = self.coders[name]
        if coder["kind"] == "vector":
            return _vector(value, coder["length"])
        if coder["kind"] == "multi":
            ids = [coder["ids"][part] for part in dict.fromkeys(_or(value, [])) if part in coder["ids"]]
            return ids or [0]
        if coder["kind"] != "numeric":
            return coder["ids"].get(value, 0)
        if coder["buckets"]:
            return 0 if value is None else 1 + sum(edge <= value for edge in coder["edges"])
        return "nan" if value is None else _float32((value - coder["mean"]) / coder["std"])

    def _ids(self, coder: Row, row: Row) -> list[int]:
        self.coders = getattr(self, "coders", {}) | {coder["name"]: coder}
        code = self.encode(coder["name"], self.raw(coder["group"], coder["name"], row))
        if coder["kind"] == "vector":  # whoever has it has all its numbers
            return [0] if code[0] == "nan" else [*range(1, 1 + len(code))]
        if coder["kind"] == "numeric" and not coder["buckets"]:
            return [0 if code == "nan" else 1]
        return code if isinstance(code, list) else [code]


_LARGEST = 3.4e38  # of a float32
_KEY = ("timestamp", "is_event", "sequence")


def _vocabulary(values: list[Any]) -> list[Row]:
    """Rows of a vocabulary file, not counted yet, for values that training knows."""
    zeros = {"count": 0, "impressions": 0, "known_since": None}
    return [{"value": value, "id": n} | zeros for n, value in enumerate(values)]


def _day(row: Row) -> date:
    if row["timestamp"] == BEFORE_ALL:
        return date.min
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=row["timestamp"])).date()


def _or(value: Any, default: Any) -> Any:
    return default if value is None else value


def _vector(value: list[float | None] | None, length: int) -> list[Any]:
    """The numbers as float32, or as many "nan" where one of them, or all, are missing."""
    numbers = [math.nan if number is None or abs(number) > _LARGEST else number for number in _or(value, [])]
    known = bool(numbers) and all(map(math.isfinite, numbers))
    return [_float32(number) for number in numbers] if known else ["nan"] * length


def _float32(value: float) -> float:
    return struct.unpack("f", struct.pack("f", value))[0]

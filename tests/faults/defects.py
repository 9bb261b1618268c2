"""The table of planted defects: what is wrong, which gate must catch it, how severely, and a word of its message."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tests.faults import plants as p
from tests.faults.drive import Outcome, Prepared
from tests.faults.log import DAY

Severity = Literal["critical", "warning"]
_QUICK = {"offset_forgotten", "sampled_twice"}
"""Quick beside defects that fetch or the raw suite catch, and spoiled files."""

_ALIKE = {
    "few_rows",
    "clicks_alone",
    "missing_day_of_a_daily_log",
    "day_twice",
    "tenfold_day",
    "rows_a_year_later",
    "labels_1_on_newest_day",
    "late_labels",
    "non_clicks_lost",
    "context_missing_before",
    "users_of_another_space",
    "prefixed_ids",
    "blanks_around_ids",
    "float_ids",
    "items_match_nothing",
    "half_of_the_items",
}
"""Not quick, because a quick one is of the same kind."""


def _whole(manifest: dict[str, Any]) -> dict[str, Any]:
    """Return a features manifest that says nothing of missing negatives."""
    return {key: value for key, value in manifest.items() if key != "negatives"}


@dataclass(frozen=True, kw_only=True)
class Defect:
    """One defect.

    Attributes:
        name: unique.
        what: a phrase for the page.
        plant: makes it.
        gates: the right gates, any of which may catch it: `fetch`, `validate_raw.<expectation>`, `gate.<name>`, … Of
            the raw suite, no other one may close.
        word: a word of the message, in lower case.
        severity: a critical gate ends the run, and a warning is only shown.
    """

    name: str
    what: str
    plant: p.Plant | p.Late
    gates: tuple[str, ...]
    word: str
    severity: Severity = "critical"

    @property
    def quick(self) -> bool:
        """Return whether `make test` drives it: what fetch or the raw suite catch, spoiled early files, and others."""
        late = self.plant if isinstance(self.plant, p.Late) else None
        if late is not None:
            return self.name in _QUICK or (late.after in ("fetch", "featurize") and late.first is None)
        return self.name in _QUICK or (self.of_raw and self.name not in _ALIKE)

    @property
    def of_raw(self) -> bool:
        """Return whether fetch or the raw suite catch it."""
        return all(gate.split(".")[0] in ("fetch", "validate_raw") for gate in self.gates)

    def drive(self, prepared: Prepared, workspace: Path) -> Outcome:
        """Plant the defect and drive the stages that it meets."""
        if isinstance(self.plant, p.Late) and self.plant.first:
            delivery = self.plant.first(prepared.delivery)
            return prepared.spoil_another(delivery, self.plant.after, self.plant.spoil, workspace)
        if isinstance(self.plant, p.Late):
            return prepared.spoil(self.plant.after, self.plant.spoil, workspace)
        return prepared.drive(self.plant(prepared.delivery), workspace)

    def caught_by(self, outcome: Outcome) -> str | None:
        """Return the first right gate whose message holds the word."""
        found = outcome.closed if self.severity == "critical" else outcome.warned
        return next((gate for gate in self.gates if self.word in found.get(gate, "").lower()), None)

    def verdict(self, outcome: Outcome) -> Literal["right", "late", "missed"]:
        """Return whether the right gate caught it, another one closed, or none."""
        if self.caught_by(outcome):
            return "right"
        return "late" if outcome.closed else "missed"


def _defect(what: str, plant: p.Plant | p.Late, caught: str, severity: Severity = "critical") -> Defect:
    """Return a defect without its name; `caught` holds the gates, a colon, and the word."""
    gates, _, word = caught.partition(": ")
    return Defect(name="", what=what, plant=plant, gates=tuple(gates.split()), word=word, severity=severity)


def _warning(what: str, plant: p.Plant, caught: str) -> Defect:
    return _defect(what, plant, caught, "warning")


_WHOLE_DAYS = p.settings(fetch__table__daily=True)
_ONE_FILE = p.layout(events="one")
_GZIP = p.layout(form="csv.gz", events="one")
_PARQUET = p.layout(form="parquet")
_JSON = p.layout(form="jsonl", events="one")

FILES = {
    "no_file": _defect("no file of events", p.removed("events/*"), "fetch: matches no file"),
    "no_items_file": _defect("no file of items", p.removed("items.csv"), "fetch: items.csv"),
    "empty_file": _defect("a file of 0 bytes", p.first_file(lambda _: b""), "fetch: 0 bytes"),
    "header_alone": _defect(
        "an item table with only a header", p.first_file(p.lines(lambda rows: rows[:1]), "items.csv"), "fetch: no rows"
    ),
    "short_gzip": _defect(
        "a gzip file cut short", p.chain(_GZIP, p.first_file(p.short_gzip)), "fetch: export it again"
    ),
    "bad_gzip": _defect(
        "a byte flipped in a gzip file", p.chain(_GZIP, p.first_file(p.bad_checksum)), "fetch: cannot be read"
    ),
    "gzip_without_suffix": _defect("gzip bytes in a file named .csv", p.first_file(p.gzip_of), "fetch: 000.csv"),
    "short_parquet": _defect(
        "a Parquet file cut short", p.chain(_PARQUET, p.last_file(lambda b: b[: len(b) // 2])), "fetch: export it again"
    ),
    "wrong_delimiter": _defect(
        "semicolons instead of commas",
        p.first_file(lambda b: b.replace(b",", b";")),
        "fetch: fetch.table.csv.delimiter",
    ),
    "utf_16": _defect("a file in UTF-16", p.first_file(lambda b: b.decode().encode("utf-16")), "fetch: utf-8"),
    "latin_1": _defect(
        "a category in Latin-1",
        p.first_file(lambda b: b.replace(b",c1,", ",café,".encode("latin-1")), "items.csv"),
        "fetch: utf-8",
    ),
    "header_again": _defect(
        "the header again in the middle of the file",
        p.chain(_ONE_FILE, p.first_file(p.lines(lambda rows: [*rows[:500], rows[0], *rows[500:]]))),
        "fetch: timestamp",
    ),
    "header_twice": _defect(
        "two columns with the same name",
        p.first_file(p.lines(lambda rows: [rows[0].replace(b"device", b"tab"), *rows[1:]])),
        "fetch: twice",
    ),
    "short_row": _defect(
        "a row with one cell too few",
        p.first_file(p.lines(lambda rows: [*rows[:9], rows[9].rsplit(b",", 1)[0] + b"\n", *rows[10:]])),
        "fetch: line",
    ),
    "half_a_row": _defect("a file that ends in the middle of a row", p.last_file(lambda b: b[:-25]), "fetch: line"),
    "long_cell": _defect("a cell of 10 MB", p.first_file(p.long_cell), "fetch: row"),
    "open_quote": _defect(
        "an unclosed quote",
        p.first_file(p.lines(lambda rows: [*rows[:4], rows[4].replace(b",", b',"', 1), *rows[5:]])),
        "fetch: 000.csv",
    ),
    "zero_bytes": _defect(
        "a block of zero bytes, as a full disk leaves it",
        p.last_file(lambda b: b[: len(b) // 2] + bytes(4096) + b[len(b) // 2 + 4096 :]),
        "fetch: 011.csv",
    ),
    "broken_json": _defect("half a JSON object", p.chain(_JSON, p.first_file(lambda b: b[:-30])), "fetch: line"),
    "column_missing_in_one_file": _defect(
        "the newest file lacks a column", p.column_renamed("position", "pos"), "fetch: no column 'position'"
    ),
    "ids_swapped_in_the_header": _defect(
        "the header swaps user_id and item_id",
        p.chain(_ONE_FILE, p.first_file(p.swapped_header("user_id", "item_id"))),
        "validate_raw.unknown_items_rate validate_raw.unknown_users_rate validate_raw.users_with_history: item_id",
    ),
    "half_a_day": _warning(
        "the newest file ends at noon, at the end of a row",
        p.last_day(p.until_hour(12)),
        "validate_raw.covered_hours_newest_days validate_raw.hours_by_day validate_raw.rows_by_day: 2024-03-15",
    ),
    "half_a_day_of_whole_days": _defect(
        "the newest file ends at noon, from a source that promises whole days",
        p.chain(_WHOLE_DAYS, p.last_day(p.until_hour(12))),
        "validate_raw.covered_hours_newest_days: 2024-03-15",
    ),
    "evening_missing_of_whole_days": _defect(
        "the newest file ends at 20 o'clock, from a source that promises whole days",
        p.chain(_WHOLE_DAYS, p.last_day(p.until_hour(20))),
        "validate_raw.covered_hours_newest_days: 2024-03-15",
    ),
}

VALUES = {
    "user_missing": _defect("a user id is missing", p.events(p.put("user_id", 7, None)), "fetch: user_id is missing"),
    "item_missing": _defect("an item id is missing", p.events(p.put("item_id", 7, None)), "fetch: item_id is missing"),
    "time_missing": _defect("a time is missing", p.events(p.put("timestamp", 7, None)), "fetch: timestamp is missing"),
    "label_2": _defect("a label of 2", p.events(p.put("label", 7, 2)), "fetch: 0 or 1"),
    "label_missing": _defect("a label is missing", p.events(p.put("label", 7, None)), "fetch: 0 or 1"),
    "label_text": _defect(
        "labels are yes and no",
        p.events(p.assign("label", lambda r: r["label"].map({0: "no", 1: "yes"}))),
        "fetch: 0 or 1",
    ),
    "time_negative": _defect("a negative time", p.events(p.put("timestamp", 7, -5)), "fetch: outside"),
    "time_zero": _defect("a time of 0", p.events(p.put("timestamp", 7, 0)), "fetch: 1990"),
    "milliseconds": _defect(
        "milliseconds read as seconds", p.chain(_ONE_FILE, p.events(p.milliseconds)), "fetch: timestamp_unit to ms"
    ),
    "seconds": _defect(
        "seconds read as milliseconds", p.settings(fetch__table__timestamp_unit="ms"), "fetch: timestamp_unit to s"
    ),
    "time_text": _defect(
        "one time as text", p.events(p.put("timestamp", 7, "2024-03-04 00:10:00")), "fetch: expected a number"
    ),
    "time_word": _defect(
        "a word where a time belongs", p.events(p.put("timestamp", 7, "yesterday")), "fetch: yesterday"
    ),
    "infinite_price": _defect("an infinite price", p.table("items", p.put("price", 7, "inf")), "fetch: finite"),
    "comma_in_a_number": _defect("a price of 12,50", p.table("items", p.put("price", 7, "12,50")), "featurize: price"),
    "word_in_a_number": _defect(
        "positions hold one word", p.events(p.put("position", 7, "top")), "featurize: position"
    ),
    "ids_of_two_types": _defect(
        "item ids are text in the item table, integers in the events",
        p.chain(_PARQUET, p.table("items", p.assign("item_id", lambda r: r["item_id"].astype(str)))),
        "fetch: mixed id types",
    ),
    "item_twice": _defect("an item with two rows", p.table("items", p.row_again(3)), "fetch: item_id"),
    "user_twice": _defect("a user with two rows", p.table("users", p.row_again(3)), "fetch: user_id"),
    "sequence_twice": _defect(
        "a sequence number used twice",
        p.events(p.assign("sequence", lambda r: np.maximum(np.arange(len(r)), 1))),
        "fetch: sequence",
    ),
    "sequence_fraction": _defect(
        "a sequence of 3.5",
        p.events(lambda r: p.put("sequence", 7, 3.5)(r.assign(sequence=range(len(r))))),
        "fetch: whole number",
    ),
    "label_column_missing": _defect(
        "the label has another name",
        p.events(lambda r: r.rename(columns={"label": "clicked"})),
        "fetch: fetch.table.label",
    ),
    "no_such_field": _defect(
        "a declared field that the files lack", p.declared("item", "brand", "categorical"), "featurize: brand"
    ),
    "infinite_position": _defect("an infinite position", p.events(p.put("position", 7, "inf")), "fetch: finite"),
}

RAW = {
    "few_rows": _defect(
        "a log of 200 rows", p.events(lambda r: r.iloc[:: len(r) // 200]), "validate_raw.rows: min_rows"
    ),
    "no_click": _defect("no clicks at all", p.events(p.assign("label", lambda _: 0)), "validate_raw.ctr: label"),
    "clicks_alone": _defect(
        "every row is a click", p.events(p.assign("label", lambda _: 1)), "validate_raw.ctr: leave_last_out"
    ),
    "one_user": _defect(
        "all rows are of one user",
        p.events(p.assign("user_id", lambda _: 10_001)),
        "validate_raw.largest_user_share validate_raw.distinct_users: user",
    ),
    "one_item": _defect(
        "all rows are of one item", p.events(p.assign("item_id", lambda _: 501)), "validate_raw.distinct_items: item"
    ),
    "missing_day": _warning(
        "a day in the middle is missing", p.events(p.without_day(5)), "validate_raw.missing_days: days"
    ),
    "missing_day_of_a_daily_log": _defect(
        "a day in the middle is missing, from a source that promises every day",
        p.chain(p.events(p.without_day(5)), _WHOLE_DAYS),
        "validate_raw.missing_days: 2024-03-09",
    ),
    "newest_day_missing": _defect(
        "the log ends before data.until",
        p.chain(p.events(p.without_day(11)), _WHOLE_DAYS, p.settings(data__until=date(2024, 3, 15))),
        "validate_raw.days_behind_until: newest",
    ),
    "read_twice": _defect("the glob finds a file twice", p.copied, "validate_raw.duplicate_rate: read twice"),
    "day_twice": _defect("a day is delivered twice", p.last_day(p.again(0)), "validate_raw.duplicate_rate: duplicate"),
    "day_twice_in_a_long_log": _defect(
        "the newest of 130 days is delivered twice",
        p.chain(p.longer, p.last_day(p.again(0))),
        "validate_raw.duplicate_rate_newest_days: 2024-07-11",
    ),
    "day_twice_a_second_later": _defect(
        "a day is delivered twice, the second time a second later",
        p.last_day(p.again(1)),
        "validate_raw.copied_days: 2024-03-15",
    ),
    "yesterday_as_today": _defect(
        "yesterday's rows are delivered as today's",
        p.events(p.yesterdays_as_todays),
        "validate_raw.copied_days: 2024-03-15",
    ),
    "tenth_of_a_day": _defect(
        "the newest day has a tenth of its volume", p.last_day(p.keep(0.1)), "validate_raw.rows_newest_days: 2024-03-15"
    ),
    "tenfold_day": _defect(
        "the newest day has ten times its volume",
        p.last_day(p.doubled(10)),
        "validate_raw.rows_newest_days: 2024-03-15",
    ),
    "zone_shift": _defect(
        "the clock of the newest day is 8 hours ahead",
        p.chain(p.larger, p.last_day(p.shifted_hours(8))),
        "validate_raw.hours_newest_days: zone",
    ),
    "dates_without_times": _defect(
        "times of the newest day are cut to dates",
        p.last_day(p.at_midnight),
        "validate_raw.hours_newest_days: 2024-03-15",
    ),
    "row_in_2035": _defect(
        "one row of 2035", p.events(p.moved(-1, 2_051_222_400)), "validate_raw.days_far_after: 2035"
    ),
    "row_in_2001": _warning(
        "one row of 2001", p.events(p.moved(0, 1_000_000_000)), "validate_raw.days_far_before: 2001"
    ),
    "rows_a_year_later": _defect(
        "1 % of the rows are dated a year later",
        p.events(p.share_moved(0.01, 365 * DAY)),
        "validate_raw.days_far_after: 2025",
    ),
    "robots": _defect(
        "5 % of the users click everything", p.events(p.robots), "validate_raw.click_everything_rate: click"
    ),
    "one_robot": _defect(
        "one user clicks a third of the log",
        p.events(p.one_robot(0.5)),
        "validate_raw.largest_user_share validate_raw.largest_user_share_newest_days: user",
    ),
    "burst": _defect(
        "a user sees ten items a second for three minutes",
        p.events(p.burst(1800, 10)),
        "validate_raw.largest_user_share_newest_days validate_raw.duplicate_rate_newest_days: user",
    ),
    "newest_day_of_one_user": _defect(
        "one user makes the newest day",
        p.last_day(p.assign("user_id", lambda _: 10_001)),
        "validate_raw.users_newest_days validate_raw.largest_user_share_newest_days: user",
    ),
    "newest_day_of_one_item": _defect(
        "one item makes the newest day",
        p.last_day(p.assign("item_id", lambda _: 501)),
        "validate_raw.items_newest_days validate_raw.repeated_impressions_newest_days: item",
    ),
    "labels_0_on_newest_day": _defect(
        "no click arrived for the newest day",
        p.last_day(p.assign("label", lambda _: 0)),
        "validate_raw.ctr_newest_days: 2024-03-15",
    ),
    "labels_1_on_newest_day": _defect(
        "every row of the newest day is a click",
        p.last_day(p.assign("label", lambda _: 1)),
        "validate_raw.ctr_newest_days: 2024-03-15",
    ),
    "labels_flipped_on_newest_days": _defect(
        "labels of the newest two days are flipped",
        p.last_two_days(p.flipped),
        "validate_raw.ctr_newest_days validate_raw.labels_follow_values_newest_days: 2024-03-1",
    ),
    "labels_drawn_on_newest_days": _defect(
        "labels of the newest two days are random",
        p.last_two_days(p.assign("label", lambda r: np.random.default_rng(12).integers(0, 2, len(r)))),
        "validate_raw.labels_follow_values_newest_days validate_raw.ctr_of_values_newest_days: labels",
    ),
    "late_labels": _defect(
        "clicks of the newest twelve hours have not arrived",
        p.last_day(p.assign("label", lambda r: r["label"] * (r["timestamp"] % DAY < DAY // 2))),
        "validate_raw.ctr_newest_days: 2024-03-15",
    ),
    "non_clicks_lost": _defect(
        "rows without a click are dropped from the newest day",
        p.last_day(lambda r: r[(r["label"] == 1) | (np.arange(len(r)) % 10 == 0)]),
        "validate_raw.ctr_newest_days validate_raw.rows_newest_days: 2024-03-15",
    ),
    "context_missing_on_newest_days": _defect(
        "a context is missing on the newest two days",
        p.last_two_days(p.assign("tab", lambda _: None)),
        "validate_raw.missing_values_newest_days: tab",
    ),
    "context_new_on_newest_days": _defect(
        "a context has new values only on the newest two days",
        p.last_two_days(p.assign("tab", lambda r: "v2-" + r["tab"])),
        "validate_raw.new_values_newest_days: tab",
    ),
    "context_renamed_in_part": _defect(
        "one value of a context has another spelling on the newest two days",
        p.last_two_days(p.assign("device", lambda r: r["device"].replace("phone", "Phone"))),
        "validate_raw.new_values_newest_days validate_raw.lost_values_newest_days: device",
    ),
    "context_missing_before": _defect(
        "a context exists only since the newest two days",
        p.events(lambda r: r.assign(tab=np.where(p.newest(r, 2), r["tab"], None))),
        "validate_raw.new_values_newest_days validate_raw.missing_values_newest_days: tab",
    ),
    "number_half_missing": _defect(
        "half of a numeric context is missing on the newest two days",
        p.last_two_days(lambda r: r.assign(position=r["position"].where(np.arange(len(r)) % 2 == 0))),
        "validate_raw.missing_values_newest_days: position",
    ),
    "price_half_missing": _warning(
        "half of the prices are missing",
        p.table("items", lambda r: r.assign(price=r["price"].where(np.arange(len(r)) % 2 == 0))),
        "validate_features.missing_values: price",
    ),
    "number_times_1000": _defect(
        "a numeric context × 1000 on the newest two days",
        p.last_two_days(p.assign("position", lambda r: 1000 * r["position"])),
        "validate_raw.lost_values_newest_days: position",
    ),
    "items_permuted": _defect(
        "item ids of the newest day mean other items",
        p.last_day(p.permuted_ids("item_id")),
        "validate_raw.labels_follow_values_newest_days validate_features.item_order_kept: item",
    ),
    "items_of_another_space": _defect(
        "item ids of the newest day come from another id space",
        p.last_day(p.assign("item_id", lambda r: r["item_id"] + 900_000)),
        "validate_raw.missing_values_newest_days validate_raw.new_values_newest_days: item",
    ),
    "users_of_another_space": _defect(
        "user ids of the newest day come from another id space",
        p.last_day(p.assign("user_id", lambda r: r["user_id"] + 900_000)),
        "validate_raw.missing_values_newest_days validate_raw.new_values_newest_days: user",
    ),
    "leading_zeros": _defect(
        "item ids of the newest day have leading zeros",
        p.last_day(p.assign("item_id", lambda r: "0" + r["item_id"].astype(str))),
        "validate_raw.new_values_newest_days validate_raw.missing_values_newest_days: item_id",
    ),
    "prefixed_ids": _defect(
        "user ids of the newest day have a prefix",
        p.last_day(p.assign("user_id", lambda r: "u_" + r["user_id"].astype(str))),
        "validate_raw.new_values_newest_days: user_id",
    ),
    "blanks_around_ids": _defect(
        "item ids of the newest day end in a blank",
        p.last_day(p.assign("item_id", lambda r: r["item_id"].astype(str) + " ")),
        "validate_raw.new_values_newest_days: item_id",
    ),
    "float_ids": _defect(
        "item ids of the newest day are written 501.0",
        p.last_day(p.assign("item_id", lambda r: r["item_id"].astype(float).astype(str))),
        "validate_raw.new_values_newest_days: item_id",
    ),
    "users_match_nobody": _defect(
        "the user table uses another id space",
        p.table("users", p.assign("user_id", lambda r: r["user_id"] + 900_000)),
        "validate_raw.unknown_users_rate: user",
    ),
    "items_match_nothing": _defect(
        "the item table uses another id space",
        p.table("items", p.assign("item_id", lambda r: r["item_id"] + 900_000)),
        "validate_raw.unknown_items_rate: item_id",
    ),
    "half_of_the_items": _defect(
        "the item table lost half of its rows",
        p.table("items", lambda r: r.iloc[::2]),
        "validate_raw.unknown_items_rate: item_id",
    ),
    "history_of_nobody": _defect(
        "prior histories use another id space",
        p.table("history", p.assign("user_id", lambda r: r["user_id"] + 900_000)),
        "validate_raw.users_with_history validate_raw.history_tells_clicks: history",
    ),
    "history_items_unknown": _defect(
        "prior histories hold items of another id space",
        p.table("history", p.assign("item_id", lambda r: r["item_id"] + 900_000)),
        "validate_raw.history_unknown_items validate_raw.history_tells_clicks: behaviours",
    ),
    "history_after_the_log": _defect(
        "prior histories are dated after the log",
        p.table("history", p.assign("timestamp", lambda r: r["timestamp"] + 90 * DAY)),
        "validate_raw.history_after_log: history",
    ),
    "history_inside_the_log": _defect(
        "half of the prior histories are dated within the log",
        p.table("history", p.share_moved(0.5, 40 * DAY)),
        "validate_raw.history_after_log validate_raw.history_within_log: history",
    ),
    "tags_not_split": _warning(
        "tags have another separator than stated",
        p.settings(fetch__table__separators={"tags": ";"}),
        "validate_raw.lists_split: tags",
    ),
    "category_constant": _warning(
        "every item has the same category",
        p.table("items", p.assign("category", lambda _: "c0")),
        "validate_raw.constant_fields: category",
    ),
    "vector_cut": _defect(
        "an item's vector lost its last number",
        p.vectors(lambda numbers: [numbers[0][:-1], *numbers[1:]]),
        "validate_raw.vectors_of_one_length: length",
    ),
    "vector_with_nan": _defect(
        "an item's vector holds NaN",
        p.vectors(lambda numbers: np.where(np.arange(numbers.size).reshape(numbers.shape) == 3, np.nan, numbers)),
        "validate_raw.vectors_of_numbers: finite",
    ),
    "vectors_of_zeros": _warning(
        "a tenth of the items have vectors of zeros",
        p.vectors(lambda numbers: numbers * (np.arange(len(numbers)) % 10 > 0)[:, None]),
        "validate_raw.flat_vectors: zeros",
    ),
    "context_empty": _defect(
        "a context is empty text on the newest two days",
        p.chain(_PARQUET, p.last_two_days(p.assign("tab", lambda _: ""))),
        "validate_raw.missing_values_newest_days: tab",
    ),
    "category_missing_of_new_items": _defect(
        "items that appear on the newest day have no category",
        p.new_items_without_category,
        "validate_raw.missing_values_newest_days: category",
    ),
    "history_of_the_log": _defect(
        "prior histories repeat the clicks of the log",
        p.history_of_the_log,
        "validate_raw.history_repeats_log_rate: repeats",
    ),
    "behaviours_all_zero": _warning(
        "no row enters a history, and there is no prior history",
        p.chain(
            p.events(p.assign("watched", lambda _: 0)),
            p.settings(fetch__table__behaviour="watched"),
            lambda d: p.replace(d, history=None),
        ),
        "validate_raw.behaviours: histor",
    ),
}

_SLOTS = np.array(["top", "middle", "end"])


def _slots(rows: p.Frame) -> np.ndarray:
    """Return a context that depends on the label, but not on the newest two days."""
    random = np.random.default_rng(14)
    told = np.where(random.random(len(rows)) < 0.5, rows["label"] * 2, random.integers(0, 3, len(rows)))
    return _SLOTS[np.where(p.newest(rows, 2), random.permutation(told), told)]


PARTS = {
    "web_without_its_passes": _defect(
        "rows of one device without a click are missing on the newest two days",
        p.last_two_days(p.without(lambda r: (r["device"] == "web") & (r["label"] == 0))),
        "validate_raw.ctr_of_values_newest_days: rows without a click are missing",
    ),
    "women_missing": _defect(
        "rows of one gender are missing on the newest day",
        lambda d: p.last_day(p.without(lambda r: r["user_id"].map(d.users.set_index("user_id")["gender"]) == "f"))(d),
        "validate_raw.lost_values_newest_days: 'column': 'gender'",
    ),
    "categories_missing": _defect(
        "rows of three categories of items are missing on the newest two days",
        lambda d: p.last_two_days(p.without(lambda r: p.of_items(d, r, "category").isin(["c3", "c4", "c5"])))(d),
        "validate_raw.lost_values_newest_days: 'column': 'category'",
    ),
    "default_tab": _defect(
        "a default fills a context on the newest day",
        p.last_day(p.assign("tab", lambda _: "feed")),
        "validate_raw.lost_values_newest_days: its rows hold 'feed' instead",
    ),
    "positions_all_one": _defect(
        "a default fills a numeric context on the newest two days",
        p.last_two_days(p.assign("position", lambda _: 1)),
        "validate_raw.lost_values_newest_days: 'column': 'position'",
    ),
    "slots_permuted": _defect(
        "a context that tells the label is permuted on the newest two days",
        p.context("slot", "categorical", _slots),
        "validate_raw.labels_follow_values_newest_days validate_raw.ctr_of_values_newest_days: 'column': 'slot'",
    ),
    "late_clicks_of_the_evening": _defect(
        "clicks of the last three hours of the newest day have not arrived",
        p.last_day(p.assign("label", lambda r: r["label"].where(p.hour(r) < 21, 0))),
        "validate_raw.ctr_of_values_newest_days: clicks are missing",
    ),
    "clicks_of_a_category_lost": _defect(
        "clicks on items of two categories are lost on the newest two days",
        lambda d: p.chain(
            p.larger,
            lambda large: p.last_two_days(
                p.assign(
                    "label",
                    lambda r: r["label"].where(~p.of_items(large, r, "category").isin(["c1", "c2"]), 0),
                )
            )(large),
        )(d),
        "validate_raw.ctr_of_values_newest_days: 'column': 'category'",
    ),
    "pages_of_a_cache": _defect(
        "an eighth of the newest day's rows are old impressions from a cache",
        p.events(p.old_pages(0.14)),
        "validate_raw.repeated_impressions_newest_days: on earlier days",
    ),
    "an_hour_again": _defect(
        "an evening hour of the newest day comes again, an hour later",
        p.events(
            lambda r: p.pd.concat(
                [r, r[p.newest(r) & (p.hour(r) == 20)].assign(timestamp=lambda hour: hour["timestamp"] + p.HOUR)]
            )
        ),
        "validate_raw.repeated_impressions_newest_days: on the day",
    ),
    "pages_loaded_ahead": _defect(
        "a third of the newest day's impressions are logged again minutes later",
        p.last_day(p.loaded_ahead),
        "validate_raw.repeated_impressions_newest_days: on the day",
    ),
    "robots_with_changing_ids": _defect(
        "a fifth of the newest two days' rows are of robots with new ids, who click nothing",
        p.visitors(0.25, 8, lambda _: 0),
        "validate_raw.ctr_of_values_newest_days: 'value': 'new'",
    ),
    "a_crawler": _defect(
        "one new user has an eighth of the newest two days' rows",
        p.visitors(0.14, 10**6, lambda _: 0),
        "validate_raw.largest_user_share_newest_days: most_on_the_days_before",
    ),
    "histories_of_others": _defect(
        "prior histories belong to other users",
        p.table("history", p.histories_of_others),
        "validate_raw.history_tells_clicks: other users",
    ),
}

FEATURES = {
    "label_as_context": _defect(
        "the label as a context",
        p.context("bought", "categorical", lambda r: r["label"]),
        "featurize validate_features.label_leak: bought",
    ),
    "play_time_as_context": _defect(
        "feedback (play time) as a context", p.feedback_as_context, "validate_features.label_leak: play_time"
    ),
    "long_view_as_context": _defect(
        "feedback (a long view) as a context",
        p.context("long_view", "categorical", lambda r: (r["play_time"] > 15).astype(int)),
        "validate_features.label_leak validate_features.pair_leak: long_view",
    ),
    "missing_tells": _defect(
        "a context that is missing where nothing was clicked",
        p.context("coupon", "numeric", lambda r: np.where(r["label"] == 1, r["position"], np.nan)),
        "validate_features.label_leak: coupon",
    ),
    "xor": _defect("two contexts that reveal the label only together", p.xor, "validate_features.pair_leak: arm"),
    "late_leak": _defect(
        "a context that is the label on the newest three days only",
        p.context(
            "promo",
            "categorical",
            lambda r: np.where(p.newest(r, 3), r["label"], np.random.default_rng(13).integers(0, 2, len(r))),
        ),
        "validate_raw.ctr_of_values_newest_days validate_features.label_leak validate_features.label_leak_later: promo",
    ),
    "test_leak": _defect(
        "a context that is the label on the newest two days only",
        p.context(
            "promo",
            "categorical",
            lambda r: np.where(p.newest(r, 2), r["label"], np.random.default_rng(13).integers(0, 2, len(r))),
        ),
        "validate_raw.ctr_of_values_newest_days validate_features.label_leak validate_features.label_leak_later: promo",
    ),
    "item_rates": _defect(
        "a side field: the click rate of each item over the whole log",
        p.rate("items", "item_id", "ctr"),
        "validate_features.rate_of_judged_rows: ctr",
    ),
    "user_rates": _defect(
        "a user field: the click rate of each user over the whole log",
        p.rate("users", "user_id", "taste"),
        "validate_features.rate_of_judged_rows: taste",
    ),
    "user_clicks": _defect(
        "a user field: the clicks of each user over the whole log",
        p.counted("users", "user_id", "clicks"),
        "validate_features.rate_of_judged_rows: clicks",
    ),
    "users_know_the_test": _defect(
        "a user field that sums up the labels of the test days",
        p.users_know_the_test,
        "validate_raw.ctr_of_values_newest_days validate_features.label_leak_later "
        "validate_features.rate_of_judged_rows: segment",
    ),
    "histories_know_later_clicks": _defect(
        "prior histories hold the clicks of the log itself",
        p.histories_know_later_clicks,
        "validate_features.history_leak: histor",
    ),
    "short_log": _defect(
        "a log of two days under a temporal split", p.events(lambda r: r[p.days(r) >= 10]), "featurize: days"
    ),
    "no_test_rows": _defect(
        "data.until lies a month after the log", p.settings(data__until=date(2024, 4, 15)), "featurize: test"
    ),
    "few_test_rows": _defect(
        "the two test days hold 30 rows",
        p.events(lambda r: r[~p.newest(r, 2) | (np.arange(len(r)) % 70 == 0)]),
        "validate_raw.rows_newest_days validate_raw.users_newest_days validate_raw.items_newest_days: 2024-03-1",
    ),
    "all_items_new": _defect(
        "items of the test days are all new, side table included",
        lambda d: p.replace(
            p.events(p.on_newest(3, p.assign("item_id", lambda r: r["item_id"] + 5_000)))(d),
            items=p.pd.concat([d.items, d.items.assign(item_id=d.items["item_id"] + 5_000)]),
        ),
        "validate_features.unknown_items_rate validate_raw.new_values_newest_days: item",
    ),
}

LATE = {
    "raw_edited": _defect(
        "a raw file is edited after fetch",
        p.Late("fetch", p.edited("data/raw/events/*/*.parquet", p.put("label", 0, 1))),
        "validate_raw.files_match_manifest: changed",
    ),
    "raw_lost": _defect(
        "a day's file is lost after fetch",
        p.Late("fetch", p.lost("data/raw/events/*/*.parquet")),
        "validate_raw.files_match_manifest: missing",
    ),
    "raw_cut": _defect(
        "a raw file is cut in half after fetch",
        p.Late("fetch", p.cut("data/raw/events/*/*.parquet")),
        "validate_raw.files_match_manifest validate_raw.files_readable: events",
    ),
    "raw_of_another_day": _defect(
        "the raw log changes after featurize",
        p.Late("featurize", p.sealed(p.edited("data/raw/events/*/*.parquet", p.put("label", 0, 1)), p.RAW)),
        "validate_features.built_from_this_raw_log: raw log",
    ),
    "features_edited": _defect(
        "a shard is edited after featurize",
        p.Late("featurize", p.edited("data/features/shards/*/test.parquet", p.put("label", 0, 1))),
        "validate_features.files_match_manifest: changed",
    ),
    "future_in_history": _defect(
        "histories reach beyond their impression",
        p.shards("test", lambda r: r.assign(history_end=r["history_end"] + 1)),
        "validate_features.history_before_impression: future",
    ),
    "foreign_history": _defect(
        "a history is another user's",
        p.shards("test", lambda r: r.assign(user=(r["user"] + 1) % 600)),
        "validate_features.history_of_own_user validate_features.user_in_one_shard: another user",
    ),
    "item_out_of_range": _defect(
        "an item id beyond its table",
        p.shards("test", p.put("item", 0, 1_000_000)),
        "validate_features.item_in_range: items.parquet",
    ),
    "splits_overlap": _defect(
        "test rows lie among the training days",
        p.shards("test", lambda r: r.assign(timestamp=r["timestamp"] - 5 * DAY * 1_000_000)),
        "validate_features.splits_apart: split",
    ),
    "collapsed_model": _defect(
        "the trained weights are all 0",
        p.Late("train", p.scaled_weights(0.0)),
        "validate_predictions.test_prediction_std: collapsed",
    ),
    "exploded_model": _defect(
        "the trained weights are three times too large",
        p.Late("train", p.scaled_weights(3.0)),
        "validate_predictions.test_normalized_entropy: learned nothing",
    ),
    "nan_weights": _defect(
        "the trained weights are NaN",
        p.Late("train", p.scaled_weights(float("nan"))),
        "validate_predictions.test_prediction_not_null evaluate: nan",
    ),
    "nan_predictions": _defect(
        "a prediction is NaN",
        p.predictions("evaluate", p.put("prediction", 3, float("nan"))),
        "validate_predictions.test_prediction_not_null: nan",
    ),
    "prediction_above_1": _defect(
        "a prediction of 1.5",
        p.predictions("evaluate", p.put("prediction", 3, 1.5)),
        "validate_predictions.test_prediction_0_to_1: probability",
    ),
    "predictions_lost": _defect(
        "half of the predictions are lost",
        p.predictions("evaluate", lambda r: r.iloc[::2]),
        "validate_predictions.test_rows_of_features: differ from the rows",
    ),
    "predictions_too_high": _defect(
        "predictions are 1.6 times too high",
        p.predictions("evaluate", lambda r: r.assign(prediction=(1.6 * r["prediction"]).clip(upper=1))),
        "validate_predictions.test_calibration_ratio: ctr",
    ),
    "predictions_swapped": _defect(
        "predictions are swapped after they were judged",
        p.predictions("check_parity", p.shuffled("prediction")),
        "gate.validation_predictions: predictions",
    ),
    "raw_edited_before_the_gate": _defect(
        "the raw log changes before the gate",
        p.Late("check_parity", p.edited("data/raw/events/*/*.parquet", p.put("label", 0, 1))),
        "gate.validation_raw: data/raw",
    ),
    "report_edited": _defect(
        "evaluation.json claims a better AUC",
        p.Late(
            "check_parity", p.json_changed("reports/evaluation.json", lambda e: e | {"test": e["test"] | {"auc": 0.99}})
        ),
        "gate.evaluation: evaluation.json",
    ),
    "request_graph_edited": _defect(
        "weights of request.onnx change after export, resealed",
        p.Late("export", p.edited_graph("request.onnx")),
        "check_parity: probabilities differ",
    ),
    "batch_graph_edited": _defect(
        "weights of batch.onnx change after export, resealed",
        p.Late("export", p.edited_graph("batch.onnx")),
        "check_parity: probabilities differ",
    ),
    "bundle_edited": _defect(
        "a file of the bundle changes before the gate",
        p.Late("check_parity", p.cut("models/bundle/vocab/tab.parquet")),
        "gate.parity gate.bundle_mb: tab.parquet",
    ),
    "no_parity_report": _defect(
        "parity.json is missing", p.Late("check_parity", p.lost("reports/parity.json")), "gate.parity: parity.json"
    ),
}

_FEW_NEGATIVES = p.settings(featurize__keep_negatives=0.2)

COUNTING = {
    "weight_negative": _defect(
        "a negative weight", p.weighted(p.put("worth", 7, -1.0)), "validate_raw.weight_usable: worth"
    ),
    "weight_missing": _defect(
        "a missing weight", p.weighted(p.put("worth", 7, None)), "validate_raw.weight_usable: worth"
    ),
    "weight_infinite": _defect("an infinite weight", p.weighted(p.put("worth", 7, "inf")), "fetch: finite"),
    "weight_not_kept": _defect(
        "a column of weights that fetch does not keep",
        p.settings(featurize__weight="worth"),
        "validate_raw.weight_column: fetch.table.keep",
    ),
    "weight_as_context": _defect(
        "the weight is declared as a context too",
        p.chain(p.weighted(), p.declared("context", "worth", "numeric")),
        "featurize: feedback",
    ),
    "weights_all_0": _defect(
        "all weights are 0", p.weighted(p.assign("worth", lambda _: 0)), "featurize: every training row"
    ),
    "weights_a_row_off": _defect(
        "each training row has the weight of the row before it",
        p.shards("train", lambda r: r.assign(weight=np.roll(r["weight"], 1)), p.weighted()),
        "validate_features.weights_of_the_log: weight",
    ),
    "sampled_twice": _defect(
        "negatives are left out of a log whose negatives are sampled",
        p.chain(p.settings(featurize__protocol="leave_last_out"), _FEW_NEGATIVES),
        "featurize: already sampled",
    ),
    "no_negative_kept": _defect(
        "no negative of training is kept", p.settings(featurize__keep_negatives=1e-9), "featurize: keep_negatives"
    ),
    "negatives_missing_in_validation": _defect(
        "negatives are missing in the validation rows too",
        p.Late(
            "featurize",
            p.resized("valid", lambda r: r[(r["label"] == 1) | (np.arange(len(r)) % 5 == 0)]),
            _FEW_NEGATIVES,
        ),
        "validate_features.held_out_rows_whole: validation",
    ),
    "other_negatives_kept": _defect(
        "training lacks negatives that should be kept",
        p.Late(
            "featurize",
            p.resized("train", lambda r: r[(r["label"] == 1) | (np.arange(len(r)) % 7 > 0)]),
            _FEW_NEGATIVES,
        ),
        "validate_features.negatives_kept: md5",
    ),
    "offset_forgotten": _defect(
        "the manifest does not say that negatives are missing",
        p.Late("featurize", p.json_changed("data/features/manifest.json", _whole), _FEW_NEGATIVES),
        "validate_features.negatives_told: shift all",
    ),
    "trained_without_offset": _defect(
        "training does not correct for missing negatives",
        p.Late("validate_features", p.json_changed("data/features/manifest.json", _whole), _FEW_NEGATIVES),
        "validate_predictions.test_calibration_ratio: ctr",
    ),
}

GATE = {
    "labels_shuffled": _defect(
        "labels of the whole log are shuffled",
        p.events(p.shuffled("label")),
        "validate_predictions.test_normalized_entropy gate.min_auc: auc",
    ),
    "labels_shuffled_on_newest_days": _defect(
        "labels of the newest two days are shuffled",
        p.last_two_days(p.shuffled("label")),
        "validate_raw.labels_follow_values_newest_days: labels",
    ),
    "labels_of_the_next_day": _defect(
        "labels are joined a day late",
        p.events(p.assign("label", lambda r: np.roll(r["label"], -1000))),
        "validate_predictions.test_normalized_entropy gate.min_auc: auc",
    ),
    "labels_flipped": _defect(
        "labels of the whole log are flipped", p.events(p.flipped), "gate.implausible_gain gate.champion_today: gain"
    ),
    "categories_shuffled": _defect(
        "categories and tags of the items are shuffled",
        p.table(
            "items", lambda r: r.assign(**{c: np.random.default_rng(3).permutation(r[c]) for c in ("category", "tags")})
        ),
        "gate.champion_today: side tables",
    ),
    "another_catalogue": _defect(
        "the item table belongs to another catalogue with the same ids",
        p.from_other_seed,
        "gate.champion_today: side tables",
    ),
    "poor_features": _defect(
        "a candidate without item fields and histories",
        p.settings(featurize__fields={"context": {"tab": "categorical"}}, featurize__max_history=1),
        "gate.champion_delta_auc validate_predictions.test_normalized_entropy: is certain",
    ),
    "hardly_trained": _defect(
        "a candidate trained at a rate of 0.00001",
        p.settings(train__learning__learning_rate=0.00001, train__learning__epochs=1),
        "validate_predictions.test_normalized_entropy: learned nothing",
    ),
    "another_split": _defect(
        "a candidate with another split than the champion",
        p.settings(featurize__protocol="by_user"),
        "gate.champion_delta_auc: split",
    ),
    "older_log": _defect(
        "a log that ends before the champion's", p.events(lambda r: r[p.days(r) < 9]), "gate.data_until: newer"
    ),
}


def _named(section: Mapping[str, Defect]) -> tuple[Defect, ...]:
    return tuple(replace(defect, name=name) for name, defect in section.items())


SECTIONS = {
    "Files": _named(FILES),
    "Values": _named(VALUES),
    "The meaning of the log": _named(RAW),
    "Parts of a day": _named(PARTS),
    "Features": _named(FEATURES),
    "After fetch": _named(LATE),
    "Rows that count differently": _named(COUNTING),
    "Labels and models": _named(GATE),
}
DEFECTS = tuple(defect for section in SECTIONS.values() for defect in section)

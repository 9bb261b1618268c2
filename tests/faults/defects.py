"""The table of planted defects: what is wrong, which gate must catch it, how severely, and a word of its message."""

from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tests.faults import plants as p
from tests.faults.drive import Outcome, Prepared
from tests.faults.log import DAY

Severity = Literal["critical", "warning"]
_QUICK = {
    "no_click",
    "read_twice",
    "day_twice_in_a_long_log",
    "day_twice_a_second_later",
    "yesterday_as_today",
    "tenth_of_a_day",
    "half_a_day",
    "half_a_day_of_whole_days",
    "evening_missing_of_whole_days",
    "row_in_2035",
    "robots",
    "one_robot",
    "labels_0_on_newest_day",
    "context_missing_on_newest_days",
    "number_times_1000",
    "items_of_another_space",
    "leading_zeros",
    "users_match_nobody",
    "history_after_the_log",
    "vector_cut",
    "vector_with_nan",
    "vectors_of_zeros",
    "xor",
    "item_rates",
    "histories_know_later_clicks",
    "weight_negative",
    "offset_forgotten",
    "sampled_twice",
}
_LAST, _TWO = 1, 2


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
        gates: the right gates, any of which may catch it: `fetch`, `validate_raw.<expectation>`, `gate.<name>`, …
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
        """Return whether `make test` drives it: if fetch refuses it, if it spoils early files, and for some others."""
        late = self.plant if isinstance(self.plant, p.Late) else None
        early = late is not None and late.after in ("fetch", "featurize") and late.first is None
        return early or self.gates == ("fetch",) or self.name in _QUICK or self in PARTS

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


def _defect(
    name: str, what: str, plant: p.Plant | p.Late, gates: str, word: str, severity: Severity = "critical"
) -> Defect:
    return Defect(name=name, what=what, plant=plant, gates=tuple(gates.split()), word=word, severity=severity)


_WHOLE_DAYS = p.settings(fetch__table__daily=True)
_ONE_FILE = p.layout(events="one")
_GZIP = p.layout(form="csv.gz", events="one")
_PARQUET = p.layout(form="parquet")
_JSON = p.layout(form="jsonl", events="one")

FILES = (
    _defect("no_file", "no file of events", p.removed("events/*"), "fetch", "matches no file"),
    _defect("no_items_file", "no file of items", p.removed("items.csv"), "fetch", "items.csv"),
    _defect("empty_file", "a file of 0 bytes", p.first_file(lambda _: b""), "fetch", "0 bytes"),
    _defect(
        "header_alone",
        "an item table with only a header",
        p.first_file(p.lines(lambda rows: rows[:1]), "items.csv"),
        "fetch",
        "no rows",
    ),
    _defect(
        "short_gzip", "a gzip file cut short", p.chain(_GZIP, p.first_file(p.short_gzip)), "fetch", "export it again"
    ),
    _defect(
        "bad_gzip",
        "a byte flipped in a gzip file",
        p.chain(_GZIP, p.first_file(p.bad_checksum)),
        "fetch",
        "cannot be read",
    ),
    _defect("gzip_without_suffix", "gzip bytes in a file named .csv", p.first_file(p.gzip_of), "fetch", "000.csv"),
    _defect(
        "short_parquet",
        "a Parquet file cut short",
        p.chain(_PARQUET, p.last_file(lambda b: b[: len(b) // 2])),
        "fetch",
        "export it again",
    ),
    _defect(
        "wrong_delimiter",
        "semicolons instead of commas",
        p.first_file(lambda b: b.replace(b",", b";")),
        "fetch",
        "fetch.table.csv.delimiter",
    ),
    _defect("utf_16", "a file in UTF-16", p.first_file(lambda b: b.decode().encode("utf-16")), "fetch", "utf-8"),
    _defect(
        "latin_1",
        "a category in Latin-1",
        p.first_file(lambda b: b.replace(b",c1,", ",café,".encode("latin-1")), "items.csv"),
        "fetch",
        "utf-8",
    ),
    _defect(
        "header_again",
        "the header again in the middle of the file",
        p.chain(_ONE_FILE, p.first_file(p.lines(lambda rows: [*rows[:500], rows[0], *rows[500:]]))),
        "fetch",
        "timestamp",
    ),
    _defect(
        "header_twice",
        "two columns with the same name",
        p.first_file(p.lines(lambda rows: [rows[0].replace(b"device", b"tab"), *rows[1:]])),
        "fetch",
        "twice",
    ),
    _defect(
        "short_row",
        "a row with one cell too few",
        p.first_file(p.lines(lambda rows: [*rows[:9], rows[9].rsplit(b",", 1)[0] + b"\n", *rows[10:]])),
        "fetch",
        "line",
    ),
    _defect("half_a_row", "a file that ends in the middle of a row", p.last_file(lambda b: b[:-25]), "fetch", "line"),
    _defect("long_cell", "a cell of 10 MB", p.first_file(p.long_cell), "fetch", "row"),
    _defect(
        "open_quote",
        "an unclosed quote",
        p.first_file(p.lines(lambda rows: [*rows[:4], rows[4].replace(b",", b',"', 1), *rows[5:]])),
        "fetch",
        "000.csv",
    ),
    _defect(
        "zero_bytes",
        "a block of zero bytes, as a full disk leaves it",
        p.last_file(lambda b: b[: len(b) // 2] + bytes(4096) + b[len(b) // 2 + 4096 :]),
        "fetch",
        "011.csv",
    ),
    _defect("broken_json", "half a JSON object", p.chain(_JSON, p.first_file(lambda b: b[:-30])), "fetch", "line"),
    _defect(
        "column_missing_in_one_file",
        "the newest file lacks a column",
        p.column_renamed("position", "pos"),
        "fetch",
        "no column 'position'",
    ),
    _defect(
        "ids_swapped_in_the_header",
        "the header swaps user_id and item_id",
        p.chain(_ONE_FILE, p.first_file(p.swapped_header("user_id", "item_id"))),
        "validate_raw.unknown_items_rate",
        "item_id",
    ),
    _defect(
        "half_a_day",
        "the newest file ends at noon, at the end of a row",
        p.events(p.on_newest(_LAST, p.until_hour(12))),
        "validate_raw.covered_hours_newest_days validate_raw.hours_by_day validate_raw.rows_by_day",
        "2024-03-15",
        "warning",
    ),
    _defect(
        "half_a_day_of_whole_days",
        "the newest file ends at noon, from a source that promises whole days",
        p.chain(_WHOLE_DAYS, p.events(p.on_newest(_LAST, p.until_hour(12)))),
        "validate_raw.covered_hours_newest_days",
        "2024-03-15",
    ),
    _defect(
        "evening_missing_of_whole_days",
        "the newest file ends at 20 o'clock, from a source that promises whole days",
        p.chain(_WHOLE_DAYS, p.events(p.on_newest(_LAST, p.until_hour(20)))),
        "validate_raw.covered_hours_newest_days",
        "2024-03-15",
    ),
)

VALUES = (
    _defect("user_missing", "a user id is missing", p.events(p.put("user_id", 7, None)), "fetch", "user_id is missing"),
    _defect(
        "item_missing", "an item id is missing", p.events(p.put("item_id", 7, None)), "fetch", "item_id is missing"
    ),
    _defect(
        "time_missing", "a time is missing", p.events(p.put("timestamp", 7, None)), "fetch", "timestamp is missing"
    ),
    _defect("label_2", "a label of 2", p.events(p.put("label", 7, 2)), "fetch", "0 or 1"),
    _defect("label_missing", "a label is missing", p.events(p.put("label", 7, None)), "fetch", "0 or 1"),
    _defect(
        "label_text",
        "labels are yes and no",
        p.events(p.assign("label", lambda r: r["label"].map({0: "no", 1: "yes"}))),
        "fetch",
        "0 or 1",
    ),
    _defect("time_negative", "a negative time", p.events(p.put("timestamp", 7, -5)), "fetch", "outside"),
    _defect("time_zero", "a time of 0", p.events(p.put("timestamp", 7, 0)), "fetch", "1990"),
    _defect(
        "milliseconds",
        "milliseconds read as seconds",
        p.chain(_ONE_FILE, p.events(p.milliseconds)),
        "fetch",
        "timestamp_unit to ms",
    ),
    _defect(
        "seconds",
        "seconds read as milliseconds",
        p.settings(fetch__table__timestamp_unit="ms"),
        "fetch",
        "timestamp_unit to s",
    ),
    _defect(
        "time_text",
        "one time as text",
        p.events(p.put("timestamp", 7, "2024-03-04 00:10:00")),
        "fetch",
        "expected a number",
    ),
    _defect(
        "time_word", "a word where a time belongs", p.events(p.put("timestamp", 7, "yesterday")), "fetch", "yesterday"
    ),
    _defect("infinite_price", "an infinite price", p.table("items", p.put("price", 7, "inf")), "fetch", "finite"),
    _defect(
        "comma_in_a_number", "a price of 12,50", p.table("items", p.put("price", 7, "12,50")), "featurize", "price"
    ),
    _defect(
        "word_in_a_number", "positions hold one word", p.events(p.put("position", 7, "top")), "featurize", "position"
    ),
    _defect(
        "ids_of_two_types",
        "item ids are text in the item table, integers in the events",
        p.chain(_PARQUET, p.table("items", p.assign("item_id", lambda r: r["item_id"].astype(str)))),
        "fetch",
        "mixed id types",
    ),
    _defect("item_twice", "an item with two rows", p.table("items", p.row_again(3)), "fetch", "item_id"),
    _defect("user_twice", "a user with two rows", p.table("users", p.row_again(3)), "fetch", "user_id"),
    _defect(
        "sequence_twice",
        "a sequence number used twice",
        p.events(p.assign("sequence", lambda r: np.maximum(np.arange(len(r)), 1))),
        "fetch",
        "sequence",
    ),
    _defect(
        "sequence_fraction",
        "a sequence of 3.5",
        p.events(lambda r: p.put("sequence", 7, 3.5)(r.assign(sequence=range(len(r))))),
        "fetch",
        "whole number",
    ),
    _defect(
        "label_column_missing",
        "the label has another name",
        p.events(lambda r: r.rename(columns={"label": "clicked"})),
        "fetch",
        "fetch.table.label",
    ),
    _defect(
        "no_such_field",
        "a declared field that the files lack",
        p.declared("item", "brand", "categorical"),
        "featurize",
        "brand",
    ),
    _defect("infinite_position", "an infinite position", p.events(p.put("position", 7, "inf")), "fetch", "finite"),
)

RAW = (
    _defect(
        "few_rows", "a log of 200 rows", p.events(lambda r: r.iloc[:: len(r) // 200]), "validate_raw.rows", "min_rows"
    ),
    _defect("no_click", "no clicks at all", p.events(p.assign("label", lambda _: 0)), "validate_raw.ctr", "label"),
    _defect(
        "clicks_alone",
        "every row is a click",
        p.events(p.assign("label", lambda _: 1)),
        "validate_raw.ctr",
        "leave_last_out",
    ),
    _defect(
        "one_user",
        "all rows are of one user",
        p.events(p.assign("user_id", lambda _: 10_001)),
        "validate_raw.largest_user_share validate_raw.distinct_users",
        "user",
    ),
    _defect(
        "one_item",
        "all rows are of one item",
        p.events(p.assign("item_id", lambda _: 501)),
        "validate_raw.distinct_items",
        "item",
    ),
    _defect(
        "missing_day",
        "a day in the middle is missing",
        p.events(p.without_day(5)),
        "validate_raw.missing_days",
        "days",
        "warning",
    ),
    _defect(
        "missing_day_of_a_daily_log",
        "a day in the middle is missing, from a source that promises every day",
        p.chain(p.events(p.without_day(5)), _WHOLE_DAYS),
        "validate_raw.missing_days",
        "2024-03-09",
    ),
    _defect(
        "newest_day_missing",
        "the log ends before data.until",
        p.chain(p.events(p.without_day(11)), _WHOLE_DAYS, p.settings(data__until=date(2024, 3, 15))),
        "validate_raw.days_behind_until",
        "newest",
    ),
    _defect("read_twice", "the glob finds a file twice", p.copied, "validate_raw.duplicate_rate", "read twice"),
    _defect(
        "day_twice",
        "a day is delivered twice",
        p.events(p.on_newest(_LAST, p.again(0))),
        "validate_raw.duplicate_rate",
        "duplicate",
    ),
    _defect(
        "day_twice_in_a_long_log",
        "the newest of 130 days is delivered twice",
        p.chain(p.longer, p.events(p.on_newest(_LAST, p.again(0)))),
        "validate_raw.duplicate_rate_newest_days",
        "2024-07-11",
    ),
    _defect(
        "day_twice_a_second_later",
        "a day is delivered twice, the second time a second later",
        p.events(p.on_newest(_LAST, p.again(1))),
        "validate_raw.delivered_twice",
        "2024-03-15",
    ),
    _defect(
        "yesterday_as_today",
        "yesterday's rows are delivered as today's",
        p.events(p.yesterdays_as_todays),
        "validate_raw.copied_days",
        "2024-03-15",
    ),
    _defect(
        "tenth_of_a_day",
        "the newest day has a tenth of its volume",
        p.events(p.on_newest(_LAST, p.keep(0.1))),
        "validate_raw.rows_newest_days",
        "2024-03-15",
    ),
    _defect(
        "tenfold_day",
        "the newest day has ten times its volume",
        p.events(p.on_newest(_LAST, p.doubled(10))),
        "validate_raw.rows_newest_days",
        "2024-03-15",
    ),
    _defect(
        "zone_shift",
        "the clock of the newest day is 8 hours ahead",
        p.chain(p.larger, p.events(p.on_newest(_LAST, p.shifted_hours(8)))),
        "validate_raw.hours_newest_days",
        "zone",
    ),
    _defect(
        "dates_without_times",
        "times of the newest day are cut to dates",
        p.events(p.on_newest(_LAST, p.at_midnight)),
        "validate_raw.hours_newest_days",
        "2024-03-15",
    ),
    _defect(
        "row_in_2035", "one row of 2035", p.events(p.moved(-1, 2_051_222_400)), "validate_raw.days_far_after", "2035"
    ),
    _defect(
        "row_in_2001",
        "one row of 2001",
        p.events(p.moved(0, 1_000_000_000)),
        "validate_raw.days_far_before",
        "2001",
        "warning",
    ),
    _defect(
        "rows_a_year_later",
        "1 % of the rows are dated a year later",
        p.events(p.share_moved(0.01, 365 * DAY)),
        "validate_raw.days_far_after",
        "2025",
    ),
    _defect(
        "robots", "5 % of the users click everything", p.events(p.robots), "validate_raw.click_everything_rate", "click"
    ),
    _defect(
        "one_robot",
        "one user clicks a third of the log",
        p.events(p.one_robot(0.5)),
        "validate_raw.largest_user_share",
        "user",
    ),
    _defect(
        "burst",
        "a user sees ten items a second for three minutes",
        p.events(p.burst(1800, 10)),
        "validate_raw.largest_user_share_newest_days",
        "user",
    ),
    _defect(
        "newest_day_of_one_user",
        "one user makes the newest day",
        p.events(p.on_newest(_LAST, p.assign("user_id", lambda _: 10_001))),
        "validate_raw.users_newest_days",
        "user",
    ),
    _defect(
        "newest_day_of_one_item",
        "one item makes the newest day",
        p.events(p.on_newest(_LAST, p.assign("item_id", lambda _: 501))),
        "validate_raw.items_newest_days",
        "item",
    ),
    _defect(
        "labels_0_on_newest_day",
        "no click arrived for the newest day",
        p.events(p.on_newest(_LAST, p.assign("label", lambda _: 0))),
        "validate_raw.ctr_newest_days",
        "2024-03-15",
    ),
    _defect(
        "labels_1_on_newest_day",
        "every row of the newest day is a click",
        p.events(p.on_newest(_LAST, p.assign("label", lambda _: 1))),
        "validate_raw.ctr_newest_days",
        "2024-03-15",
    ),
    _defect(
        "labels_flipped_on_newest_days",
        "labels of the newest two days are flipped",
        p.events(p.on_newest(_TWO, p.flipped)),
        "validate_raw.ctr_newest_days",
        "2024-03-1",
    ),
    _defect(
        "labels_drawn_on_newest_days",
        "labels of the newest two days are random",
        p.events(p.on_newest(_TWO, p.assign("label", lambda r: np.random.default_rng(12).integers(0, 2, len(r))))),
        "validate_raw.labels_follow_values_newest_days validate_features.item_relations_kept",
        "labels",
    ),
    _defect(
        "late_labels",
        "clicks of the newest twelve hours have not arrived",
        p.events(p.on_newest(_LAST, p.assign("label", lambda r: r["label"] * (r["timestamp"] % DAY < DAY // 2)))),
        "validate_raw.ctr_newest_days",
        "2024-03-15",
    ),
    _defect(
        "non_clicks_lost",
        "rows without a click are dropped from the newest day",
        p.events(p.on_newest(_LAST, lambda r: r[(r["label"] == 1) | (np.arange(len(r)) % 10 == 0)])),
        "validate_raw.ctr_newest_days validate_raw.rows_newest_days",
        "2024-03-15",
    ),
    _defect(
        "context_missing_on_newest_days",
        "a context is missing on the newest two days",
        p.events(p.on_newest(_TWO, p.assign("tab", lambda _: None))),
        "validate_raw.missing_values_newest_days",
        "tab",
    ),
    _defect(
        "context_new_on_newest_days",
        "a context has new values only on the newest two days",
        p.events(p.on_newest(_TWO, p.assign("tab", lambda r: "v2-" + r["tab"]))),
        "validate_raw.new_values_newest_days",
        "tab",
    ),
    _defect(
        "context_renamed_in_part",
        "one value of a context has another spelling on the newest two days",
        p.events(p.on_newest(_TWO, p.assign("device", lambda r: r["device"].replace("phone", "Phone")))),
        "validate_raw.new_values_newest_days validate_raw.lost_values_newest_days validate_features.many_new_values",
        "device",
    ),
    _defect(
        "context_missing_before",
        "a context exists only since the newest two days",
        p.events(lambda r: r.assign(tab=np.where(p.newest(r, 2), r["tab"], None))),
        "validate_raw.new_values_newest_days validate_raw.missing_values_newest_days",
        "tab",
    ),
    _defect(
        "number_half_missing",
        "half of a numeric context is missing on the newest two days",
        p.events(p.on_newest(_TWO, lambda r: r.assign(position=r["position"].where(np.arange(len(r)) % 2 == 0)))),
        "validate_raw.missing_values_newest_days",
        "position",
    ),
    _defect(
        "price_half_missing",
        "half of the prices are missing",
        p.table("items", lambda r: r.assign(price=r["price"].where(np.arange(len(r)) % 2 == 0))),
        "validate_features.missing_values",
        "price",
        "warning",
    ),
    _defect(
        "number_times_1000",
        "a numeric context × 1000 on the newest two days",
        p.events(p.on_newest(_TWO, p.assign("position", lambda r: 1000 * r["position"]))),
        "validate_raw.lost_values_newest_days",
        "position",
    ),
    _defect(
        "items_permuted",
        "item ids of the newest day mean other items",
        p.events(p.on_newest(_LAST, p.permuted_ids("item_id"))),
        "validate_raw.labels_follow_values_newest_days validate_features.item_order_kept "
        "validate_features.item_relations_kept",
        "item",
    ),
    _defect(
        "items_of_another_space",
        "item ids of the newest day come from another id space",
        p.events(p.on_newest(_LAST, p.assign("item_id", lambda r: r["item_id"] + 900_000))),
        "validate_raw.missing_values_newest_days validate_raw.new_values_newest_days",
        "item",
    ),
    _defect(
        "users_of_another_space",
        "user ids of the newest day come from another id space",
        p.events(p.on_newest(_LAST, p.assign("user_id", lambda r: r["user_id"] + 900_000))),
        "validate_raw.missing_values_newest_days validate_raw.new_values_newest_days",
        "user",
    ),
    _defect(
        "leading_zeros",
        "item ids of the newest day have leading zeros",
        p.events(p.on_newest(_LAST, p.assign("item_id", lambda r: "0" + r["item_id"].astype(str)))),
        "validate_raw.new_values_newest_days",
        "item_id",
    ),
    _defect(
        "prefixed_ids",
        "user ids of the newest day have a prefix",
        p.events(p.on_newest(_LAST, p.assign("user_id", lambda r: "u_" + r["user_id"].astype(str)))),
        "validate_raw.new_values_newest_days",
        "user_id",
    ),
    _defect(
        "blanks_around_ids",
        "item ids of the newest day end in a blank",
        p.events(p.on_newest(_LAST, p.assign("item_id", lambda r: r["item_id"].astype(str) + " "))),
        "validate_raw.new_values_newest_days",
        "item_id",
    ),
    _defect(
        "float_ids",
        "item ids of the newest day are written 501.0",
        p.events(p.on_newest(_LAST, p.assign("item_id", lambda r: r["item_id"].astype(float).astype(str)))),
        "validate_raw.new_values_newest_days",
        "item_id",
    ),
    _defect(
        "users_match_nobody",
        "the user table uses another id space",
        p.table("users", p.assign("user_id", lambda r: r["user_id"] + 900_000)),
        "validate_raw.unknown_users_rate",
        "user",
    ),
    _defect(
        "items_match_nothing",
        "the item table uses another id space",
        p.table("items", p.assign("item_id", lambda r: r["item_id"] + 900_000)),
        "validate_raw.unknown_items_rate",
        "item_id",
    ),
    _defect(
        "half_of_the_items",
        "the item table lost half of its rows",
        p.table("items", lambda r: r.iloc[::2]),
        "validate_raw.unknown_items_rate",
        "item_id",
    ),
    _defect(
        "history_of_nobody",
        "prior histories use another id space",
        p.table("history", p.assign("user_id", lambda r: r["user_id"] + 900_000)),
        "validate_raw.users_with_history",
        "history",
    ),
    _defect(
        "history_items_unknown",
        "prior histories hold items of another id space",
        p.table("history", p.assign("item_id", lambda r: r["item_id"] + 900_000)),
        "validate_raw.history_unknown_items",
        "behaviours",
    ),
    _defect(
        "history_after_the_log",
        "prior histories are dated after the log",
        p.table("history", p.assign("timestamp", lambda r: r["timestamp"] + 90 * DAY)),
        "validate_raw.history_after_log",
        "history",
    ),
    _defect(
        "history_inside_the_log",
        "half of the prior histories are dated within the log",
        p.table("history", p.share_moved(0.5, 40 * DAY)),
        "validate_raw.history_after_log validate_raw.history_within_log",
        "history",
    ),
    _defect(
        "tags_not_split",
        "tags have another separator than stated",
        p.settings(fetch__table__separators={"tags": ";"}),
        "validate_raw.lists_split",
        "tags",
        "warning",
    ),
    _defect(
        "category_constant",
        "every item has the same category",
        p.table("items", p.assign("category", lambda _: "c0")),
        "validate_raw.constant_fields",
        "category",
        "warning",
    ),
    _defect(
        "vector_cut",
        "an item's vector lost its last number",
        p.vectors(lambda numbers: [numbers[0][:-1], *numbers[1:]]),
        "validate_raw.vectors_of_one_length",
        "length",
    ),
    _defect(
        "vector_with_nan",
        "an item's vector holds NaN",
        p.vectors(lambda numbers: np.where(np.arange(numbers.size).reshape(numbers.shape) == 3, np.nan, numbers)),
        "validate_raw.vectors_of_numbers",
        "finite",
    ),
    _defect(
        "vectors_of_zeros",
        "a tenth of the items have vectors of zeros",
        p.vectors(lambda numbers: numbers * (np.arange(len(numbers)) % 10 > 0)[:, None]),
        "validate_raw.flat_vectors",
        "zeros",
        "warning",
    ),
    _defect(
        "behaviours_all_zero",
        "no row enters a history, and there is no prior history",
        p.chain(
            p.events(p.assign("watched", lambda _: 0)),
            p.settings(fetch__table__behaviour="watched"),
            lambda d: p.replace(d, history=None),
        ),
        "validate_raw.behaviours",
        "histor",
        "warning",
    ),
)

_SLOTS = np.array(["top", "middle", "end"])


def _slots(rows: p.Frame) -> np.ndarray:
    """Return a context that depends on the label, but not on the newest two days."""
    random = np.random.default_rng(14)
    told = np.where(random.random(len(rows)) < 0.5, rows["label"] * 2, random.integers(0, 3, len(rows)))
    return _SLOTS[np.where(p.newest(rows, 2), random.permutation(told), told)]


PARTS = (
    _defect(
        "web_without_its_passes",
        "rows of one device without a click are missing on the newest two days",
        p.events(p.on_newest(_TWO, p.without(lambda r: (r["device"] == "web") & (r["label"] == 0)))),
        "validate_raw.ctr_of_values_newest_days",
        "rows without a click are missing",
    ),
    _defect(
        "women_missing",
        "rows of one gender are missing on the newest day",
        lambda d: p.events(
            p.on_newest(_LAST, p.without(lambda r: r["user_id"].map(d.users.set_index("user_id")["gender"]) == "f"))
        )(d),
        "validate_raw.lost_values_newest_days",
        "'column': 'gender'",
    ),
    _defect(
        "categories_missing",
        "rows of three categories of items are missing on the newest two days",
        lambda d: p.events(
            p.on_newest(_TWO, p.without(lambda r: p.of_items(d, r, "category").isin(["c3", "c4", "c5"])))
        )(d),
        "validate_raw.lost_values_newest_days",
        "'column': 'category'",
    ),
    _defect(
        "default_tab",
        "a default fills a context on the newest day",
        p.events(p.on_newest(_LAST, p.assign("tab", lambda _: "feed"))),
        "validate_raw.lost_values_newest_days",
        "its rows hold 'feed' instead",
    ),
    _defect(
        "positions_all_one",
        "a default fills a numeric context on the newest two days",
        p.events(p.on_newest(_TWO, p.assign("position", lambda _: 1))),
        "validate_raw.lost_values_newest_days",
        "'column': 'position'",
    ),
    _defect(
        "slots_permuted",
        "a context that tells the label is permuted on the newest two days",
        p.context("slot", "categorical", _slots),
        "validate_raw.labels_follow_values_newest_days validate_raw.ctr_of_values_newest_days",
        "'column': 'slot'",
    ),
    _defect(
        "late_clicks_of_the_evening",
        "clicks of the last three hours of the newest day have not arrived",
        p.events(p.on_newest(_LAST, p.assign("label", lambda r: r["label"].where(p.hour(r) < 21, 0)))),
        "validate_raw.ctr_of_values_newest_days",
        "clicks are missing",
    ),
    _defect(
        "clicks_of_a_category_lost",
        "clicks on items of two categories are lost on the newest two days",
        lambda d: p.chain(
            p.larger,
            lambda large: p.events(
                p.on_newest(
                    _TWO,
                    p.assign(
                        "label",
                        lambda r: r["label"].where(~p.of_items(large, r, "category").isin(["c1", "c2"]), 0),
                    ),
                )
            )(large),
        )(d),
        "validate_raw.ctr_of_values_newest_days",
        "'column': 'category'",
    ),
    _defect(
        "pages_of_a_cache",
        "an eighth of the newest day's rows are old impressions from a cache",
        p.events(p.old_pages(0.14)),
        "validate_raw.repeated_impressions_newest_days",
        "on earlier days",
    ),
    _defect(
        "an_hour_again",
        "an evening hour of the newest day comes again, an hour later",
        p.events(
            lambda r: p.pd.concat(
                [r, r[p.newest(r) & (p.hour(r) == 20)].assign(timestamp=lambda hour: hour["timestamp"] + p.HOUR)]
            )
        ),
        "validate_raw.delivered_again_newest_days",
        "3600",
    ),
    _defect(
        "pages_loaded_ahead",
        "a third of the newest day's impressions are logged again minutes later",
        p.events(p.on_newest(_LAST, p.loaded_ahead)),
        "validate_raw.repeated_impressions_newest_days",
        "on the day",
    ),
    _defect(
        "robots_with_changing_ids",
        "a fifth of the newest two days' rows are of robots with new ids, who click nothing",
        p.visitors(0.25, 8, lambda _: 0),
        "validate_raw.ctr_of_values_newest_days",
        "'value': 'new'",
    ),
    _defect(
        "a_crawler",
        "one new user has an eighth of the newest two days' rows",
        p.visitors(0.14, 10**6, lambda _: 0),
        "validate_raw.largest_user_share_newest_days",
        "most_on_the_days_before",
    ),
    _defect(
        "histories_of_others",
        "prior histories belong to other users",
        p.table("history", p.histories_of_others),
        "validate_raw.history_tells_clicks",
        "other users",
    ),
)

FEATURES = (
    _defect(
        "label_as_context",
        "the label as a context",
        p.context("bought", "categorical", lambda r: r["label"]),
        "featurize validate_features.label_leak",
        "bought",
    ),
    _defect(
        "play_time_as_context",
        "feedback (play time) as a context",
        p.feedback_as_context,
        "validate_features.label_leak",
        "play_time",
    ),
    _defect(
        "long_view_as_context",
        "feedback (a long view) as a context",
        p.context("long_view", "categorical", lambda r: (r["play_time"] > 15).astype(int)),
        "validate_features.label_leak validate_features.pair_leak",
        "long_view",
    ),
    _defect(
        "missing_tells",
        "a context that is missing where nothing was clicked",
        p.context("coupon", "numeric", lambda r: np.where(r["label"] == 1, r["position"], np.nan)),
        "validate_features.label_leak",
        "coupon",
    ),
    _defect(
        "xor",
        "two contexts that reveal the label only together",
        p.xor,
        "validate_features.pair_leak",
        "arm",
    ),
    _defect(
        "late_leak",
        "a context that is the label on the newest three days only",
        p.context(
            "promo",
            "categorical",
            lambda r: np.where(p.newest(r, 3), r["label"], np.random.default_rng(13).integers(0, 2, len(r))),
        ),
        "validate_raw.ctr_of_values_newest_days validate_features.label_leak validate_features.label_leak_later",
        "promo",
    ),
    _defect(
        "test_leak",
        "a context that is the label on the newest two days only",
        p.context(
            "promo",
            "categorical",
            lambda r: np.where(p.newest(r, 2), r["label"], np.random.default_rng(13).integers(0, 2, len(r))),
        ),
        "validate_raw.ctr_of_values_newest_days validate_features.label_leak validate_features.label_leak_later",
        "promo",
    ),
    _defect(
        "item_rates",
        "a side field: the click rate of each item over the whole log",
        p.rate("items", "item_id", "ctr"),
        "validate_features.rate_of_judged_rows",
        "ctr",
    ),
    _defect(
        "user_rates",
        "a user field: the click rate of each user over the whole log",
        p.rate("users", "user_id", "taste"),
        "validate_features.rate_of_judged_rows",
        "taste",
    ),
    _defect(
        "user_clicks",
        "a user field: the clicks of each user over the whole log",
        p.counted("users", "user_id", "clicks"),
        "validate_features.rate_of_judged_rows",
        "clicks",
    ),
    _defect(
        "users_know_the_test",
        "a user field that sums up the labels of the test days",
        p.users_know_the_test,
        "validate_raw.ctr_of_values_newest_days validate_features.label_leak_later "
        "validate_features.rate_of_judged_rows",
        "segment",
    ),
    _defect(
        "histories_know_later_clicks",
        "prior histories hold the clicks of the log itself",
        p.histories_know_later_clicks,
        "validate_features.history_leak",
        "histor",
    ),
    _defect(
        "short_log",
        "a log of two days under a temporal split",
        p.events(lambda r: r[p.days(r) >= 10]),
        "featurize",
        "days",
    ),
    _defect(
        "no_test_rows",
        "data.until lies a month after the log",
        p.settings(data__until=date(2024, 4, 15)),
        "featurize",
        "test",
    ),
    _defect(
        "few_test_rows",
        "the two test days hold 30 rows",
        p.events(lambda r: r[~p.newest(r, 2) | (np.arange(len(r)) % 70 == 0)]),
        "validate_raw.rows_newest_days",
        "2024-03-1",
    ),
    _defect(
        "all_items_new",
        "items of the test days are all new, side table included",
        lambda d: p.replace(
            p.events(p.on_newest(3, p.assign("item_id", lambda r: r["item_id"] + 5_000)))(d),
            items=p.pd.concat([d.items, d.items.assign(item_id=d.items["item_id"] + 5_000)]),
        ),
        "validate_features.unknown_items_rate validate_raw.new_values_newest_days",
        "item",
    ),
)

LATE = (
    _defect(
        "raw_edited",
        "a raw file is edited after fetch",
        p.Late("fetch", p.edited("data/raw/events/*/*.parquet", p.put("label", 0, 1))),
        "validate_raw.files_match_manifest",
        "changed",
    ),
    _defect(
        "raw_lost",
        "a day's file is lost after fetch",
        p.Late("fetch", p.lost("data/raw/events/*/*.parquet")),
        "validate_raw.files_match_manifest",
        "missing",
    ),
    _defect(
        "raw_cut",
        "a raw file is cut in half after fetch",
        p.Late("fetch", p.cut("data/raw/events/*/*.parquet")),
        "validate_raw.files_match_manifest validate_raw.files_readable",
        "events",
    ),
    _defect(
        "raw_of_another_day",
        "the raw log changes after featurize",
        p.Late("featurize", p.sealed(p.edited("data/raw/events/*/*.parquet", p.put("label", 0, 1)), p.RAW)),
        "validate_features.built_from_this_raw_log",
        "raw log",
    ),
    _defect(
        "features_edited",
        "a shard is edited after featurize",
        p.Late("featurize", p.edited("data/features/shards/*/test.parquet", p.put("label", 0, 1))),
        "validate_features.files_match_manifest",
        "changed",
    ),
    _defect(
        "future_in_history",
        "histories reach beyond their impression",
        p.Late(
            "featurize",
            p.sealed(
                p.edited("data/features/shards/*/test.parquet", lambda r: r.assign(history_end=r["history_end"] + 1))
            ),
        ),
        "validate_features.history_before_impression",
        "future",
    ),
    _defect(
        "foreign_history",
        "a history is another user's",
        p.Late(
            "featurize",
            p.sealed(p.edited("data/features/shards/*/test.parquet", lambda r: r.assign(user=(r["user"] + 1) % 600))),
        ),
        "validate_features.history_of_own_user validate_features.user_in_one_shard",
        "another user",
    ),
    _defect(
        "item_out_of_range",
        "an item id beyond its table",
        p.Late("featurize", p.sealed(p.edited("data/features/shards/*/test.parquet", p.put("item", 0, 1_000_000)))),
        "validate_features.item_in_range",
        "items.parquet",
    ),
    _defect(
        "splits_overlap",
        "test rows lie among the training days",
        p.Late(
            "featurize",
            p.sealed(
                p.edited(
                    "data/features/shards/*/test.parquet",
                    lambda r: r.assign(timestamp=r["timestamp"] - 5 * DAY * 1_000_000),
                )
            ),
        ),
        "validate_features.splits_apart",
        "split",
    ),
    _defect(
        "collapsed_model",
        "the trained weights are all 0",
        p.Late("train", p.scaled_weights(0.0)),
        "validate_predictions.test_prediction_std",
        "collapsed",
    ),
    _defect(
        "exploded_model",
        "the trained weights are three times too large",
        p.Late("train", p.scaled_weights(3.0)),
        "validate_predictions.test_normalized_entropy",
        "learned nothing",
    ),
    _defect(
        "nan_weights",
        "the trained weights are NaN",
        p.Late("train", p.scaled_weights(float("nan"))),
        "validate_predictions.test_prediction_not_null evaluate",
        "nan",
    ),
    _defect(
        "nan_predictions",
        "a prediction is NaN",
        p.Late("evaluate", p.edited("reports/predictions/test.parquet", p.put("prediction", 3, float("nan")))),
        "validate_predictions.test_prediction_not_null",
        "nan",
    ),
    _defect(
        "prediction_above_1",
        "a prediction of 1.5",
        p.Late("evaluate", p.edited("reports/predictions/test.parquet", p.put("prediction", 3, 1.5))),
        "validate_predictions.test_prediction_0_to_1",
        "probability",
    ),
    _defect(
        "predictions_lost",
        "half of the predictions are lost",
        p.Late("evaluate", p.edited("reports/predictions/test.parquet", lambda r: r.iloc[::2])),
        "validate_predictions.test_rows_of_features",
        "differ from the rows",
    ),
    _defect(
        "predictions_too_high",
        "predictions are 1.6 times too high",
        p.Late(
            "evaluate",
            p.edited(
                "reports/predictions/test.parquet", lambda r: r.assign(prediction=(1.6 * r["prediction"]).clip(upper=1))
            ),
        ),
        "validate_predictions.test_calibration_ratio",
        "ctr",
    ),
    _defect(
        "predictions_swapped",
        "predictions are swapped after they were judged",
        p.Late("check_parity", p.edited("reports/predictions/test.parquet", p.shuffled("prediction"))),
        "gate.validation_predictions",
        "predictions",
    ),
    _defect(
        "raw_edited_before_the_gate",
        "the raw log changes before the gate",
        p.Late("check_parity", p.edited("data/raw/events/*/*.parquet", p.put("label", 0, 1))),
        "gate.validation_raw",
        "data/raw",
    ),
    _defect(
        "report_edited",
        "evaluation.json claims a better AUC",
        p.Late(
            "check_parity", p.json_changed("reports/evaluation.json", lambda e: e | {"test": e["test"] | {"auc": 0.99}})
        ),
        "gate.evaluation",
        "evaluation.json",
    ),
    _defect(
        "request_graph_edited",
        "weights of request.onnx change after export, resealed",
        p.Late("export", p.edited_graph("request.onnx")),
        "check_parity",
        "probabilities differ",
    ),
    _defect(
        "batch_graph_edited",
        "weights of batch.onnx change after export, resealed",
        p.Late("export", p.edited_graph("batch.onnx")),
        "check_parity",
        "probabilities differ",
    ),
    _defect(
        "bundle_edited",
        "a file of the bundle changes before the gate",
        p.Late("check_parity", p.cut("models/bundle/vocab/tab.parquet")),
        "gate.parity gate.bundle_mb",
        "tab.parquet",
    ),
    _defect(
        "no_parity_report",
        "parity.json is missing",
        p.Late("check_parity", p.lost("reports/parity.json")),
        "gate.parity",
        "parity.json",
    ),
)

_FEW_NEGATIVES = p.settings(featurize__keep_negatives=0.2)

COUNTING = (
    _defect(
        "weight_negative",
        "a negative weight",
        p.weighted(p.put("worth", 7, -1.0)),
        "validate_raw.weight_usable",
        "worth",
    ),
    _defect(
        "weight_missing",
        "a missing weight",
        p.weighted(p.put("worth", 7, None)),
        "validate_raw.weight_usable",
        "worth",
    ),
    _defect("weight_infinite", "an infinite weight", p.weighted(p.put("worth", 7, "inf")), "fetch", "finite"),
    _defect(
        "weight_not_kept",
        "a column of weights that fetch does not keep",
        p.settings(featurize__weight="worth"),
        "validate_raw.weight_column",
        "fetch.table.keep",
    ),
    _defect(
        "weight_as_context",
        "the weight is declared as a context too",
        p.chain(p.weighted(), p.declared("context", "worth", "numeric")),
        "featurize",
        "feedback",
    ),
    _defect(
        "weights_all_0",
        "all weights are 0",
        p.weighted(p.assign("worth", lambda _: 0)),
        "featurize",
        "every training row",
    ),
    _defect(
        "weights_a_row_off",
        "each training row has the weight of the row before it",
        p.Late(
            "featurize",
            p.sealed(
                p.edited("data/features/shards/*/train.parquet", lambda r: r.assign(weight=np.roll(r["weight"], 1)))
            ),
            p.weighted(),
        ),
        "validate_features.weights_of_the_log",
        "weight",
    ),
    _defect(
        "sampled_twice",
        "negatives are left out of a log whose negatives are sampled",
        p.chain(p.settings(featurize__protocol="leave_last_out"), _FEW_NEGATIVES),
        "featurize",
        "already sampled",
    ),
    _defect(
        "no_negative_kept",
        "no negative of training is kept",
        p.settings(featurize__keep_negatives=1e-9),
        "featurize",
        "keep_negatives",
    ),
    _defect(
        "negatives_missing_in_validation",
        "negatives are missing in the validation rows too",
        p.Late(
            "featurize",
            p.resized("valid", lambda r: r[(r["label"] == 1) | (np.arange(len(r)) % 5 == 0)]),
            _FEW_NEGATIVES,
        ),
        "validate_features.held_out_rows_whole",
        "validation",
    ),
    _defect(
        "other_negatives_kept",
        "training lacks negatives that should be kept",
        p.Late(
            "featurize",
            p.resized("train", lambda r: r[(r["label"] == 1) | (np.arange(len(r)) % 7 > 0)]),
            _FEW_NEGATIVES,
        ),
        "validate_features.negatives_kept",
        "md5",
    ),
    _defect(
        "offset_forgotten",
        "the manifest does not say that negatives are missing",
        p.Late("featurize", p.json_changed("data/features/manifest.json", _whole), _FEW_NEGATIVES),
        "validate_features.negatives_told",
        "shift all",
    ),
    _defect(
        "trained_without_offset",
        "training does not correct for missing negatives",
        p.Late("validate_features", p.json_changed("data/features/manifest.json", _whole), _FEW_NEGATIVES),
        "validate_predictions.test_calibration_ratio",
        "ctr",
    ),
)

GATE = (
    _defect(
        "labels_shuffled",
        "labels of the whole log are shuffled",
        p.events(p.shuffled("label")),
        "validate_predictions.test_normalized_entropy gate.min_auc",
        "auc",
    ),
    _defect(
        "labels_shuffled_on_newest_days",
        "labels of the newest two days are shuffled",
        p.events(p.on_newest(_TWO, p.shuffled("label"))),
        "validate_raw.labels_follow_values_newest_days",
        "labels",
    ),
    _defect(
        "labels_of_the_next_day",
        "labels are joined a day late",
        p.events(p.assign("label", lambda r: np.roll(r["label"], -1000))),
        "validate_predictions.test_normalized_entropy gate.min_auc",
        "auc",
    ),
    _defect(
        "labels_flipped",
        "labels of the whole log are flipped",
        p.events(p.flipped),
        "gate.implausible_gain gate.champion_today",
        "gain",
    ),
    _defect(
        "categories_shuffled",
        "categories and tags of the items are shuffled",
        p.table(
            "items", lambda r: r.assign(**{c: np.random.default_rng(3).permutation(r[c]) for c in ("category", "tags")})
        ),
        "gate.champion_today",
        "side tables",
    ),
    _defect(
        "another_catalogue",
        "the item table belongs to another catalogue with the same ids",
        p.from_other_seed,
        "gate.champion_today",
        "side tables",
    ),
    _defect(
        "poor_features",
        "a candidate without item fields and histories",
        p.settings(featurize__fields={"context": {"tab": "categorical"}}, featurize__max_history=1),
        "gate.champion_delta_auc validate_predictions.test_normalized_entropy",
        "is certain",
    ),
    _defect(
        "hardly_trained",
        "a candidate trained at a rate of 0.00001",
        p.settings(train__learning__learning_rate=0.00001, train__learning__epochs=1),
        "validate_predictions.test_normalized_entropy",
        "learned nothing",
    ),
    _defect(
        "another_split",
        "a candidate with another split than the champion",
        p.settings(featurize__protocol="by_user"),
        "gate.champion_delta_auc",
        "split",
    ),
    _defect(
        "older_log",
        "a log that ends before the champion's",
        p.events(lambda r: r[p.days(r) < 9]),
        "gate.data_until",
        "newer",
    ),
)

SECTIONS = {
    "Files": FILES,
    "Values": VALUES,
    "The meaning of the log": RAW,
    "Parts of a day": PARTS,
    "Features": FEATURES,
    "After fetch": LATE,
    "Rows that count differently": COUNTING,
    "Labels and models": GATE,
}
DEFECTS = tuple(defect for section in SECTIONS.values() for defect in section)

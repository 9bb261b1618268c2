"""The planted defects: `PLANTS` makes them, and defects.csv says which gate must catch each, and how.

The columns of defects.csv:

    section   of docs/defects.md
    name      as in `PLANTS`
    defect    a phrase for the page
    gates     the right gates, any of which may catch it: `fetch`, `validate_raw.<expectation>`, `gate.<name>`, …; no
              other one of the raw suite may close
    word      of the message, in lower case
    severity  a critical gate ends the run, and a warning is only shown
    quick     yes if `make test` drives it: those in the meaning of the raw log that are quick, unless another one tries
              the same check. Files that can't be read are planted in tests/din/data/test_table_errors.py, and damaged
              features in tests/validation/test_validation_features.py
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from benchmarks.defects import plants as p
from benchmarks.defects.delivery import DAY, HOUR
from benchmarks.defects.drive import Outcome, Prepared

Severity = Literal["critical", "warning"]
_EARLY = ("fetch", "validate_raw", "featurize", "validate_features")
TABLE = Path(__file__).with_name("defects.csv")


@dataclass(frozen=True, kw_only=True)
class Defect:
    """One defect, as a row of defects.csv describes it."""

    name: str
    what: str
    plant: p.Plant | p.Late
    gates: tuple[str, ...]
    word: str
    severity: Severity
    quick: bool

    @property
    def early(self) -> bool:
        """Whether fetch, featurize or one of the first two suites should catch it."""
        return all(gate.split(".")[0] in _EARLY for gate in self.gates)

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
        messages = outcome.closed if self.severity == "critical" else outcome.warned
        return next((gate for gate in self.gates if self.word in messages.get(gate, "").lower()), None)

    def verdict(self, outcome: Outcome) -> Literal["right", "late", "missed"]:
        """Return whether the right gate caught it, another one closed, or none."""
        if self.caught_by(outcome):
            return "right"
        return "late" if outcome.closed else "missed"


_WHOLE_DAYS = p.settings(fetch__table__daily=True)
_FEW_NEGATIVES = p.settings(featurize__keep_negatives=0.2)
_SCRATCH = p.settings(train__start="scratch", train__champion=None)
_ONE_FILE = p.layout(events="one")
_GZIP = p.layout(form="csv.gz", events="one")
_PARQUET = p.layout(form="parquet")
_JSON = p.layout(form="jsonl", events="one")


def _whole(manifest: dict) -> dict:
    """Return a features manifest that says nothing of missing negatives."""
    return {key: value for key, value in manifest.items() if key != "negatives"}


def _slots(rows: p.Frame) -> np.ndarray:
    """Return a context that depends on the label, but not on the newest two days."""
    random = np.random.default_rng(14)
    slots = np.where(random.random(len(rows)) < 0.5, rows["label"] * 2, random.integers(0, 3, len(rows)))
    return np.array(["top", "middle", "end"])[np.where(p.newest(rows, 2), random.permutation(slots), slots)]


PLANTS: dict[str, p.Plant | p.Late] = {
    "no_file": p.removed("events/*"),
    "no_items_file": p.removed("items.csv"),
    "empty_file": p.first_file(lambda _: b""),
    "header_alone": p.first_file(p.lines(lambda rows: rows[:1]), "items.csv"),
    "short_gzip": p.chain(_GZIP, p.first_file(p.short_gzip)),
    "bad_gzip": p.chain(_GZIP, p.first_file(p.bad_checksum)),
    "gzip_without_suffix": p.first_file(p.gzip_of),
    "short_parquet": p.chain(_PARQUET, p.last_file(lambda b: b[: len(b) // 2])),
    "wrong_delimiter": p.first_file(lambda b: b.replace(b",", b";")),
    "utf_16": p.first_file(lambda b: b.decode().encode("utf-16")),
    "latin_1": p.first_file(lambda b: b.replace(b",c1,", ",café,".encode("latin-1")), "items.csv"),
    "header_again": p.chain(_ONE_FILE, p.first_file(p.lines(lambda rows: [*rows[:500], rows[0], *rows[500:]]))),
    "header_twice": p.first_file(p.lines(lambda rows: [rows[0].replace(b"device", b"tab"), *rows[1:]])),
    "short_row": p.first_file(p.lines(lambda rows: [*rows[:9], rows[9].rsplit(b",", 1)[0] + b"\n", *rows[10:]])),
    "half_a_row": p.last_file(lambda b: b[:-25]),
    "long_cell": p.first_file(p.long_cell),
    "open_quote": p.first_file(p.lines(lambda rows: [*rows[:4], rows[4].replace(b",", b',"', 1), *rows[5:]])),
    "zero_bytes": p.last_file(lambda b: b[: len(b) // 2] + bytes(4096) + b[len(b) // 2 + 4096 :]),
    "broken_json": p.chain(_JSON, p.first_file(lambda b: b[:-30])),
    "column_missing_in_one_file": p.column_renamed("position", "pos"),
    "ids_swapped_in_the_header": p.chain(_ONE_FILE, p.first_file(p.swapped_header("user_id", "item_id"))),
    "half_a_day": p.last_day(p.until_hour(12)),
    "half_a_day_of_whole_days": p.chain(_WHOLE_DAYS, p.last_day(p.until_hour(12))),
    "evening_missing_of_whole_days": p.chain(_WHOLE_DAYS, p.last_day(p.until_hour(20))),
    "user_missing": p.events(p.put("user_id", 7, None)),
    "item_missing": p.events(p.put("item_id", 7, None)),
    "time_missing": p.events(p.put("timestamp", 7, None)),
    "label_2": p.events(p.put("label", 7, 2)),
    "label_missing": p.events(p.put("label", 7, None)),
    "label_text": p.events(p.assign("label", lambda r: r["label"].map({0: "no", 1: "yes"}))),
    "time_negative": p.events(p.put("timestamp", 7, -5)),
    "time_zero": p.events(p.put("timestamp", 7, 0)),
    "milliseconds": p.chain(_ONE_FILE, p.events(p.milliseconds)),
    "seconds": p.settings(fetch__table__timestamp_unit="ms"),
    "time_text": p.events(p.put("timestamp", 7, "2024-03-04 00:10:00")),
    "time_word": p.events(p.put("timestamp", 7, "yesterday")),
    "infinite_price": p.table("items", p.put("price", 7, "inf")),
    "comma_in_a_number": p.table("items", p.put("price", 7, "12,50")),
    "word_in_a_number": p.events(p.put("position", 7, "top")),
    "ids_of_two_types": p.chain(_PARQUET, p.table("items", p.assign("item_id", lambda r: r["item_id"].astype(str)))),
    "item_twice": p.table("items", p.row_again(3)),
    "user_twice": p.table("users", p.row_again(3)),
    "sequence_twice": p.events(p.assign("sequence", lambda r: np.maximum(np.arange(len(r)), 1))),
    "sequence_fraction": p.events(lambda r: p.put("sequence", 7, 3.5)(r.assign(sequence=range(len(r))))),
    "label_column_missing": p.events(lambda r: r.rename(columns={"label": "clicked"})),
    "no_such_field": p.declared("item", "brand", "categorical"),
    "infinite_position": p.events(p.put("position", 7, "inf")),
    "few_rows": p.events(lambda r: r.iloc[:: len(r) // 200]),
    "no_click": p.events(p.assign("label", lambda _: 0)),
    "clicks_alone": p.events(p.assign("label", lambda _: 1)),
    "one_user": p.events(p.assign("user_id", lambda _: 10_001)),
    "one_item": p.events(p.assign("item_id", lambda _: 501)),
    "missing_day": p.events(p.without_day(5)),
    "missing_day_of_a_daily_log": p.chain(p.events(p.without_day(5)), _WHOLE_DAYS),
    "newest_day_missing": p.chain(p.events(p.without_day(11)), _WHOLE_DAYS, p.settings(data__until=date(2024, 3, 15))),
    "read_twice": p.copied,
    "day_twice": p.last_day(p.again(0)),
    "day_twice_in_a_long_log": p.chain(p.longer, p.last_day(p.again(0))),
    "day_twice_a_second_later": p.last_day(p.again(1)),
    "yesterday_as_today": p.events(p.yesterdays_as_todays),
    "tenth_of_a_day": p.last_day(p.keep(0.1)),
    "tenfold_day": p.last_day(p.doubled(10)),
    "zone_shift": p.chain(p.larger, p.last_day(p.shifted_hours(8))),
    "dates_without_times": p.last_day(p.at_midnight),
    "row_in_2035": p.events(p.moved(-1, 2_051_222_400)),
    "row_in_2001": p.events(p.moved(0, 1_000_000_000)),
    "rows_a_year_later": p.events(p.share_moved(0.01, 365 * DAY)),
    "robots": p.events(p.robots),
    "one_robot": p.events(p.one_robot(0.5)),
    "burst": p.events(p.burst(1800, 10)),
    "newest_day_of_one_user": p.last_day(p.assign("user_id", lambda _: 10_001)),
    "newest_day_of_one_item": p.last_day(p.assign("item_id", lambda _: 501)),
    "labels_0_on_newest_day": p.last_day(p.assign("label", lambda _: 0)),
    "labels_1_on_newest_day": p.last_day(p.assign("label", lambda _: 1)),
    "labels_flipped_on_newest_days": p.last_two_days(p.flipped),
    "labels_drawn_on_newest_days": p.last_two_days(
        p.assign("label", lambda r: np.random.default_rng(12).integers(0, 2, len(r)))
    ),
    "late_labels": p.last_day(p.assign("label", lambda r: r["label"] * (r["timestamp"] % DAY < DAY // 2))),
    "non_clicks_lost": p.last_day(lambda r: r[(r["label"] == 1) | (np.arange(len(r)) % 10 == 0)]),
    "context_missing_on_newest_days": p.last_two_days(p.assign("tab", lambda _: None)),
    "context_new_on_newest_days": p.last_two_days(p.assign("tab", lambda r: "v2-" + r["tab"])),
    "context_renamed_in_part": p.last_two_days(p.assign("device", lambda r: r["device"].replace("phone", "Phone"))),
    "context_missing_before": p.events(lambda r: r.assign(tab=np.where(p.newest(r, 2), r["tab"], None))),
    "number_half_missing": p.last_two_days(
        lambda r: r.assign(position=r["position"].where(np.arange(len(r)) % 2 == 0))
    ),
    "price_half_missing": p.table("items", lambda r: r.assign(price=r["price"].where(np.arange(len(r)) % 2 == 0))),
    "number_times_1000": p.last_two_days(p.assign("position", lambda r: 1000 * r["position"])),
    "numbers_times_100_in_part": p.last_two_days(p.scaled("position", 0.2, 100)),
    "times_by_100_in_part": p.last_two_days(p.scaled("play_time", 0.2, 0.01)),
    "numbers_by_100_in_part": p.last_two_days(p.scaled("position", 0.2, 0.01)),
    "items_permuted": p.last_day(p.permuted_ids("item_id")),
    "items_of_another_space": p.last_day(p.assign("item_id", lambda r: r["item_id"] + 900_000)),
    "users_of_another_space": p.last_day(p.assign("user_id", lambda r: r["user_id"] + 900_000)),
    "leading_zeros": p.last_day(p.assign("item_id", lambda r: "0" + r["item_id"].astype(str))),
    "prefixed_ids": p.last_day(p.assign("user_id", lambda r: "u_" + r["user_id"].astype(str))),
    "blanks_around_ids": p.last_day(p.assign("item_id", lambda r: r["item_id"].astype(str) + " ")),
    "users_match_nobody": p.table("users", p.assign("user_id", lambda r: r["user_id"] + 900_000)),
    "items_match_nothing": p.table("items", p.assign("item_id", lambda r: r["item_id"] + 900_000)),
    "half_of_the_items": p.table("items", lambda r: r.iloc[::2]),
    "history_of_nobody": p.table("history", p.assign("user_id", lambda r: r["user_id"] + 900_000)),
    "history_items_unknown": p.table("history", p.assign("item_id", lambda r: r["item_id"] + 900_000)),
    "history_after_the_log": p.table("history", p.assign("timestamp", lambda r: r["timestamp"] + 90 * DAY)),
    "history_inside_the_log": p.table("history", p.share_moved(0.5, 40 * DAY)),
    "tags_not_split": p.settings(fetch__table__separators={"tags": ";"}),
    "category_constant": p.table("items", p.assign("category", lambda _: "c0")),
    "vector_cut": p.vectors(lambda numbers: [numbers[0][:-1], *numbers[1:]]),
    "vector_with_nan": p.vectors(
        lambda numbers: np.where(np.arange(numbers.size).reshape(numbers.shape) == 3, np.nan, numbers)
    ),
    "vectors_of_zeros": p.vectors(lambda numbers: numbers * (np.arange(len(numbers)) % 10 > 0)[:, None]),
    "context_empty": p.chain(_PARQUET, p.last_two_days(p.assign("tab", lambda _: ""))),
    "category_missing_of_new_items": p.new_items_without_category,
    "history_of_the_log": p.history_of_the_log,
    "behaviours_all_zero": p.chain(
        p.events(p.assign("watched", lambda _: 0)),
        p.settings(fetch__table__behaviour="watched"),
        lambda d: p.replace(d, history=None),
    ),
    "web_without_its_passes": p.last_two_days(p.without(lambda r: (r["device"] == "web") & (r["label"] == 0))),
    "women_missing": lambda d: p.last_day(
        p.without(lambda r: r["user_id"].map(d.users.set_index("user_id")["gender"]) == "f")
    )(d),
    "categories_missing": lambda d: p.last_two_days(
        p.without(lambda r: p.of_items(d, r, "category").isin(["c3", "c4", "c5"]))
    )(d),
    "default_tab": p.last_day(p.assign("tab", lambda _: "feed")),
    "positions_all_one": p.last_two_days(p.assign("position", lambda _: 1)),
    "slots_permuted": p.context("slot", "categorical", _slots),
    "late_clicks_of_the_evening": p.last_day(p.assign("label", lambda r: r["label"].where(p.hour(r) < 21, 0))),
    "clicks_of_a_category_lost": lambda d: p.chain(
        p.larger,
        lambda large: p.last_two_days(
            p.assign(
                "label",
                lambda r: r["label"].where(~p.of_items(large, r, "category").isin(["c1", "c2"]), 0),
            )
        )(large),
    )(d),
    "pages_of_a_cache": p.events(p.old_pages(0.14)),
    "an_hour_again": p.events(
        lambda r: pd.concat(
            [r, r[p.newest(r) & (p.hour(r) == 20)].assign(timestamp=lambda hour: hour["timestamp"] + HOUR)]
        )
    ),
    "pages_loaded_ahead": p.last_day(p.loaded_ahead),
    "robots_with_changing_ids": p.visitors(0.25, 8, lambda _: 0),
    "default_item": p.last_two_days(p.mostly("item_id", 0.3)),
    "a_crawler": p.visitors(0.14, 10**6, lambda _: 0),
    "histories_of_others": p.table("history", p.histories_of_others),
    "label_as_context": p.context("bought", "categorical", lambda r: r["label"]),
    "play_time_as_context": p.feedback_as_context,
    "long_view_as_context": p.context("long_view", "categorical", lambda r: (r["play_time"] > 15).astype(int)),
    "missing_tells": p.context("coupon", "numeric", lambda r: np.where(r["label"] == 1, r["position"], np.nan)),
    "xor": p.xor,
    "late_leak": p.context(
        "promo",
        "categorical",
        lambda r: np.where(p.newest(r, 3), r["label"], np.random.default_rng(13).integers(0, 2, len(r))),
    ),
    "test_leak": p.context(
        "promo",
        "categorical",
        lambda r: np.where(p.newest(r, 2), r["label"], np.random.default_rng(13).integers(0, 2, len(r))),
    ),
    "item_rates": p.rate("items", "item_id", "ctr"),
    "user_rates": p.rate("users", "user_id", "taste"),
    "user_clicks": p.counted("users", "user_id", "clicks"),
    "item_grades": p.graded("items", "item_id", "grade"),
    "clicks_of_the_users_day": p.clicks_of_the_day("user_id"),
    "clicks_of_the_items_day": p.clicks_of_the_day("item_id"),
    "users_know_the_test": p.users_know_the_test,
    "histories_know_later_clicks": p.histories_know_later_clicks,
    "short_log": p.events(lambda r: r[p.days(r) >= 10]),
    "no_test_rows": p.settings(data__until=date(2024, 4, 15)),
    "few_test_rows": p.events(lambda r: r[~p.newest(r, 2) | (np.arange(len(r)) % 70 == 0)]),
    "all_items_new": lambda d: p.replace(
        p.events(p.on_newest(3, p.assign("item_id", lambda r: r["item_id"] + 5_000)))(d),
        items=pd.concat([d.items, d.items.assign(item_id=d.items["item_id"] + 5_000)]),
    ),
    "raw_edited": p.Late("fetch", p.edited("data/raw/events/*/*.parquet", p.put("label", 0, 1))),
    "raw_lost": p.Late("fetch", p.lost("data/raw/events/*/*.parquet")),
    "raw_cut": p.Late("fetch", p.cut("data/raw/events/*/*.parquet")),
    "raw_of_another_day": p.Late(
        "featurize", p.sealed(p.edited("data/raw/events/*/*.parquet", p.put("label", 0, 1)), p.RAW)
    ),
    "features_edited": p.Late("featurize", p.edited("data/features/shards/*/test.parquet", p.put("label", 0, 1))),
    "future_in_history": p.shards("test", lambda r: r.assign(history_end=r["history_end"] + 1)),
    "foreign_history": p.shards("test", lambda r: r.assign(user=(r["user"] + 1) % 600)),
    "item_out_of_range": p.shards("test", p.put("item", 0, 1_000_000)),
    "splits_overlap": p.shards("test", lambda r: r.assign(timestamp=r["timestamp"] - 5 * DAY * 1_000_000)),
    "collapsed_model": p.Late("train", p.scaled_weights(0.0)),
    "exploded_model": p.Late("train", p.scaled_weights(3.0)),
    "nan_weights": p.Late("train", p.scaled_weights(float("nan"))),
    "nan_predictions": p.predictions("evaluate", p.put("prediction", 3, float("nan"))),
    "prediction_above_1": p.predictions("evaluate", p.put("prediction", 3, 1.5)),
    "predictions_lost": p.predictions("evaluate", lambda r: r.iloc[::2]),
    "predictions_too_high": p.predictions(
        "evaluate", lambda r: r.assign(prediction=(1.6 * r["prediction"]).clip(upper=1))
    ),
    "predictions_swapped": p.predictions("check_parity", p.shuffled("prediction")),
    "raw_edited_before_the_gate": p.Late("check_parity", p.edited("data/raw/events/*/*.parquet", p.put("label", 0, 1))),
    "report_edited": p.Late(
        "check_parity", p.json_changed("reports/evaluation.json", lambda e: e | {"test": e["test"] | {"auc": 0.99}})
    ),
    "request_graph_edited": p.Late("export", p.edited_graph("request.onnx")),
    "batch_graph_edited": p.Late("export", p.edited_graph("batch.onnx")),
    "bundle_edited": p.Late("check_parity", p.cut("models/bundle/vocab/tab.parquet")),
    "no_parity_report": p.Late("check_parity", p.lost("reports/parity.json")),
    "weight_negative": p.weighted(p.put("worth", 7, -1.0)),
    "weight_missing": p.weighted(p.put("worth", 7, None)),
    "weight_infinite": p.weighted(p.put("worth", 7, "inf")),
    "weight_not_kept": p.settings(featurize__weight="worth"),
    "weight_as_context": p.chain(p.weighted(), p.declared("context", "worth", "numeric")),
    "weights_all_0": p.weighted(p.assign("worth", lambda _: 0)),
    "weights_a_row_off": p.shards("train", lambda r: r.assign(weight=np.roll(r["weight"], 1)), p.weighted()),
    "sampled_twice": p.chain(p.settings(featurize__protocol="leave_last_out"), _FEW_NEGATIVES),
    "no_negative_kept": p.settings(featurize__keep_negatives=1e-9),
    "negatives_missing_in_validation": p.Late(
        "featurize",
        p.resized("valid", lambda r: r[(r["label"] == 1) | (np.arange(len(r)) % 5 == 0)]),
        _FEW_NEGATIVES,
    ),
    "other_negatives_kept": p.Late(
        "featurize",
        p.resized("train", lambda r: r[(r["label"] == 1) | (np.arange(len(r)) % 7 > 0)]),
        _FEW_NEGATIVES,
    ),
    "offset_forgotten": p.Late("featurize", p.json_changed("data/features/manifest.json", _whole), _FEW_NEGATIVES),
    "trained_without_offset": p.Late(
        "validate_features", p.json_changed("data/features/manifest.json", _whole), p.chain(_SCRATCH, _FEW_NEGATIVES)
    ),
    "labels_shuffled": p.events(p.shuffled("label")),
    "labels_shuffled_on_newest_days": p.last_two_days(p.shuffled("label")),
    "clicks_of_the_next_row": p.last_two_days(p.credited_to_the_next(0.4)),
    "labels_of_the_next_day": p.events(p.assign("label", lambda r: np.roll(r["label"], -1000))),
    "labels_flipped": p.chain(_SCRATCH, p.events(p.flipped)),
    "categories_shuffled": p.chain(
        _SCRATCH,
        p.table(
            "items",
            lambda r: r.assign(**{c: np.random.default_rng(3).permutation(r[c]) for c in ("category", "tags")}),
        ),
    ),
    "another_catalogue": p.chain(_SCRATCH, p.from_other_seed),
    "poor_features": p.chain(
        _SCRATCH, p.settings(featurize__fields={"context": {"tab": "categorical"}}, featurize__max_history=1)
    ),
    "hardly_trained": p.chain(_SCRATCH, p.settings(train__learning__learning_rate=0.00001, train__learning__epochs=1)),
    "another_split": p.chain(_SCRATCH, p.settings(featurize__protocol="by_user")),
    "older_log": p.chain(_SCRATCH, p.events(lambda r: r[p.days(r) < 9])),
}


def _read() -> Mapping[str, tuple[Defect, ...]]:
    """Return the defects of each section."""
    sections: dict[str, tuple[Defect, ...]] = {}
    with TABLE.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            defect = Defect(
                name=row["name"],
                what=row["defect"],
                plant=PLANTS[row["name"]],
                gates=tuple(row["gates"].split()),
                word=row["word"],
                severity="warning" if row["severity"] == "warning" else "critical",
                quick=row["quick"] == "yes",
            )
            sections[row["section"]] = (*sections.get(row["section"], ()), defect)
    return sections


SECTIONS = _read()
DEFECTS = tuple(defect for section in SECTIONS.values() for defect in section)

"""Sound deliveries that differ as real teams' do: no suite may close on them, and the gate opens."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from benchmarks.defects import plants as p
from benchmarks.defects.delivery import DAY, HOUR, START, Delivery, Frame, Size, draw
from benchmarks.defects.drive import DAILY, Outcome, drive, promote, start, until_yesterday


@dataclass(frozen=True)
class Variant:
    """One sound delivery.

    Attributes:
        what: a phrase for the page.
        change: changes the delivery.
        size: the size of the log. Where a model is judged, it is at least `DAILY`, since the gate demands proof.
        seed: the seed of the draw; 0: its place in the table decides.
        trained: whether the gate judges a model of it. A log in another form has the same model.
        champion: whether it continues a champion of the same log up to the day before.
        quick: the last stage to which `make test` drives it, or "" if it doesn't.
        name: unique.
    """

    what: str
    change: p.Plant = lambda delivery: delivery
    size: Size = DAILY
    seed: int = 0
    trained: bool = True
    champion: bool = False
    quick: Literal["", "validate_raw", "validate_features"] = ""
    name: str = ""

    def delivery(self) -> Delivery:
        """Draw the delivery and change it."""
        return self.change(draw(self.seed, self.size))

    def drive(self, workspace: Path, last: str = "gate") -> Outcome:
        """Drive it up to `last`, or to the features if no model of it is judged."""
        delivery = self.delivery()
        if last == "gate" and not self.trained:
            last = "validate_features"
        settings: Mapping[str, Any] = {}
        if self.champion and last == "gate":
            registry = workspace.with_name(f"{workspace.name}-registry").absolute()
            settings = promote(until_yesterday(delivery), workspace.with_name(f"{workspace.name}-yesterday"), registry)
        return drive(workspace, start(delivery, workspace, **settings), last=last)


def _text_ids(delivery: Delivery) -> Delivery:
    def text(rows: Frame) -> Frame:
        forms = {"user_id": "u{}", "item_id": "sku-{:07d}"}
        return rows.assign(**{name: rows[name].map(form.format) for name, form in forms.items() if name in rows})

    return _everywhere(text)(delivery)


def _long_ids(delivery: Delivery) -> Delivery:
    def long(rows: Frame) -> Frame:
        return rows.assign(**{name: rows[name] * 7_777_777_777_777 for name in ("user_id", "item_id") if name in rows})

    return _everywhere(long)(delivery)


def _padded_ids(delivery: Delivery) -> Delivery:
    return _everywhere(
        lambda rows: rows.assign(item_id=rows["item_id"].map("{:08d}".format)) if "item_id" in rows else rows
    )(delivery)


def _everywhere(change: p.Change) -> p.Plant:
    return p.chain(*(p.table(name, change) for name in ("events", "items", "users", "history")))


def _iso(rows: Frame) -> Frame:
    return rows.assign(timestamp=pd.to_datetime(rows["timestamp"], unit="s").dt.strftime("%Y-%m-%dT%H:%M:%SZ"))


def _milliseconds(rows: Frame) -> Frame:
    return rows.assign(timestamp=1000 * rows["timestamp"] + np.arange(len(rows)) % 1000)


def _without(*names: str) -> p.Plant:
    groups = {"items": "item", "users": "user"}
    gone = {groups[name] for name in names if name in groups}
    fields = {group: kinds for group, kinds in p.FIELDS.items() if group not in gone} | {
        group: {"user_id": "id"} for group in gone & {"user"}
    }
    separators = {} if "items" in names else {"tags": "|"}
    return p.chain(
        lambda delivery: replace(delivery, **dict.fromkeys(names)),
        p.settings(featurize__fields=fields, fetch__table__separators=separators),
    )


def _holes(rows: Frame) -> Frame:
    random = np.random.default_rng(21)
    gone = {name: rows[name].where(random.random(len(rows)) > 0.05) for name in ("tab", "position", "device")}
    return rows.assign(**gone)


def _few_duplicates(rows: Frame) -> Frame:
    return pd.concat([rows, rows.sample(frac=0.003, random_state=22)]).sort_values("timestamp", ignore_index=True)


def _as_lists(delivery: Delivery) -> Delivery:
    by_user = delivery.history.groupby("user_id")
    lists = by_user.agg(watched=("item_id", lambda ids: "|".join(map(str, ids))), last=("timestamp", "max"))
    fields = p.FIELDS | {"behaviour": {}}
    return replace(delivery, history=lists.reset_index()).set(
        fetch__table__history_columns={"item_id": "watched", "timestamp": "last"},
        fetch__table__separators={"tags": "|", "watched": "|"},
        fetch__table__keep=("tab", "position", "device"),
        featurize__fields=fields,
    )


def _honest_rate(delivery: Delivery) -> Delivery:
    clicks = delivery.history["item_id"].value_counts()
    liked = delivery.items["item_id"].map(clicks).fillna(0).astype(int)
    changed = replace(delivery, items=delivery.items.assign(liked=liked))
    return p.declared("item", "liked", "numeric")(changed)


def _new_version(delivery: Delivery) -> Delivery:
    random = np.random.default_rng(24)
    share = np.clip((p.days(delivery.events) - 5) * 0.15, 0, 1)
    version = np.where(random.random(len(delivery.events)) < share, "5.1", "5.0")
    return p.context("version", "categorical", lambda _: version)(delivery)


def _shown_again(rows: Frame) -> Frame:
    again = rows.sample(frac=0.2, random_state=25)
    later = np.random.default_rng(26).integers(30, 3_000, len(again))
    day_end = START + (p.days(again) + 1) * DAY - 1
    return pd.concat([rows, again.assign(timestamp=np.minimum(again["timestamp"] + later, day_end), label=0)])


def _quiet_web(rows: Frame) -> Frame:
    gone = p.newest(rows) & (rows["device"] == "web") & (np.arange(len(rows)) % 2 == 0)
    return rows[~gone]


def _shuffled(rows: Frame) -> Frame:
    return rows.sample(frac=1, random_state=23, ignore_index=True)


_VARIANTS = {
    **{f"seed_{seed}": Variant(f"seed {seed}", seed=seed, champion=True) for seed in range(21, 25)},
    **{f"seed_{seed}": Variant(f"seed {seed}", seed=seed) for seed in (25, 26)},
    "rows_reversed": Variant("newest rows first", change=p.events(lambda r: r.iloc[::-1]), trained=False),
    "rows_shuffled": Variant(
        "rows in any order", change=p.chain(p.layout(events="one"), p.events(_shuffled)), trained=False
    ),
    "one_file": Variant("one file", change=p.layout(events="one"), trained=False),
    "two_halves": Variant("two files that each hold every second row", change=p.layout(events="halves"), trained=False),
    "gzip": Variant("CSV.gz", change=p.layout(form="csv.gz"), trained=False),
    "parquet": Variant("Parquet", change=p.layout(form="parquet"), trained=False),
    "json_lines": Variant(
        "JSON-lines", change=p.layout(form="jsonl", events="one"), quick="validate_raw", trained=False
    ),
    "byte_order_mark": Variant(
        "a byte order mark", change=p.every_file(lambda content: b"\xef\xbb\xbf" + content), trained=False
    ),
    "windows_lines": Variant(
        "Windows line endings", change=p.every_file(lambda content: content.replace(b"\n", b"\r\n")), trained=False
    ),
    "columns_reordered": Variant(
        "columns in another order", change=p.events(lambda r: r[list(r.columns[::-1])]), trained=False
    ),
    "column_more": Variant(
        "an extra column", change=p.events(p.assign("session", lambda r: np.arange(len(r)) // 3)), trained=False
    ),
    "text_ids": Variant("ids as text", change=_text_ids, trained=False),
    "padded_ids": Variant("item ids with leading zeros everywhere", change=_padded_ids, trained=False),
    "long_ids": Variant("ids of 17 digits", change=_long_ids, trained=False),
    "float_ids": Variant(
        "item ids of the newest day written 501.0",
        change=p.last_day(p.assign("item_id", lambda r: r["item_id"].astype(float).astype(str))),
        trained=False,
    ),
    "iso_times": Variant(
        "times in ISO 8601",
        change=p.chain(
            p.layout(events="one"),
            p.events(_iso),
            p.table("history", _iso),
            p.settings(fetch__table__timestamp_unit="iso"),
        ),
        trained=False,
    ),
    "milliseconds": Variant(
        "times in milliseconds",
        change=p.chain(
            p.layout(events="one"),
            p.events(_milliseconds),
            p.table("history", _milliseconds),
            p.settings(fetch__table__timestamp_unit="ms"),
        ),
        trained=False,
    ),
    "east": Variant(
        "days cut 8 hours ahead of UTC",
        change=p.chain(
            p.events(lambda r: r.assign(timestamp=r["timestamp"] - 8 * HOUR)),
            p.table("history", lambda r: r.assign(timestamp=r["timestamp"] - 8 * HOUR)),
            p.settings(fetch__table__utc_offset_hours=8),
        ),
        trained=False,
    ),
    "first_day_from_noon": Variant(
        "a log that begins at noon", change=p.events(lambda r: r[r["timestamp"] >= START + DAY // 2])
    ),
    "until": Variant(
        "data.until two days before the end",
        change=p.settings(data__until=date(2024, 3, 15)),
        size=replace(DAILY, days=14),
    ),
    "by_user": Variant("protocol by_user", change=p.settings(featurize__protocol="by_user"), quick="validate_features"),
    "leave_last_out": Variant(
        "protocol leave_last_out", change=p.settings(featurize__protocol="leave_last_out"), quick="validate_features"
    ),
    "no_items": Variant("no item table", change=_without("items"), trained=False),
    "no_users": Variant("no user table", change=_without("users")),
    "no_history": Variant("no prior history", change=_without("history")),
    "events_alone": Variant("only the event table", change=_without("items", "users", "history"), trained=False),
    "history_as_lists": Variant("prior history as lists", change=_as_lists, trained=False),
    "small": Variant(
        "2,400 rows of 150 users", size=Size(users=150, a_day=200), trained=False, quick="validate_features"
    ),
    "large": Variant("40,000 rows of 2,000 users", size=replace(DAILY, users=2_000, a_day=3_300)),
    "four_weeks": Variant("28 days", size=replace(DAILY, days=28, a_day=1_000)),
    "long": Variant(
        "130 days, and 0.3 % of the rows occur twice",
        size=Size(days=130, a_day=150),
        change=p.events(_few_duplicates),
        trained=False,
        quick="validate_raw",
    ),
    "weekend": Variant("the test days are a weekend", size=replace(DAILY, days=14)),
    "monday": Variant("the test days are a Sunday and a Monday", size=replace(DAILY, days=15)),
    "growth": Variant("volume grows by 5 % a day", size=replace(DAILY, growth=0.05), champion=True),
    "decline": Variant("volume falls by 4 % a day", size=replace(DAILY, growth=-0.04)),
    "promotion": Variant(
        "the newest day has twice its volume",
        size=replace(DAILY, volumes={11: 2.0}),
        champion=True,
        quick="validate_raw",
    ),
    "tiny_first_days": Variant(
        "the first five of ten days have a twentieth of the volume",
        size=replace(DAILY, days=10, volumes=dict.fromkeys(range(5), 0.05)),
        trained=False,
        quick="validate_features",
    ),
    "promotion_before": Variant("a day in the middle has twice its volume", size=replace(DAILY, volumes={5: 2.0})),
    "holiday": Variant("the newest day has 30 % less volume", size=replace(DAILY, volumes={11: 0.7})),
    "holiday_of_whole_days": Variant(
        "the newest day has 40 % less volume, from a source that promises whole days",
        size=replace(DAILY, volumes={11: 0.6}),
        change=p.settings(fetch__table__daily=True),
        quick="validate_raw",
    ),
    "weekend_of_whole_days": Variant(
        "the test days are a weekend, from a source that promises whole days",
        size=replace(DAILY, days=14),
        change=p.settings(fetch__table__daily=True),
        quick="validate_raw",
    ),
    "holiday_of_new_users": Variant(
        "the newest two days have 80 % more rows, all of new users",
        change=p.visitors(0.8, 3, lambda rows: rows["label"]),
        quick="validate_raw",
    ),
    "new_version": Variant(
        "a new version of the app takes over within six days, the newest among them",
        change=_new_version,
        quick="validate_raw",
    ),
    "new_tab": Variant(
        "a new tab takes a quarter of the newest day's rows",
        change=p.events(
            p.on_newest(1, p.assign("tab", lambda r: r["tab"].where(np.arange(len(r)) % 4 > 0, "holidays")))
        ),
        quick="validate_raw",
    ),
    "quiet_web": Variant(
        "one device has half of its rows on the newest day", change=p.events(_quiet_web), quick="validate_raw"
    ),
    "shown_again": Variant(
        "a fifth of the impressions are shown again on the same day, on all days",
        change=p.events(_shown_again),
        quick="validate_raw",
    ),
    "new_items": Variant(
        "a third of the items appear during the log", size=replace(DAILY, new_items=0.35), champion=True
    ),
    "new_users": Variant("half of the users appear during the log", size=replace(DAILY, new_users=0.5)),
    "heavy_users": Variant("few users make most of the log", size=replace(DAILY, heavy=1.4)),
    "sparse_histories": Variant("at most three clicks from before the log", size=replace(DAILY, prior=3)),
    "rare_clicks": Variant("a CTR of 10 %", size=replace(DAILY, base=-3.8, a_day=4_000)),
    "frequent_clicks": Variant("a CTR of 60 %", size=replace(DAILY, base=-0.3)),
    "holes": Variant("5 % of every context are missing", change=p.events(_holes)),
    "few_duplicates": Variant("0.3 % of the rows occur twice", change=p.events(_few_duplicates)),
    "weights": Variant("rows with weights", change=p.weighted(), seed=31, champion=True),
    "kept_negatives": Variant(
        "a third of training's negatives at a CTR of 10 %",
        change=p.settings(featurize__keep_negatives=0.35),
        size=replace(DAILY, base=-3.8, a_day=4_000),
        seed=31,
        champion=True,
    ),
    "counting": Variant(
        "weights and half of the negatives of training, under by_user",
        change=p.chain(
            p.weighted(),
            p.settings(
                featurize__protocol="by_user",
                featurize__keep_negatives=0.5,
            ),
        ),
        seed=163,
        quick="validate_features",
    ),
    "vectors": Variant(
        "an item field: a vector of the item's category", change=p.vectors(), seed=164, quick="validate_features"
    ),
    "honest_counts": Variant("an item field: clicks from before the log", change=_honest_rate, seed=165),
}
VARIANTS = tuple(
    replace(variant, name=name, seed=variant.seed or 100 + place)
    for place, (name, variant) in enumerate(_VARIANTS.items())
)

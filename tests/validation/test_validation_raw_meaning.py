"""The last phases of the raw suite: the meaning of the log."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import weeks
from planting import failed, judge, limits, names
from weeks import DAY, DAYS, FIRST, LAST, Weeks, sound

from din.params import Params
from din.reports import ALWAYS
from validation.raw import PHASES

FAR = np.datetime64("2035-06-01T12:00:00", "us")


@pytest.fixture
def enter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in a folder of its own."""
    monkeypatch.chdir(tmp_path)


def fewer(share: float) -> Callable[[Weeks], None]:
    """Keep a share of the last day's rows."""

    def plant(log: Weeks) -> None:
        random = np.random.default_rng(1)
        log.events = log.events[~log.last | (random.random(len(log.events)) < share)]

    return plant


def until(hour: int) -> Callable[[Weeks], None]:
    """Keep the last day's rows before an hour."""

    def plant(log: Weeks) -> None:
        end = FIRST + (DAYS - 1) * DAY + np.timedelta64(hour, "h")
        log.events = log.events[log.events["timestamp"] < end]

    return plant


def labels(change: Callable[[pd.Series], Any]) -> Callable[[Weeks], None]:
    """Change the last two days' labels."""

    def plant(log: Weeks) -> None:
        rows = log.events["timestamp"] >= FIRST + (DAYS - 2) * DAY
        log.events.loc[rows, "label"] = change(log.events.loc[rows, "label"])

    return plant


def random_labels(label: pd.Series) -> np.ndarray:
    """Shuffle the labels of the last two days."""
    return np.random.default_rng(2).permutation(label.to_numpy())


def shift(hours: int) -> Callable[[Weeks], None]:
    """Turn the last day's clock within the day."""

    def plant(log: Weeks) -> None:
        start = FIRST + (DAYS - 1) * DAY
        into = log.events.loc[log.last, "timestamp"] - start + np.timedelta64(hours, "h")
        log.events.loc[log.last, "timestamp"] = start + into % DAY

    return plant


def one_user(log: Weeks) -> None:
    """Give all rows of the last day to eight users."""
    log.events.loc[log.last, "user_id"] = log.events.loc[log.last, "user_id"] % 8 + 1


def flood(log: Weeks) -> None:
    """Give half as many rows again to one user of the last day."""
    again = log.day(DAYS - 1).sample(frac=0.5, random_state=4)
    log.add(again.assign(user_id=7, timestamp=lambda rows: rows["timestamp"] - np.timedelta64(90, "s")))


def one_item(log: Weeks) -> None:
    """Show eight items alone on the last day."""
    log.events.loc[log.last, "item_id"] = log.events.loc[log.last, "item_id"] % 8 + 1


def yesterday_again(log: Weeks) -> None:
    """Deliver the log of the day before as the last day."""
    log.events = log.events[~log.last]
    log.add(log.day(DAYS - 2).assign(timestamp=lambda rows: rows["timestamp"] + DAY))


def twice(seconds: float) -> Callable[[Weeks], None]:
    """Deliver one day again, a moment later."""
    later = np.timedelta64(int(seconds * 1e6), "us")
    return lambda log: log.add(log.day(9).assign(timestamp=lambda rows: rows["timestamp"] + later))


def part_again(day: int) -> Callable[[Weeks], None]:
    """Deliver 40 rows of a day again, at the same times: much of the day, and little of the log."""
    return lambda log: log.add(log.day(day).head(40))


def robots(share: float) -> Callable[[Weeks], None]:
    """Let some users, all with many impressions, click everything."""

    def plant(log: Weeks) -> None:
        rows = log.events["user_id"].value_counts()
        many = rows[rows >= 15].index.to_numpy()
        chosen = np.random.default_rng(3).choice(many, max(1, round(share * len(many))), replace=False)
        log.events.loc[log.events["user_id"].isin(chosen), "label"] = 1

    return plant


def crowd(rows: int, over: np.timedelta64) -> Callable[[Weeks], None]:
    """Add rows of one user within a time, on the sixth day."""

    def plant(log: Weeks) -> None:
        again = log.day(5).sample(rows, replace=True, random_state=4)
        steps = np.arange(rows) * (over.astype("timedelta64[us]") // rows)
        log.add(again.assign(user_id=7, timestamp=FIRST + 5 * DAY + np.timedelta64(9, "h") + steps))

    return plant


def dated(time: np.datetime64, daily: bool = False) -> Callable[[Weeks], None]:
    """Date one row elsewhere, in a log whose source promises every day or not."""

    def plant(log: Weeks) -> None:
        log.daily = daily
        log.add(log.day(3).head(1).assign(timestamp=time))

    return plant


def column(name: str, change: Callable[[pd.DataFrame], Any], days: int = 2) -> Callable[[Weeks], None]:
    """Change a column on the last days."""

    def plant(log: Weeks) -> None:
        rows = log.events["timestamp"] >= FIRST + (DAYS - days) * DAY
        log.events[name] = log.events[name].astype(object)
        log.events.loc[rows, name] = change(log.events[rows])
        log.events[name] = log.events[name].convert_dtypes()

    return plant


def half_missing(rows: pd.DataFrame) -> np.ndarray:
    """Remove every second value."""
    return np.where(np.arange(len(rows)) % 2, None, rows["price"])


def other_items(log: Weeks) -> None:
    """Give the last day's items other ids."""
    log.events.loc[log.last, "item_id"] += 10**6


def permuted_items(log: Weeks) -> None:
    """Let each item's id mean another item on the last two days."""
    rows = log.events["timestamp"] >= FIRST + (DAYS - 2) * DAY
    other = np.random.default_rng(5).permutation(weeks.ITEMS) + 1
    log.events.loc[rows, "item_id"] = other[log.events.loc[rows, "item_id"] - 1]


def missing_category(log: Weeks) -> None:
    """Remove the category of half of the items, which only the last day shows."""
    fresh = log.items["item_id"] > 100
    log.items.loc[fresh, "category"] = None
    older = ~log.last & (log.events["item_id"] > 100)
    log.events.loc[older, "item_id"] -= 100


def users_of_nobody(log: Weeks) -> None:
    """Number the users of the table differently."""
    log.users["user_id"] += 10**6


def form(key: str, table: str, change: str) -> Callable[[Weeks], None]:
    """Write ids as text, in one table in another form."""

    def plant(log: Weeks) -> None:
        log.map_ids(key, "{}")
        frame = getattr(log, table)
        frame[key] = frame[key].map(change.format)

    return plant


def form_of_last_day(change: str) -> Callable[[Weeks], None]:
    """Write item ids as text, on the last day in another form."""

    def plant(log: Weeks) -> None:
        log.map_ids("item_id", "{}")
        log.events.loc[log.last, "item_id"] = log.events.loc[log.last, "item_id"].map(change.format)

    return plant


def history_later(days: int) -> Callable[[Weeks], None]:
    """Date the prior history later."""

    def plant(log: Weeks) -> None:
        log.history["timestamp"] = log.history["timestamp"] + days * DAY

    return plant


def history_of_log(log: Weeks) -> None:
    """Put the log's own clicks into the history."""
    clicks = log.events.loc[log.events["label"] == 1, ["user_id", "item_id", "timestamp", "sequence"]]
    log.history = pd.concat([log.history, clicks], ignore_index=True)


def history_of_others(log: Weeks) -> None:
    """Number the history's users differently."""
    log.history["user_id"] += 10**6


def part_of_yesterday(log: Weeks) -> None:
    """Deliver the first 600 rows of the day before again on the last day."""
    log.add(log.day(DAYS - 2).head(600).assign(timestamp=lambda rows: rows["timestamp"] + DAY))


def an_hour_again(log: Weeks) -> None:
    """Deliver the rows of 20 o'clock again, dated an hour later."""
    day = log.day(DAYS - 1)
    log.add(
        day[day["timestamp"].dt.hour == 20].assign(timestamp=lambda rows: rows["timestamp"] + np.timedelta64(1, "h"))
    )


def part(rows: str, kept: str) -> Callable[[Weeks], None]:
    """Keep, of some rows of the last day, only others."""

    def plant(log: Weeks) -> None:
        joined = log.events.merge(log.items, on="item_id", how="left")
        log.events = log.events[(~log.last | ~joined.eval(rows) | joined.eval(kept)).to_numpy()]

    return plant


def robots_of_a_day(log: Weeks) -> None:
    """Let a hundred users come on the last day alone, and click nothing."""
    fresh = log.day(DAYS - 1).sample(300, random_state=7)
    log.add(fresh.assign(user_id=weeks.USERS + 1 + np.arange(300) % 100, label=0, behaviour=0))
    more = pd.DataFrame({"user_id": weeks.USERS + 1 + np.arange(100), "age": 30})
    log.users = pd.concat([log.users, more], ignore_index=True)


FOLLOWS = "labels_follow_values_newest_days"

# the planted defect, the critical expectations that must fail while others hold, and a text that the samples must show
DEFECTS: dict[str, tuple[Callable[[Weeks], None], set[str], str]] = {
    "a tenth of the last day": (fewer(0.1), {"rows_newest_days"}, LAST),
    "the last day until noon": (until(12), {"covered_hours_newest_days"}, LAST),
    "a last day of few users": (one_user, {"users_newest_days", "largest_user_share_newest_days", FOLLOWS}, LAST),
    "a last day of few items": (one_item, {"items_newest_days", "repeated_impressions_newest_days", FOLLOWS}, LAST),
    "labels all 0": (labels(lambda label: 0), {"ctr_newest_days"}, LAST),
    "labels all 1": (labels(lambda label: 1), {"ctr_newest_days"}, LAST),
    "labels flipped": (labels(lambda label: 1 - label), {"ctr_newest_days", FOLLOWS}, LAST),
    "labels at random": (labels(random_labels), {FOLLOWS}, "correlation"),
    "items permuted": (permuted_items, {FOLLOWS}, LAST),
    "clock 8 hours late": (shift(8), {"hours_newest_days"}, LAST),
    "clock 8 hours early": (shift(-8), {"hours_newest_days"}, LAST),
    "yesterday again": (yesterday_again, {"copied_days"}, LAST),
    "a day twice, a second apart": (twice(1), {"copied_days"}, "2024-03-13"),
    "a part of yesterday again": (part_of_yesterday, {"repeated_impressions_newest_days"}, "on earlier days"),
    "an hour again": (an_hour_again, {"repeated_impressions_newest_days"}, "on the day"),
    "a tab without its rows without a click": (
        part("tab == 'feed'", "label == 1"),
        {"ctr_of_values_newest_days"},
        "feed",
    ),
    "a tab without rows": (part("tab == 'feed'", "False"), {"lost_values_newest_days"}, "its rows are missing"),
    "categories without rows": (part("category < '2'", "False"), {"lost_values_newest_days"}, "category"),
    "a default fills a context": (
        column("tab", lambda rows: "home"),
        {"lost_values_newest_days"},
        "hold 'home' instead",
    ),
    "robots come as new users": (robots_of_a_day, {"ctr_of_values_newest_days"}, "new"),
    "numbers times 10": (column("price", lambda rows: rows["price"] * 10), {"lost_values_newest_days"}, "price"),
    "a part of the last day again": (part_again(DAYS - 1), {"duplicate_rate_newest_days"}, LAST),
    "a twentieth of users click everything": (robots(0.05), {"click_everything_rate"}, "clicks"),
    "a user with most events": (crowd(6000, 12 * np.timedelta64(1, "h")), {"largest_user_share", "copied_days"}, "7"),
    "a user with a third of the last day": (flood, {"largest_user_share_newest_days"}, "share"),
    "one row in 2035": (dated(FAR), {"days_far_after"}, "2035-06-01"),
    "one row in 2035 of a daily log": (dated(FAR, daily=True), {"days_far_after", "missing_days"}, "2035-06-01"),
    "context null": (column("tab", lambda rows: None), {"missing_values_newest_days"}, "tab"),
    "context empty": (column("tab", lambda rows: ""), {"missing_values_newest_days"}, "tab"),
    "half of a number gone": (column("price", half_missing), {"missing_values_newest_days"}, "price"),
    "context new": (column("tab", lambda rows: "v2_" + rows["tab"]), {"new_values_newest_days"}, "v2_"),
    "number times 1000": (column("price", lambda rows: rows["price"] * 1000), {"lost_values_newest_days"}, "price"),
    "items of another space": (other_items, {"new_values_newest_days", "missing_values_newest_days"}, "1000"),
    "new items without category": (missing_category, {"missing_values_newest_days"}, "category"),
    "users of nobody": (users_of_nobody, {"unknown_users_rate"}, "events"),
    "item table with zeros": (
        form("item_id", "items", "00{}"),
        {"unknown_items_rate"},
        "1",
    ),
    "user table with floats": (
        form("user_id", "users", "{}.0"),
        {"unknown_users_rate"},
        "1",
    ),
    "history with prefixes": (
        form("user_id", "history", "user_{}"),
        {"users_with_history"},
        "user_",
    ),
    "history with blanks": (
        form("item_id", "history", " {}"),
        {"history_unknown_items"},
        " ",
    ),
    "history after the log": (history_later(60), {"history_after_log"}, "2024-0"),
    "history of the log": (history_of_log, {"history_repeats_log_rate"}, "2024-03"),
    "history of others": (history_of_others, {"users_with_history"}, "of_history"),
} | {
    f"last day's ids as {change!r}": (
        form_of_last_day(change),
        {"new_values_newest_days", "missing_values_newest_days"},
        "was_written",
    )
    for change in ("00{}", "item_{}", " {}", "{}.0")
}


def worth_a_look(log: Weeks) -> None:
    """Change an older day much, and the newest days not at all."""
    random = np.random.default_rng(6)
    day = log.day(11)
    rows = log.events.index.isin(day.index)
    log.events.loc[rows, "tab"] = None
    log.events = log.events[~rows | (random.random(len(log.events)) < 0.1)]


def few_forms(log: Weeks) -> None:
    """Write a few ids of the events in another form."""
    log.map_ids("item_id", "{}")
    log.map_ids("user_id", "{}")
    for key, change in (("item_id", "0{}"), ("user_id", "User-{}")):
        at = log.events.columns.get_loc(key)
        log.events.iloc[5:9, at] = log.events.iloc[5:9, at].map(change.format)


def part_twice(log: Weeks) -> None:
    """Deliver the first 300 rows of a day again, two seconds later."""
    log.add(log.day(9).head(300).assign(timestamp=lambda rows: rows["timestamp"] + np.timedelta64(2, "s")))


def half_known_history(log: Weeks) -> None:
    """Put some of the log's clicks into the history."""
    log.history["timestamp"] = log.history["timestamp"] + 30 * DAY
    log.history = log.history[log.history["timestamp"] < FIRST + DAYS * DAY].reset_index(drop=True)
    clicks = log.events.loc[log.events["label"] == 1, ["user_id", "item_id", "timestamp", "sequence"]]
    log.history = pd.concat([log.history, clicks.head(len(log.history) // 10)], ignore_index=True)


# the planted defect, and exactly the warnings that must be given; nothing is critical
WARNINGS: dict[str, tuple[Callable[[Weeks], None], set[str]]] = {
    "an older day of a tenth, without tab": (worth_a_look, {"rows_by_day", "users_by_day", "missing_values_by_day"}),
    "a quarter of the last day": (fewer(0.25), {"rows_by_day"}),
    "the last day until 22 o'clock": (until(22), {"covered_hours_by_day"}),
    "a few ids in other forms": (
        few_forms,
        {
            "unknown_items",
            "unknown_users",
        },
    ),
    "a part of a day twice": (part_twice, {"repeated_impressions_by_day"}),
    "a part of an older day again": (part_again(9), {"duplicate_rate_by_day"}),
    "a user of 400 events a minute": (
        crowd(400, np.timedelta64(50, "s")),
        {"largest_user_share_by_day"},
    ),
    "a row of long ago": (dated(np.datetime64("2015-06-01T12:00:00", "us")), {"days_far_before", "missing_days"}),
    "a history within the log": (half_known_history, {"history_within_log", "history_repeats_log"}),
    "an unread column is gone": (column("session", lambda rows: None), {"missing_values_by_day"}),
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_each_defect_closes_its_expectation(defect: str, enter: None, params: Params) -> None:
    """The named critical expectations fail, all others hold, and the sample shows the defect."""
    plant, expected, shown = DEFECTS[defect]
    log = sound()
    plant(log)
    log.write()
    found = failed(judge("raw", params))
    assert found.keys() == expected
    assert any(shown in str(row) for entry in found.values() for row in entry["sample"])


@pytest.mark.parametrize("defect", WARNINGS)
def test_less_is_a_warning(defect: str, enter: None, params: Params) -> None:
    """Nothing closes, and exactly the named warnings are given, each with a sample."""
    plant, expected = WARNINGS[defect]
    log = sound()
    plant(log)
    log.write()
    report = judge("raw", params)
    assert not failed(report)
    warnings = failed(report, "warning")
    assert warnings.keys() == expected
    assert all(entry["sample"] for name, entry in warnings.items() if name != "history_within_log")


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("rows", [60, weeks.ROWS])
def test_sound_logs_are_open(seed: int, rows: int, enter: None, params: Params) -> None:
    """Weekends, growth and the noise of a small log raise neither an alarm nor a warning."""
    sound(seed, rows).write()
    report = judge("raw", params)
    assert not failed(report) and not failed(report, "warning")


@pytest.mark.parametrize("protocol", ["by_user", "leave_last_out"])
@pytest.mark.parametrize("defect", ["a tenth of the last day", "labels flipped", "context null", "one row in 2035"])
def test_newest_days_close_only_a_temporal_split(defect: str, protocol: str, enter: None, params: Params) -> None:
    """If the split is not by days, a strange day is only a warning."""
    log = sound()
    log.protocol = protocol
    DEFECTS[defect][0](log)
    log.write()
    report = judge("raw", params)
    assert not failed(report) and failed(report, "warning")


@pytest.mark.parametrize("mode", ["warning", "off"])
def test_strange_days_can_be_let_through(mode: str, enter: None, params: Params) -> None:
    """`validate_raw.strange_days` turns the critical expectations on days into warnings, or off."""
    log = sound()
    fewer(0.1)(log)
    log.write()
    report = judge("raw", limits(params, "validate_raw", strange_days=mode))
    assert not failed(report)
    assert ("rows_newest_days" in failed(report, "warning")) == (mode == "warning")


def test_short_logs_are_not_judged_by_day(enter: None, params: Params) -> None:
    """With fewer than five days before validation, there are no expectations on days."""
    log = sound()
    log.events = log.events[log.events["timestamp"] < FIRST + 7 * DAY]
    log.write()
    report = judge("raw", params)
    assert not failed(report)
    assert not [entry["name"] for entry in report["expectations"] if entry["name"].endswith("_newest_days")]


def test_a_log_that_repeats_itself_has_no_copies(enter: None, params: Params) -> None:
    """Mails sent to the same users at the same time every day are not a copied file."""
    log = sound()
    mails = [log.day(0).head(800).assign(timestamp=lambda rows, n=n: rows["timestamp"] + n * DAY) for n in range(DAYS)]
    log.events = pd.concat(mails, ignore_index=True)
    log.events["sequence"] = np.arange(len(log.events))
    log.write()
    report = judge("raw", params)
    assert not {name for name in failed(report) if "copied" in name}


def test_every_expectation_has_a_defect(enter: None, params: Params) -> None:
    """Every expectation of the last phases needs a planted defect, here or in test_validation_values.py."""
    log = sound()
    for key in ("user_id", "item_id"):
        log.map_ids(key, "{}")
    log.write()
    planted = set().union(*(expected for _, expected, _ in DEFECTS.values()))
    planted |= set().union(*(expected for _, expected in WARNINGS.values()))
    # one function judges both severities of a figure, both side tables, both kinds of id, and both units of time
    planted |= {name.replace("_newest_days", "_by_day") for name in planted}
    planted |= {name.replace("item", "user") for name in planted}
    planted |= {"constant_fields", "history_unknown_items", "lists_split"}
    planted |= {"vectors_of_numbers", "vectors_of_one_length", "flat_vectors"}
    assert names(PHASES, params, "tables", "meaning") <= planted


@pytest.mark.parametrize("rows", [20, 300])
def test_a_log_too_small_to_judge_has_what_gates_demand(rows: int, enter: None, params: Params) -> None:
    """Three days, with few rows and users or with many, lack none of the expectations that every log must pass."""
    log = sound()
    log.events = pd.concat([log.day(number).head(rows) for number in range(3)])
    log.write()
    report = judge("raw", limits(params, "validate_raw", min_rows=1))
    assert failed(report) == {}
    assert {entry["name"] for entry in report["expectations"] if entry["severity"] == "critical"} >= ALWAYS["raw"]

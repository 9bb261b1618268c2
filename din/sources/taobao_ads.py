"""Taobao's display ads, impressions of eight days, from the publisher's files: `fetch.source: taobao-ads`.

`fetch.options.path` is a folder with raw_sample.csv (26 M impressions), ad_feature.csv and user_profile.csv. If
`behaviours` names kinds of behaviour (pv, cart, fav, buy), it also holds behavior_log.csv (723 M rows of 22 days).

An item is an ad (adgroup_id). `clk` is the label, and `nonclk` must be its opposite. The behaviour log names a category
and a brand but no ad, so each pair of them is an item of its own, with a negative id made of both, and without campaign
or price. Its rows enter histories with their kind as the behaviour field `btag` (`clk` for a clicked ad). They are read
from `behaviour_days` days before the first impression until the last impression.

Times are shifted to Beijing time (UTC+8), so that days match the publisher's. The publisher trains on 2017-05-06 …
05-12 and tests on 05-13, which is `featurize.test_days: 1`.

Source: https://tianchi.aliyun.com/dataset/56 (Ad Display/Click Data on Taobao.com).
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from typing import ClassVar

from din.errors import InputError, listed
from din.params import Table
from din.params import fetch as blocks
from din.schema import ITEM_ID, LABEL, SEQUENCE
from din.sources import SOURCES
from din.sources.files import File
from din.sources.publisher import BEIJING, Publisher
from din.sources.rawlog import RawLog
from din.sources.rows import Check, Rows, quoted
from din.workspace import Workspace

_PROFILE = ("cms_segid", "cms_group_id", "final_gender_code", "age_level", "pvalue_level", "shopping_level")
_PROFILE += ("occupation", "new_user_class_level")
_AD = {
    "cate_id": "categorical",
    "brand": "id",
    "campaign_id": "id",
    "customer": "id",
    "price": {"kind": "numeric", "buckets": 10},
}
FIELDS = {"user": dict.fromkeys(_PROFILE, "categorical"), "item": _AD, "context": {"pid": "categorical"}}
_TYPES: dict[str, str] = dict.fromkeys(("user", "userid", "adgroup_id", "time_stamp", "cate", "brand"), "BIGINT")
_TYPES |= dict.fromkeys(("clk", "nonclk", "noclk"), "TINYINT")
_TABLE = Table(
    columns={"user_id": "user", "item_id": "adgroup_id", "timestamp": "time_stamp"},
    label="clk",
    utc_offset_hours=BEIJING,
    keep=("pid",),
    items_columns={"item_id": "adgroup_id"},
    users_columns={"user_id": "userid"},
    history_columns={"user_id": "user", "item_id": "cate", "timestamp": "time_stamp", "btag": "btag"},
)
_OPPOSITE = ("nonclk", "noclk")
_BRANDS = 2**32
_DAY = 86_400


@SOURCES.register("taobao-ads", blocks.TaobaoAds)
class TaobaoAds(Publisher):
    """The log at `fetch.options.path`, with the kinds and days of the behaviour log that the options name."""

    stated = _TYPES
    needs: ClassVar = {"events": ("clk",), "items": _AD, "users": _PROFILE, "history": ("brand",)}

    def __init__(self, workspace: Workspace, params: blocks.TaobaoAds, until: date | None) -> None:
        super().__init__(workspace, params, until, _TABLE)

    def found(self) -> dict[str, tuple[File, ...]]:
        """Return the files of each table."""
        names = {"events": "raw_sample.csv", "items": "ad_feature.csv", "users": "user_profile.csv"}
        if self.settings.behaviours:
            names["history"] = "behavior_log.csv"
        download = self.download()
        return {table: (download.need(name),) for table, name in names.items()}

    def read(self) -> RawLog:
        """Read impressions, ads, users and behaviours."""
        log = super().read()
        events = log.events
        opposite = next(name for name in _OPPOSITE if name in events.names)
        contradiction = Check(
            f"coalesce({events[opposite]} <> 1 - {events[LABEL]}, true)",
            f"[{events[LABEL]}, {events[opposite]}]",
            lambda pair: f"clk is {pair[0]} and {opposite} is {pair[1]}; expected one of them to be 1",
            "correct the row",
        )
        events.require([contradiction], self.advice)
        columns = {name: events[name] for name in events.names if name != opposite}
        fields = FIELDS
        if self.settings.behaviours:
            columns["btag"] = "'clk'"
            fields = FIELDS | {"behaviour": {"btag": "categorical"}}
        items = log.items and log.history and _with_pairs(log.items, log.history)
        return replace(log, events=events.select(columns), items=items or log.items, fields=fields)

    def where(self, table: str, rows: Rows) -> str:
        """Return the condition of a behaviour to read: its kind, and a time in the window or no time at all."""
        if table != "history":
            return super().where(table, rows)
        first, last = self._shown
        ahead = BEIJING * 3600
        since = (first + ahead) // _DAY * _DAY - ahead - self.settings.behaviour_days * _DAY
        kinds = ", ".join(quoted(kind) for kind in self.settings.behaviours)
        time = rows["time_stamp"]
        inside = f"coalesce(TRY_CAST({time} AS BIGINT) BETWEEN {since} AND {last}, {time} IS NOT NULL)"
        return f"{rows['btag']} IN ({kinds}) AND {inside}"

    def _require(self, table: str, names: Sequence[str], file: str) -> None:
        super()._require(table, names, file)
        if table == "events" and not {*names} & {*_OPPOSITE}:
            raise InputError(f"{file}: no column {_OPPOSITE[0]!r}; its columns: {listed(names)}; {self.advice}")

    def _others(self, table: str, names: Sequence[str]) -> list[str]:
        further = {"events": _OPPOSITE, "history": ("brand",)}.get(table, ())
        return [*super()._others(table, names), *(name for name in names if name in further)]

    def _read(self, table: str, found: Sequence[File]) -> Rows:
        rows = super()._read(table, found)
        if table == "events":
            time = rows["time_stamp"]
            self._shown = rows.ask(f"coalesce(min({time}), 0)", f"coalesce(max({time}), 0)")
        if table != "history":
            return rows
        item = f"-1 - (coalesce({rows['cate']}, 0) * {_BRANDS} + coalesce({rows['brand']}, 0))"  # ads count from 1
        columns = {name: rows[name] for name in ("user", "time_stamp", "btag")}
        return rows.select({**columns, "cate": item, SEQUENCE: "row"})


def _with_pairs(items: Rows, history: Rows) -> Rows:
    """Return the items, and one more for each pair of a category and a brand in the history."""
    pair = f"(-1 - {history[ITEM_ID]})"
    columns = {ITEM_ID: history[ITEM_ID], "cate_id": f"nullif({pair} // {_BRANDS}, 0)"}
    columns["brand"] = f"nullif({pair} % {_BRANDS}, 0)"
    chosen = ", ".join(f"{columns.get(name, 'NULL')} AS {items[name]}" for name in items.names)
    pairs = f"SELECT DISTINCT {chosen} FROM ({history.query})"
    numbers = f"{items.count} - 1 + row_number() OVER (ORDER BY {items[ITEM_ID]})"
    return replace(items, query=f"{items.query} UNION ALL SELECT {numbers} AS row, * FROM ({pairs})")

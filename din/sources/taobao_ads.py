"""Taobao's display ads, impressions of eight days, from the publisher's files: `fetch.source: taobao-ads`.

`fetch.taobao_ads.path` is a folder with raw_sample.csv (26 M impressions), ad_feature.csv and user_profile.csv. If
`behaviours` names kinds of behaviour (pv, cart, fav, buy), it also holds behavior_log.csv (723 M rows of 22 days).

An item is an ad (adgroup_id). `clk` is the label, and `nonclk` must be its opposite. The behaviour log names a category
and a brand but no ad, so each pair of them is an item of its own, with a negative id made of both, and without campaign
or price. Its rows enter histories with their kind as the behaviour field `btag` (`clk` for a clicked ad). They are read
from `behaviour_days` days before the first impression until the last impression. Each row that is kept takes about
40 bytes of memory; most rows are `pv`, so leave that out if memory is short.

Times are shifted to Beijing's (UTC+8), so that days are the publisher's. The publisher trains on 2017-05-06 … 05-12 and
tests on 05-13, which is `featurize.test_days: 1`.

Source: https://tianchi.aliyun.com/dataset/56 (Ad Display/Click Data on Taobao.com).
"""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from din.errors import InputError
from din.params import fetch as blocks
from din.schema import BEHAVIOUR, ITEM_ID, LABEL, SEQUENCE, TIMESTAMP, USER_ID
from din.sources import files, times
from din.sources.download import Download
from din.sources.files import File
from din.sources.rawlog import Part, RawLog, first, require_rows
from din.sources.typed import FLAG, INT, TEXT, flags, header, read_csv, read_side
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
_BEHAVIOURS = {"user": INT, "time_stamp": INT, "btag": TEXT, "cate": INT, "brand": INT}
_DAY = 86_400


class TaobaoAds:
    """The log at `fetch.taobao_ads.path`, with the kinds and days of the behaviour log that are asked for."""

    def __init__(self, workspace: Workspace, params: blocks.TaobaoAds) -> None:
        self.workspace = workspace
        self.params = params

    def identity(self) -> Any:
        """Return the digests of the files that are read, and the kinds and days of the behaviour log."""
        used = [file for file in self._files() if file]
        kinds = self.params.behaviours
        wanted = kinds and (kinds, self.params.behaviour_days)
        return {"files": files.digests(self.workspace, used), "behaviours": wanted}

    def read(self) -> RawLog:
        """Read impressions, ads, users and behaviours.

        Raises:
            InputError: a file is missing or not in the publisher's form. The message names the line.
        """
        sample, ads, profile, log = self._files()
        not_clicked = "noclk" if "noclk" in header(sample) else "nonclk"
        types = {"user": INT, "time_stamp": INT, "adgroup_id": INT, "pid": TEXT, not_clicked: FLAG, "clk": FLAG}
        part = read_csv([sample], types)
        require_rows(part, "events")
        click = flags(part, "clk")
        if (row := first(pc.equal(click, flags(part, not_clicked)))) is not None:
            both = f"clk and {not_clicked} are both {click[row].as_py()}"
            raise InputError(f"{part.at(row)}: {both}; expected one to be 1: download the file again")
        events = {
            USER_ID: part.table["user"],
            ITEM_ID: part.table["adgroup_id"],
            TIMESTAMP: times.since_1970(part, "time_stamp", "s", ahead_hours=times.BEIJING),
            SEQUENCE: np.arange(len(click)),
            LABEL: click,
            BEHAVIOUR: click,
            "pid": part.table["pid"],
        }
        items = read_side(ads, "adgroup_id", ITEM_ID, _AD)
        history = None
        fields = FIELDS
        if log:
            history, pairs = self._history(log, part.table["time_stamp"])
            events["btag"] = pa.repeat("clk", len(click))
            items = Part(pa.concat_tables([items.table, pairs], promote_options="permissive"), items.files)
            fields = FIELDS | {"behaviour": {"btag": "categorical"}}
        return RawLog(
            events=Part(pa.table(events), part.files),
            items=items,
            users=read_side(profile, "userid", USER_ID, _PROFILE),
            history=history,
            fields=fields,
            protocol="temporal",
        )

    def _history(self, log: File, shown: pa.ChunkedArray) -> tuple[Part | None, pa.Table]:
        """Read the behaviours in the window of the impressions; return them, and their pairs as items."""
        ends = pc.min_max(shown).as_py()
        ahead = times.BEIJING * 3600
        since = (ends["min"] + ahead) // _DAY * _DAY - ahead - self.params.behaviour_days * _DAY
        kinds = pa.array(self.params.behaviours, TEXT)

        def keep(batch: pa.RecordBatch) -> pa.Array:
            time = batch["time_stamp"]
            inside = pc.and_(pc.greater_equal(time, since), pc.less_equal(time, ends["max"]))
            return pc.and_(inside, pc.is_in(batch["btag"], value_set=kinds)).fill_null(False)

        part = read_csv([log], _BEHAVIOURS, keep)
        pair = pa.table({"cate_id": part.table["cate"], "brand": part.table["brand"]})
        category, brand = (pc.fill_null(column, 0) for column in pair.columns)
        ids = pc.subtract(-1, pc.add(pc.multiply(category, 2**32), brand))  # ads count from 1
        history = {
            USER_ID: part.table["user"],
            ITEM_ID: ids,
            TIMESTAMP: times.since_1970(part, "time_stamp", "s", ahead_hours=times.BEIJING),
            SEQUENCE: part.rows,
            "btag": part.table["btag"],
        }
        codes, rows = np.unique(ids.to_numpy(), return_index=True)
        pairs = pair.take(pa.array(rows)).append_column(ITEM_ID, pa.array(codes))
        found = Part(pa.table(history), part.files, part.rows) if len(ids) else None
        return found, pairs

    def _files(self) -> tuple[File, File, File, File | None]:
        download = Download.at(self.workspace, self.params.path, "fetch.taobao_ads.path")
        log = download.need("behavior_log.csv") if self.params.behaviours else None
        names = ("raw_sample.csv", "ad_feature.csv", "user_profile.csv")
        sample, ads, profile = (download.need(name) for name in names)
        return sample, ads, profile, log

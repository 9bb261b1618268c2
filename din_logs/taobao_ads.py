"""Taobao's display ads, impressions of eight days, from the publisher's files: `fetch.source: taobao-ads`.

`fetch.options.path` is a folder with raw_sample.csv (26 M impressions), ad_feature.csv and user_profile.csv. An item is
an ad (adgroup_id), and `clk` is the label. behavior_log.csv is not read: its rows name no ad.

Times are shifted to Beijing time (UTC+8), so that days match the publisher's. The publisher trains on 2017-05-06 …
05-12 and tests on 05-13, which is `featurize.test_days: 1`.

Source: https://tianchi.aliyun.com/dataset/56 (Ad Display/Click Data on Taobao.com).
"""

from typing import ClassVar

from din.data import SOURCES
from din.params.fetch import Table
from din_logs.publisher import BEIJING, PublishedFiles, Publisher

_PROFILE = ("cms_segid", "cms_group_id", "final_gender_code", "age_level", "pvalue_level", "shopping_level")
_PROFILE += ("occupation", "new_user_class_level")
_AD = {
    "cate_id": "categorical",
    "brand": "id",
    "campaign_id": "id",
    "customer": "id",
    "price": {"kind": "numeric", "buckets": 10},
}


@SOURCES.register("taobao-ads", PublishedFiles)
class TaobaoAds(Publisher):
    """The log at `fetch.options.path`."""

    layout = Table(
        columns={"user_id": "user", "item_id": "adgroup_id", "timestamp": "time_stamp"},
        label="clk",
        utc_offset_hours=BEIJING,
        keep=("pid",),
        items_columns={"item_id": "adgroup_id"},
        users_columns={"user_id": "userid"},
    )
    names: ClassVar = {"events": ("raw_sample.csv",), "items": ("ad_feature.csv",), "users": ("user_profile.csv",)}
    fields: ClassVar = {
        "user": dict.fromkeys(_PROFILE, "categorical"),
        "item": _AD,
        "context": {"pid": "categorical"},
    }
    needs: ClassVar = {"events": ("clk",), "items": _AD, "users": _PROFILE}

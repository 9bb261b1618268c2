"""Taobao's ads in their publisher's files."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa

from din.base.artifacts import read_json
from din.base.workspace import Workspace

Fetch = Callable[..., dict[str, pa.Table]]
DAY = 86_400
MAY_6 = 1_494_000_000  # 2017-05-06 00:00 in Beijing
# user, seconds after MAY_6, ad, clicked; the last row but one appears twice
SHOWN = [
    (1, 0, 63133, 1),
    (1, 7200, 2, 0),
    (2, 3600, 2, 0),
    (1, DAY, 2, 0),
    (2, DAY + 60, 63133, 1),
    (1, 2 * DAY - 1, 3, 1),
]
SHOWN += [(1, 3 * DAY, 63133, 0), (1, 3 * DAY, 63133, 0), (2, 3 * DAY + 5, 4, 1)]


def write_log(root: Path) -> None:
    """Write the files with the publisher's headers; the last column name of the profiles ends with a blank."""
    root.mkdir()
    rows = [f"{user},{MAY_6 + time},{ad},430548_1007,{1 - clk},{clk}" for user, time, ad, clk in SHOWN]
    write(root / "raw_sample.csv", "user,time_stamp,adgroup_id,pid,nonclk,clk", *rows)
    ads = ("63133,6406,83237,1,95471,170.0", "2,6406,83237,1,87331,199.0", "3,4520,1,2,NULL,38.5")
    write(root / "ad_feature.csv", "adgroup_id,cate_id,campaign_id,customer,brand,price", *ads)
    header = "userid,cms_segid,cms_group_id,final_gender_code,age_level,pvalue_level,shopping_level,occupation,"
    write(root / "user_profile.csv", header + "new_user_class_level ", "1,0,5,2,5,,3,0,3", "2,5,2,2,2,2,3,0,")


def write(path: Path, *lines: str) -> None:
    path.write_text("\n".join(lines) + "\n")


def test_impressions(workspace: Workspace, fetch_public: Fetch) -> None:
    """Clicks are read from `clk` in Beijing's days, and NULL is missing."""
    write_log(workspace.root / "taobao")
    raw = fetch_public("taobao-ads", "taobao")
    events = raw["events"].to_pydict()
    assert events["label"] == events["behaviour"] == [clk for *_, clk in SHOWN]
    assert events["pid"][0] == "430548_1007"
    assert raw["items"].slice(2).to_pylist() == [
        {"item_id": 3, "cate_id": 4520, "campaign_id": 1, "customer": 2, "brand": None, "price": 38.5}
    ]
    assert raw["users"]["new_user_class_level"].to_pylist() == [3, None]
    assert raw.keys() == {"events", "items", "users"}
    manifest = read_json(workspace.raw / "manifest.json")
    assert manifest["days"] == ["2017-05-06", "2017-05-07", "2017-05-09"]
    assert manifest["protocol"] == "temporal"

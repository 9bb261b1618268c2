"""Taobao's ads in their publisher's files."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from din.artifacts import read_json
from din.errors import InputError
from din.workspace import Workspace

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
# user, seconds after MAY_6, kind, category, brand
BEHAVIOURS = [(1, -9 * DAY, "buy", 6406, "95471"), (1, -DAY, "cart", 6406, "95471"), (1, -DAY - 1, "pv", 6406, "7")]
BEHAVIOURS += [(2, -7, "fav", 4520, "NULL"), (2, DAY, "cart", 6406, "95471"), (1, 4 * DAY, "buy", 6406, "7")]
BEHAVIOURS += [(1, -1_400_000_000, "cart", 6406, "7")]  # the real log contains times of broken clocks, too


@pytest.fixture
def folder(workspace: Workspace) -> Path:
    """Write the four files with the publisher's headers; the last column name of the profiles ends with a blank."""
    root = workspace.root / "taobao"
    root.mkdir()
    rows = [f"{user},{MAY_6 + time},{ad},430548_1007,{1 - clk},{clk}" for user, time, ad, clk in SHOWN]
    write(root / "raw_sample.csv", "user,time_stamp,adgroup_id,pid,nonclk,clk", *rows)
    ads = ("63133,6406,83237,1,95471,170.0", "2,6406,83237,1,87331,199.0", "3,4520,1,2,NULL,38.5")
    write(root / "ad_feature.csv", "adgroup_id,cate_id,campaign_id,customer,brand,price", *ads)
    header = "userid,cms_segid,cms_group_id,final_gender_code,age_level,pvalue_level,shopping_level,occupation,"
    write(root / "user_profile.csv", header + "new_user_class_level ", "1,0,5,2,5,,3,0,3", "2,5,2,2,2,2,3,0,")
    rows = [f"{user},{MAY_6 + time},{kind},{category},{brand}" for user, time, kind, category, brand in BEHAVIOURS]
    write(root / "behavior_log.csv", "user,time_stamp,btag,cate,brand", *rows)
    return root


def write(path: Path, *lines: str) -> None:
    """Write a file of lines."""
    path.write_text("\n".join(lines) + "\n")


def test_impressions(workspace: Workspace, folder: Path, fetch_public: Fetch) -> None:
    """Clicks are read from `clk` in Beijing's days, NULL is missing, and without a request there is no history."""
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


def test_behaviours_of_some_kinds_and_days(folder: Path, fetch_public: Fetch) -> None:
    """Only the chosen kinds and days of behaviours are read, and each pair is an item with both fields."""
    raw = fetch_public("taobao-ads", "taobao", behaviours=("cart", "fav", "buy"), behaviour_days=1)
    history = raw["history"].to_pydict()
    assert history["user_id"] == [1, 2, 2]
    assert history["btag"] == ["cart", "fav", "cart"]
    assert history["sequence"] == [1, 3, 4]
    assert history["timestamp"][0].isoformat() == "2017-05-05T00:00:00"
    items = {row["item_id"]: row for row in raw["items"].to_pylist()}
    own = [(items[item]["cate_id"], items[item]["brand"]) for item in history["item_id"]]
    assert own == [(6406, 95471), (4520, None), (6406, 95471)]
    assert all(item < 0 and items[item]["price"] is None for item in history["item_id"])
    assert len(items) == 3 + 2
    assert {*raw["events"]["btag"].to_pylist()} == {"clk"}


def test_no_behaviour_in_the_window(folder: Path, fetch_public: Fetch) -> None:
    """If no behaviour lies in the window, the log is read as if there were no behaviour file."""
    assert "history" not in fetch_public("taobao-ads", "taobao", behaviours=("pv",), behaviour_days=0)


@pytest.mark.parametrize(
    ("name", "line", "expected"),
    [
        ("raw_sample.csv", "1,1494137644,1,430548_1007,1,1", ("row 10: clk is 1 and nonclk is 1; expected one",)),
        ("ad_feature.csv", "x,6406,83237,1,95471,170.0", ("row 4: adgroup_id is 'x'; expected a whole number",)),
        ("behavior_log.csv", ",1493950000,cart,6406,1", ("row 8: user_id is missing",)),
    ],
)
def test_a_bad_line(folder: Path, fetch_public: Fetch, name: str, line: str, expected: tuple[str, ...]) -> None:
    """The message names the file and the line (rows are counted without the header), and says what was expected."""
    with (folder / name).open("a") as file:
        file.write(line + "\n")
    with pytest.raises(InputError) as error:
        fetch_public("taobao-ads", "taobao", behaviours=("cart",))
    assert all(part in str(error.value) for part in (f"taobao/{name}", *expected)), error.value

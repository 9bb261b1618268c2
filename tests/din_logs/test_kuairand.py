"""KuaiRand-Pure in its publisher's files."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from din.base.artifacts import read_json
from din.base.errors import InputError
from din.base.workspace import Workspace
from din.params.reading import Params
from din.schema import parse_fields

Fetch = Callable[..., dict[str, pa.Table]]
LOG = "user_id,video_id,date,hourmin,time_ms,is_click,is_like,is_follow,is_comment,is_forward,is_hate,long_view,"
LOG += "play_time_ms,duration_ms,profile_stay_time,comment_stay_time,is_profile_enter,is_rand,tab\n"
VIDEOS = """\
video_id,author_id,video_type,upload_dt,upload_type,visible_status,video_duration,server_width,server_height,\
music_id,music_type,tag
10,123,NORMAL,2022-04-10,LongImport,0.0,87433.0,720.0,1280.0,9155697141,9.0,"39,12"
20,456,NORMAL,2022-04-10,Kmovie,0.0,218066.0,720.0,1280.0,6355810746,9.0,2
30,456,AD,2022-04-09,UNKNOWN,0.0,,720.0,1280.0,,,
"""
USERS = """\
user_id,user_active_degree,is_lowactive_period,is_live_streamer,is_video_author,follow_user_num,\
follow_user_num_range,fans_user_num,fans_user_num_range,friend_user_num,friend_user_num_range,register_days,\
register_days_range,onehot_feat0,onehot_feat4
0,full_active,0,0,0,5,"(0,10]",0,0,0,0,107,91-180,0,
1,UNKNOWN,0,-124,1,200,"(150,250]",12,"[10,100)",0,0,2000,730+,1,3.0
"""
MIDNIGHT = 1_649_347_200_000  # 2022-04-08 00:00 in Beijing
HOUR = 3_600_000


def row(user: int, video: int, day: int, hour: float, click: int, play: int = 1385) -> str:
    """Return a row of a log whose feedback fits its click."""
    time = MIDNIGHT + int((24 * day + hour) * HOUR)
    date = f"202204{8 + day:02},{int(hour):02}00,{time}"
    return f"{user},{video},{date},{click},{click},0,0,0,0,{click},{play},209900,0,0,0,0,1\n"


@pytest.fixture
def folder(workspace: Workspace) -> Path:
    """Write KuaiRand-Pure, unpacked: two users, four days, an event shown twice, and a video missing from its table."""
    data = workspace.root / "KuaiRand-Pure" / "data"
    data.mkdir(parents=True)
    rows = [row(0, 10, 0, 0, 1, play=999), row(0, 20, 0, 0, 0), row(0, 20, 1, 23.9, 0), row(0, 20, 1, 23.9, 0)]
    (data / "log_standard_4_08_to_4_21_pure.csv").write_text(LOG + "".join(rows))
    rows = [row(1, 10, 1, 1, 1), row(1, 99, 2, 1, 0), row(0, 30, 3, 1, 1), row(1, 20, 3, 1, 0)]
    (data / "log_standard_4_22_to_5_08_pure.csv").write_text(LOG + "".join(rows))
    (data / "log_random_4_22_to_5_08_pure.csv").write_text("not read")
    (data / "video_features_basic_pure.csv").write_text(VIDEOS)
    (data / "video_features_statistic_pure.csv").write_text("not read: it holds the clicks to be predicted")
    (data / "user_features_pure.csv").write_text(USERS)
    return data


def test_the_log(workspace: Workspace, folder: Path, fetch_public: Fetch) -> None:
    """Both standard logs are read in order, in Beijing's days. All rows are behaviours, and feedback is no context."""
    raw = fetch_public("kuairand-pure", "KuaiRand-Pure")
    events = raw["events"].to_pydict()
    assert events["label"] == [1, 0, 0, 0, 1, 0, 1, 0]
    assert set(events["behaviour"]) == {1}
    assert [time.isoformat() for time in events["timestamp"][:3:2]] == ["2022-04-08T00:00:00", "2022-04-09T23:54:00"]
    assert read_json(workspace.raw / "manifest.json")["days"] == [f"2022-04-{day:02}" for day in (8, 9, 10, 11)]
    assert raw["items"]["tag"].to_pylist() == [[39, 12], [2], []]
    assert raw["items"]["video_duration"].to_pylist() == [87433, 218066, None]
    assert raw["users"]["follow_user_num_range"].to_pylist() == ["(0,10]", "(150,250]"]
    manifest = read_json(workspace.raw / "manifest.json")
    assert (manifest["protocol"], manifest["order"]) == ("temporal", "daily")
    assert manifest["fields"]["context"] == {"tab": "categorical"}
    assert {"is_like", "long_view", "play_time_ms"} <= manifest["fields"]["behaviour"].keys()
    names = {field.name for field in parse_fields(manifest["fields"])}
    assert names <= {*raw["events"].column_names, *raw["items"].column_names, *raw["users"].column_names}


def test_the_example(
    workspace: Workspace, folder: Path, fetch_public: Fetch, example_params: Callable[[str], Params]
) -> None:
    """The example declares columns of the publisher's folder."""
    params = example_params("kuairand-pure")
    raw = fetch_public(params.fetch.source, params.fetch.options["path"])
    declared = {field.name for field in parse_fields(params.featurize.fields or {})}
    assert declared <= {name for table in raw.values() for name in table.column_names} | {"user_id"}


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (",1,1,0,", ",yes,1,0,", r"pure.csv row 1: is_click is 'yes'; expected 0 or 1: download the publisher's file"),
        ("1,20,", "1,two,", r"pure.csv row 4: video_id is 'two'; expected a whole number .*: download the publisher's"),
        ("is_click", "click", r"pure.csv: no column 'is_click'; its columns: user_id, video_id"),
    ],
)
def test_a_bad_value(folder: Path, fetch_public: Fetch, old: str, new: str, says: str) -> None:
    """The message names the file and row in either log."""
    log = folder / "log_standard_4_22_to_5_08_pure.csv"
    log.write_text(log.read_text().replace(old, new))
    with pytest.raises(InputError, match=f"log_standard_4_22_to_5_08_{says}"):
        fetch_public("kuairand-pure", "KuaiRand-Pure")

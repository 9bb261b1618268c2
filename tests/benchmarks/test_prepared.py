"""`python -m benchmarks.prepared` makes each log from files of the publishers' form, and from no others."""

import gzip
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import prepared
from benchmarks.prepared import LOGS, blob, prepare
from din.base.errors import InputError

LOG = (
    "user_id,video_id,date,hourmin,time_ms,is_click,is_like,is_follow,is_comment,is_forward,is_hate,long_view,"
    "play_time_ms,duration_ms,profile_stay_time,comment_stay_time,is_profile_enter,is_rand,tab\n"
)


def shown(user: int, video: int, day: int, time: int, liked: int = 0, long: int = 0, stay: int = 0) -> str:
    """Return a row of KuaiRand's log. It was clicked if it was watched for long."""
    return f"{user},{video},{day},0,{time},{long},{liked},0,0,0,0,{long},1385,2000,{stay},0,0,0,1\n"


def made(name: str, files: Mapping[str, str], tmp_path: Path) -> dict[str, list[str]]:
    """Write the files into a folder below another one, prepare the log, and return the lines of its tables."""
    folder = tmp_path / "downloads" / "data"
    folder.mkdir(parents=True)
    for file, text in files.items():
        (folder / file).write_text(text, encoding="utf-8")
    log = replace(LOGS[name], files={file: blob(folder / file) for file in LOGS[name].files})
    prepare(log, [tmp_path / "nothing", tmp_path / "downloads"], tmp_path / "out")
    tables = sorted((tmp_path / "out").iterdir())
    return {path.name: gzip.decompress(path.read_bytes()).decode().splitlines() for path in tables}


def test_movielens(tmp_path: Path) -> None:
    """Ratings are in order of time, and a film without genres has no category. Text stays as it is."""
    ratings = "userId,movieId,rating,timestamp\n10,7,2.0,5\n9,8,4.5,30\n9,7,3.0,4\n"
    movies = 'movieId,title,genres\n7,"Doll, The (1985)",Drama|Romance\n8,Victoria,(no genres listed)\n'
    assert made("ml-latest-small-2016", {"ratings.csv": ratings, "movies.csv": movies}, tmp_path) == {
        "interactions.csv.gz": ["user_id,item_id,timestamp,rating", "9,7,4,3.0", "9,8,30,4.5", "10,7,5,2.0"],
        "items.csv.gz": [
            "item_id,category,genres,title",
            '7,Drama,Drama|Romance,"Doll, The (1985)"',
            "8,,(no genres listed),Victoria",
        ],
    }


def test_kuairand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten days are kept, without repeated rows, and earlier days become histories of the newest videos."""
    monkeypatch.setattr(prepared, "_MOST", 2)
    first, second = prepared.STANDARD
    past = [shown(10, 5, 20220424, 40, long=1), shown(9, 6, 20220410, 30, long=1)]
    past += [shown(9, 7, 20220409, 20, liked=1), shown(9, 8, 20220410, 30), shown(9, 8, 20220411, 50, long=1)]
    kept = [shown(10, 8, 20220425, 70), shown(9, 8, 20220504, 90, long=1), shown(9, 7, 20220425, 80)]
    kept += [kept[0], shown(9, 8, 20220504, 90, long=1, stay=5)]
    videos = "video_id,author_id,video_type,upload_dt,upload_type,visible_status,video_duration,server_width,"
    videos += (
        'server_height,music_id,music_type,tag\n5,123,NORMAL,2022-04-10,Kmovie,0.0,87.0,720.0,12.0,91,9.0,"39,2"\n'
    )
    users = 'user_id,follow_user_num_range\n9,"(0,10]"\n'
    files = {
        first: LOG + "".join(past),
        second: LOG + "".join([*kept, shown(9, 5, 20220505, 99)]),
        "video_features_basic_pure.csv": videos,
        "user_features_pure.csv": users,
    }
    twice = "9,8,90,1,1,0,0,0,0,0,1385,2000,1,20220504"
    assert made("kuairand-pure", files, tmp_path) == {
        "interactions.csv.gz": [
            "user_id,item_id,timestamp,label,long_view,is_like,is_follow,is_comment,is_forward,is_hate,play_time_ms,"
            "duration_ms,tab,day",
            "9,7,80,0,0,0,0,0,0,0,1385,2000,1,20220425",
            twice,
            twice,  # the two differ in a column that is left out
            "10,8,70,0,0,0,0,0,0,0,1385,2000,1,20220425",
        ],
        "items.csv.gz": [
            "item_id,category,tags,author_id,video_type,upload_dt,upload_type,video_duration,music_id,music_type",
            "5,39,39|2,123,NORMAL,2022-04-10,Kmovie,87.0,91,9.0",
        ],
        "users.csv.gz": users.splitlines(),
        "history.csv.gz": [
            "user_id,history_len,last_time_ms,watch_seq,like_seq,long_watch_seq",
            "9,4,50,8|8,7,6|8",
            "10,1,40,5,,5",
        ],
    }


def test_other_files_are_refused(tmp_path: Path) -> None:
    """A file that is missing or of another commit is named, and nothing is written."""
    log = LOGS["ml-latest-small-2016"]
    with pytest.raises(InputError, match=r"ratings\.csv: not in .*; docs/public-logs\.md says where to get it"):
        prepare(log, [tmp_path], tmp_path / "out")
    (tmp_path / "ratings.csv").write_bytes(b"hello\n")
    with pytest.raises(InputError, match=r"ratings\.csv: hash ce013625030ba8dba906.*; expected d1252"):
        prepare(log, [tmp_path], tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match="exists; expected the name of a new folder"):
        prepare(log, [], tmp_path)

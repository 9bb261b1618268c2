"""KuaiRand-Pure, impressions of short videos, from its publisher's files: `fetch.source: kuairand-pure`.

`fetch.kuairand_pure.path` is the unpacked folder. Events are the rows of log_standard_4_08_to_4_21_pure.csv and
log_standard_4_22_to_5_08_pure.csv. With `random_exposure`, the rows of log_random_4_22_to_5_08_pure.csv are added. Its
videos were drawn at random, and `is_rand` marks them; it is known when the video is shown.

`is_click` is both the label and the behaviour. All other feedback of a row (is_like, long_view, play_time_ms, …) is
known only after the impression, so it describes past rows only. video_features_statistic_pure.csv is not read: its
counts cover the whole month and so contain the clicks to be predicted. User features are one snapshot of that time.

Times are shifted to Beijing's (UTC+8), so that days are the publisher's.

Source: https://github.com/chongminggao/KuaiRand (Gao et al., CIKM 2022, doi 10.1145/3511808.3557624).
"""

from typing import Any

import numpy as np
import pyarrow as pa

from din.params import fetch as blocks
from din.schema import BEHAVIOUR, ITEM_ID, LABEL, SEQUENCE, TIMESTAMP, USER_ID
from din.sources import files, times
from din.sources.download import Download
from din.sources.files import File
from din.sources.rawlog import Part, RawLog
from din.sources.typed import FLAG, INT, flags, read_csv, read_side
from din.workspace import Workspace

_ACTS = ("is_like", "is_follow", "is_comment", "is_forward", "is_hate", "long_view", "is_profile_enter")
_DURATIONS = ("play_time_ms", "profile_stay_time", "comment_stay_time")
_CONTEXTS = ("tab", "is_rand")
_TYPES = {"user_id": INT, "video_id": INT, "time_ms": INT, "tab": INT, "is_click": FLAG, "is_rand": FLAG}
_TYPES |= dict.fromkeys(_ACTS, FLAG) | dict.fromkeys(_DURATIONS, INT)
_USER = ("user_active_degree", "is_lowactive_period", "is_live_streamer", "is_video_author", "follow_user_num_range")
_USER += ("fans_user_num_range", "friend_user_num_range", "register_days_range")
_ITEM = {
    "author_id": "id",
    "video_type": "categorical",
    "upload_type": "categorical",
    "music_type": "categorical",
    "video_duration": {"kind": "numeric", "buckets": 10},
    "tag": "multi",
}
_BEHAVIOUR = dict.fromkeys(("is_like", "is_follow", "is_comment", "is_forward", "long_view"), "categorical")
FIELDS = {
    "user": {"user_id": "id", **dict.fromkeys(_USER, "categorical")},
    "item": _ITEM,
    "behaviour": {**_BEHAVIOUR, "play_time_ms": {"kind": "numeric", "buckets": 10}},
}


class KuaiRandPure:
    """The logs at `fetch.kuairand_pure.path`, with or without the log of the random policy."""

    def __init__(self, workspace: Workspace, params: blocks.KuaiRandPure) -> None:
        self.workspace = workspace
        self.params = params

    def identity(self) -> Any:
        """Return the digests of the files that are read."""
        logs, videos, users = self._files()
        return files.digests(self.workspace, [*logs, videos, users])

    def read(self) -> RawLog:
        """Read the logs, the videos' basic features and the users.

        Raises:
            InputError: a file is missing or not in the publisher's form. The message names the line.
        """
        logs, videos, users = self._files()
        part = read_csv(logs, _TYPES)
        click = flags(part, "is_click")
        events = {
            USER_ID: part.table["user_id"],
            ITEM_ID: part.table["video_id"],
            TIMESTAMP: times.since_1970(part, "time_ms", "ms", ahead_hours=times.BEIJING),
            SEQUENCE: np.arange(len(click)),
            LABEL: click,
            BEHAVIOUR: click,
            **{name: part.table[name] for name in (*_CONTEXTS, *_ACTS, *_DURATIONS)},
        }
        random = {"is_rand": "categorical"} if self.params.random_exposure else {}  # it is 0 in all other rows
        return RawLog(
            events=Part(pa.table(events), part.files),
            items=read_side(videos, "video_id", ITEM_ID, _ITEM, lists={"tag": ","}),
            users=read_side(users, "user_id", USER_ID, _USER),
            fields=FIELDS | {"context": {"tab": "categorical"} | random},
            protocol="temporal",
        )

    def _files(self) -> tuple[list[File], File, File]:
        download = Download.at(self.workspace, self.params.path, "fetch.kuairand_pure.path")
        names = ["log_standard_4_08_to_4_21_pure.csv", "log_standard_4_22_to_5_08_pure.csv"]
        if self.params.random_exposure:
            names.append("log_random_4_22_to_5_08_pure.csv")
        logs = [download.need(name) for name in names]
        videos = download.need("video_features_basic_pure.csv")
        users = download.need("user_features_pure.csv")
        return logs, videos, users

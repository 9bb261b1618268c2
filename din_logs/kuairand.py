"""KuaiRand-Pure, impressions of short videos, from its publisher's files: `fetch.source: kuairand-pure`.

`fetch.options.path` is the unpacked folder. Events are the rows of log_standard_4_08_to_4_21_pure.csv and
log_standard_4_22_to_5_08_pure.csv. log_random_4_22_to_5_08_pure.csv is not read.

`is_click` is the label. All other feedback of a row (is_like, long_view, play_time_ms, …) is known only after the
impression, so it describes past rows only. It describes rows without a click too, so all rows are behaviours, and a
history ends at midnight (docs/concepts.md says why). video_features_statistic_pure.csv is not read: its
counts cover the whole month and so contain the clicks to be predicted. User features are one snapshot of that time.

Times are shifted to Beijing time (UTC+8), so that days match the publisher's.

Source: https://github.com/chongminggao/KuaiRand (Gao et al., CIKM 2022, doi 10.1145/3511808.3557624).
"""

from typing import ClassVar

from din.data import SOURCES
from din.params.fetch import ALL_ROWS, Table
from din_logs.publisher import BEIJING, PublishedFiles, Publisher

_ACTS = ("is_like", "is_follow", "is_comment", "is_forward", "is_hate", "long_view", "is_profile_enter")
_DURATIONS = ("play_time_ms", "profile_stay_time", "comment_stay_time")
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


@SOURCES.register("kuairand-pure", PublishedFiles)
class KuaiRandPure(Publisher):
    """The standard logs at `fetch.options.path`, with the videos' basic features and the users."""

    layout = Table(
        columns={"item_id": "video_id", "timestamp": "time_ms"},
        label="is_click",
        behaviour=ALL_ROWS,
        timestamp_unit="ms",
        utc_offset_hours=BEIJING,
        keep=("tab", "is_rand", *_ACTS, *_DURATIONS),
        items_columns={"item_id": "video_id"},
        separators={"tag": ","},
    )
    order: ClassVar = "daily"
    names: ClassVar = {
        "events": ("log_standard_4_08_to_4_21_pure.csv", "log_standard_4_22_to_5_08_pure.csv"),
        "items": ("video_features_basic_pure.csv",),
        "users": ("user_features_pure.csv",),
    }
    fields: ClassVar = {
        "user": {"user_id": "id", **dict.fromkeys(_USER, "categorical")},
        "item": _ITEM,
        "context": {"tab": "categorical"},
        "behaviour": {**_BEHAVIOUR, "play_time_ms": {"kind": "numeric", "buckets": 10}},
    }
    needs: ClassVar = {"events": ("is_click",), "items": _ITEM, "users": _USER}

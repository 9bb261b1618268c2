"""Guess what the rows of a log are: clicks, rows without a click, and rows that repeat."""

import numpy as np
import pyarrow as pa

from din.base.errors import InputError
from din.params.fetch import ALL_ROWS
from din.schema import ITEM_ID, TIMESTAMP, USER_ID
from din_start.init.choice import Choice
from din_start.init.fields import Events

_HOUR_US = 3_600_000_000
_AGAIN = 0.01  # share of repeated events from which validate_raw would close
IN_TWO_ROWS = 0.9  # share of clicks beside a row without one, from which these are likely to be their impressions
_FEW = 100_000  # rows that are trained in seconds, however rare a click is
_RARE = 50  # rows without a click to each click, from which most of them teach little
_ENOUGH = 10  # of them to keep for each click
_UNLIKE = 0.05  # share of the rarer label's rows that differ from most rows of their user, item or day


def require_answers(column: str, keys: Events) -> None:
    """Check that a label whose name means no answer differs between the rows of a user, of an item and of a day.

    Raises:
        InputError: it describes users, items or days. The message names the ways out.
    """
    for whose, of in {"user": keys.users, "item": keys.items, "day": keys.days}.items():
        rows = np.bincount(of)
        again = rows > 1
        clicks = np.bincount(of, keys.labels)[again]
        others = rows[again] - clicks
        if np.minimum(clicks, others).sum() < _UNLIKE * min(clicks.sum(), others.sum()):
            raise InputError(
                f"{column} is the same in nearly all rows of each {whose}, so it describes the {whose}, not whether "
                "an item was clicked; name the column that says so, or a rule such as rating >= 4, with --label; if "
                f"every row is a click, give --label {ALL_ROWS}"
            )


def of_clicks(label: Choice, is_given: bool, keys: Events, in_two_rows: float) -> dict[str, Choice]:
    """Return the label with the number of clicks in its reason, and how many other rows to train on if these are many.

    Raises:
        InputError: no row is a click, or each is one by a rule that a person gave (`is_given`).
    """
    rows = len(keys.labels)
    clicks = int(keys.labels.sum())
    if clicks == 0 or (is_given and clicks == rows):
        raise InputError(
            f"fetch.table.label: {label.value}: is {min(clicks, 1)} in all {rows:,} rows, so nothing tells a click "
            "from another row; name another column, or a rule such as rating >= 4, with --label. If every row is a "
            f"click, give --label {ALL_ROWS}"
        )
    why = f"{label.reason}\n{rows:,} rows, {clicks:,} clicks: a CTR of {clicks / rows:.1%}"
    if in_two_rows > IN_TWO_ROWS:
        why += (
            f"\n{in_two_rows:.0%} of the clicks have a row without a click of the same user, item and day: if an "
            "impression and its click are two rows, make them one"
        )
    parameters = {"fetch.table.label": Choice(label.value, why)}
    others = (rows - clicks) / clicks
    if rows >= _FEW and others >= _RARE:
        why = f"{others:.0f} rows without a click to each click; {_ENOUGH} of them train as well, and sooner"
        parameters["featurize.keep_negatives"] = Choice(float(f"{_ENOUGH / others:.1g}"), why)
    return parameters


def share_in_two_rows(keys: Events) -> float:
    """Return the share of clicks whose user, item and day another row has without a click."""
    of_user = keys.users.astype(np.int64) * (keys.items.max() + 1) + keys.items
    of_day = of_user * (keys.days.max() + 1) + keys.days
    clicked = keys.labels == 1
    return float(np.isin(of_day[clicked], of_day[~clicked]).mean()) if clicked.any() else 0.0


def of_rows(table: pa.Table, keys: Events, by_day: bool, in_two_rows: float) -> dict[str, Choice]:
    """Return the parameters of logs with a file a day, without times, and with repeated events."""
    parameters = {}
    if by_day and len(np.unique(keys.days)) == keys.days.max() + 1:
        parameters["fetch.table.daily"] = Choice(True, "a file for every day, without a gap")
    if len(table[TIMESTAMP].unique()) == 1:
        parameters["featurize.order"] = Choice(
            "sequence", "all rows have the same time, so their order in the files counts"
        )
    events = table.group_by([USER_ID, ITEM_ID, TIMESTAMP]).aggregate([])
    again = 1 - events.num_rows / table.num_rows
    if again > _AGAIN and (table[TIMESTAMP].cast(pa.int64()).to_numpy() % _HOUR_US).any():
        if in_two_rows > IN_TWO_ROWS:
            return parameters  # it would drop the clicks
        why = f"{table.num_rows - events.num_rows:,} rows ({again:.1%}) repeat the user, item and time of another row"
        parameters["fetch.table.drop_duplicates"] = Choice(True, why)
    elif again > _AGAIN:
        why = f"times are whole hours or days, and {again:.0%} of the rows repeat the user, item and time of another"
        parameters["validate_raw.max_duplicate_rate"] = Choice(round(min(1.0, 2 * again), 2), why)
    return parameters

"""Gather the ragged histories and the single ids of a batch.

B impressions of a batch, T behaviours in their histories, N owners of a field's ids. The native forms give the same
values.
"""

import numpy as np

from din.kinds import UNKNOWN, ragged_take
from din.ops import backend


def pack_histories(
    rows: np.ndarray, starts: np.ndarray, ends: np.ndarray, behaviour_item: np.ndarray, item: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Collect the histories of impressions `rows` of a shard.

    Args:
        rows: int64 [B], positions in `starts`, `ends` and `item`.
        starts, ends: int32 [impressions of the shard], each impression's slice of `behaviour_item`.
        behaviour_item: int32 [behaviours of the shard], their items.
        item: int32 [impressions of the shard], their candidates.

    Returns:
        place: int64 [T], each behaviour's position in the shard.
        segment: int64 [T], each behaviour's impression, 0 … B − 1.
        touched: [T + B], items of the behaviours, then of the candidates.
    """
    library = backend.library()
    if not library:
        place, offsets = ragged_take(starts[rows], ends[rows])
        segment = np.repeat(np.arange(len(rows)), np.diff(offsets))
        return place, segment, np.concatenate([behaviour_item[place], item[rows]])
    behaviours = library.din_count_behaviours(len(rows), rows, starts, ends)
    place = np.empty(behaviours, np.int64)
    segment = np.empty(behaviours, np.int64)
    touched = np.empty(len(place) + len(rows), np.int64)
    library.din_pack_histories(len(rows), rows, starts, ends, behaviour_item, item, place, segment, touched)
    return place, segment, touched


def field_ids(
    values: np.ndarray, owners: np.ndarray, offset: int, drawn: np.ndarray | None = None, rate: float = 0.0
) -> np.ndarray:
    """Return the rows in the joint table of a field with one id per owner, int64 [N].

    Args:
        values: int32 [all owners], their ids.
        owners: [N], positions in `values`.
        offset: the field's first row in the joint table.
        drawn: float32 [N], uniform in [0, 1). Where it is below `rate`, the unknown id replaces the owner's. None keeps
            all ids.
        rate: see `drawn`.
    """
    library = backend.library()
    if library:
        ids = np.empty(len(owners), np.int64)
        library.din_field_ids(len(owners), owners.astype(np.int64, copy=False), values, drawn, rate, offset, ids)
        return ids
    ids = values[owners].astype(np.int64)
    if drawn is not None:
        ids[drawn < rate] = UNKNOWN
    return ids + offset

"""Turn impressions into the requests that a service would have sent, from `data/raw`, without feature shards.

This second path to a model's inputs is used by parity, which compares it with the path of training, and to score
today's rows with an earlier bundle. The cost is linear in the size of the log, plus one sort of the behaviours of the
rows' users. Requests share the entries of their histories, so these must not be modified.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from din.base import documents
from din.base.artifacts import MANIFEST
from din.base.errors import InputError
from din.contracts.manifests import FeaturesManifest, Order
from din.schema import BEHAVIOUR, DAY_US, ITEM_ID, SEQUENCE, TIMESTAMP, UNKNOWN_TIME, USER_ID, Field, Group, parse_field


def requests_for(
    rows: pa.Table,
    raw: Path,
    features: Path,
    fields: Iterable[Field] | None = None,
    max_history: int | None = None,
    known_items: pa.ChunkedArray | None = None,
) -> list[dict[str, Any]]:
    """Return one request with one candidate for each row, in order.

    Args:
        rows: user and item (rows of users.parquet and items.parquet), sequence and timestamp (µs) of each impression,
            as in reports/predictions/. Item 0 becomes a null id.
        features: the features. Only the lists of users and items, and the order, length and first day of histories are
            read.
        fields: the fields of requests, by default all of `features`. Fields that the log lacks are left out.
        max_history: the largest number of behaviours, keeping the newest, by default as in `features`.
        known_items: the ids of the items that the scorer knows. Behaviours with other items have their side fields in
            the request, as every candidate does. With None, no behaviour has side fields.

    Raises:
        InputError: a row is not in this log.
    """
    manifest = documents.read(FeaturesManifest, features / MANIFEST, "run `dvc repro featurize`")
    wanted = [parse_field(record) for record in manifest.fields] if fields is None else list(fields)
    names = {
        group: [f.name for f in wanted if f.group is group and f.name not in (USER_ID, ITEM_ID)] for group in Group
    }
    user_ids = _ids(features / "users.parquet", rows["user"])
    item_ids = _ids(features / "items.parquet", rows["item"])

    first = manifest.history_from
    oldest = UNKNOWN_TIME if first is None else int(np.datetime64(first, "us").astype(np.int64))
    most = max_history or manifest.max_history
    events = ds.dataset(raw / "events", format="parquet")
    contexts = _contexts(raw, events, rows[SEQUENCE], names[Group.CONTEXT])
    entries, starts, ends = _histories(
        events, raw, rows, user_ids, names[Group.BEHAVIOUR], manifest.order, most, oldest
    )
    profiles = _side(raw / "users.parquet", USER_ID, user_ids, names[Group.USER])
    items = raw / "items.parquet"
    candidates = _side(items, ITEM_ID, item_ids, names[Group.ITEM])
    if known_items is not None:
        _describe_unknown(entries, known_items, items, names[Group.ITEM])
    times = (rows[TIMESTAMP].to_numpy() / 1e6).tolist()
    parts = zip(profiles, starts, ends, candidates, contexts, times, strict=True)
    return [
        {"user": profile, "history": entries[start:end], "candidates": [candidate], "context": context, "time": time}
        for profile, start, end, candidate, context, time in parts
    ]


def _ids(path: Path, rows: pa.ChunkedArray) -> pa.Array:
    """Return the raw ids of rows of items.parquet or users.parquet, null for row 0."""
    return pq.read_table(path, columns=["value"])["value"].take(rows).combine_chunks()


def _contexts(raw: Path, events: ds.Dataset, sequence: pa.ChunkedArray, names: list[str]) -> list[dict[str, Any]]:
    columns = [name for name in names if name in events.schema.names]
    table = events.to_table(columns=[SEQUENCE, *columns], filter=pc.field(SEQUENCE).isin(sequence.unique()))
    at = pc.index_in(sequence, value_set=table[SEQUENCE])
    if at.null_count:
        missing = sequence.filter(pc.is_null(at))[0]
        raise InputError(f"{raw / 'events'}: no event has the sequence {missing} of a row; run `dvc repro featurize`")
    return [{name: row[name] for name in columns} for row in table.take(at).to_pylist()]


def _side(path: Path, key: str, ids: pa.Array, names: list[str]) -> list[dict[str, Any]]:
    """Return an object for each id, with its fields from the side table."""
    alone = [{key: value} for value in ids.to_pylist()]
    if not names or not path.exists():
        return alone
    columns = set(pq.read_schema(path).names)
    table = pq.read_table(path, columns=[key, *(name for name in names if name in columns)])
    listed = table.take(pc.index_in(ids, value_set=table[key])).to_pylist()
    return [entry if entry[key] is not None else bare for entry, bare in zip(listed, alone, strict=True)]


def _describe_unknown(
    entries: list[dict[str, Any]], known_items: pa.ChunkedArray, items: Path, names: list[str]
) -> None:
    """Add side fields to the history entries whose items are not among the known ones."""
    ids = pa.array([entry[ITEM_ID] for entry in entries])
    unknown = pc.invert(pc.is_in(ids.cast(pa.string()), value_set=known_items.cast(pa.string())))
    places = np.flatnonzero(unknown)
    for place, described in zip(places, _side(items, ITEM_ID, ids.take(pa.array(places)), names), strict=True):
        entries[place] |= described


def _histories(
    events: ds.Dataset,
    raw: Path,
    rows: pa.Table,
    users: pa.Array,
    names: list[str],
    order: Order,
    most: int,
    oldest: int,
) -> tuple[list[dict[str, Any]], np.ndarray, np.ndarray]:
    """Return the behaviours of the rows' users, and the slice [start, end) of them that is each row's history.

    Behaviours with a time before `oldest` (µs) are left out; behaviours without a time are kept.
    """
    people = users.unique().drop_null()
    keys = [USER_ID, ITEM_ID, TIMESTAMP, SEQUENCE]
    event_columns = [name for name in names if name in events.schema.names]
    behaved = (pc.field(BEHAVIOUR) == 1) & pc.field(USER_ID).isin(people)
    tables = [events.to_table(columns=[*keys, *event_columns], filter=behaved)]
    if (raw / "history.parquet").exists():
        prior = ds.dataset(raw / "history.parquet", format="parquet")
        prior_columns = [*keys, *(name for name in names if name in prior.schema.names)]
        tables.append(prior.to_table(columns=prior_columns, filter=pc.field(USER_ID).isin(people)))
    is_event = np.repeat(np.arange(len(tables)) == 0, [len(table) for table in tables])
    past = pa.concat_tables(tables, promote_options="permissive")
    past_time = past[TIMESTAMP].cast(pa.int64()).fill_null(UNKNOWN_TIME).to_numpy()
    used = (past_time >= oldest) | (past_time == UNKNOWN_TIME)
    past = past.filter(pa.array(used))
    past_time = past_time[used]
    is_event = is_event[used]

    # Sort behaviours and impressions together, so that the behaviours before an impression are its history.
    count = len(past)
    user = pc.index_in(pa.chunked_array([*past[USER_ID].chunks, users]), value_set=people).fill_null(-1).to_numpy()
    moment = rows[TIMESTAMP].to_numpy()
    if order == "daily":
        moment = moment - moment % DAY_US
    time = np.concatenate([past_time, moment])
    sequence = np.concatenate([past[SEQUENCE].to_numpy(), rows[SEQUENCE].to_numpy()])
    is_impression = np.arange(len(user)) >= count
    tie = np.concatenate([1 + is_event, np.full(len(rows), 2 if order == "sequence" else 0)])  # 0: before equal times
    places = np.lexsort((~is_impression, sequence, tie, time, user))
    before = np.empty(len(places), np.int64)
    before[places] = np.cumsum(~is_impression[places]) - ~is_impression[places]
    ends = before[count:]
    behaviours = places[~is_impression[places]]
    first = np.searchsorted(user[behaviours], user[count:])
    starts = np.maximum(first, ends - most)
    entries = past.select([ITEM_ID, *(name for name in names if name in past.column_names)])
    seconds = pa.array(past_time / 1e6, mask=past_time == UNKNOWN_TIME)
    entries = entries.append_column(TIMESTAMP, seconds)
    return entries.take(pa.array(behaviours)).to_pylist(), starts, ends

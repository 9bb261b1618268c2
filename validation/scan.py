"""Check the rows of the shards, and the ranges of their fields.

Behaviours must be sorted by user and time, which is one of the rules. A few behaviours then suffice to judge a history
[start, end): its first and last one show whose history it is, the last one whether it reaches the impression's time,
and the one after it whether the history is complete. DuckDB joins each impression with these, one shard at a time. Only
users and prior histories are compared across shards. Fields are read one file at a time.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from din.schema import DAY_US, SPLITS, Group
from validation.expectations import Expected, none_of
from validation.feature_directory import OF_BEHAVIOURS, OF_IMPRESSIONS, OWN, FeatureDirectory, values
from validation.row_rules import RowRule, judge_rows
from validation.suite_data import text

_FEATURIZE = "a fault of featurize: run `dvc repro featurize`, and report it if it stays"
_AT = "struct_pack(t := timestamp, s := sequence)"  # the sort key of rows


def rows(features: FeatureDirectory) -> Iterator[Expected]:
    """Expect ids within their tables, sorted behaviours, histories before their impressions, and separate splits.

    * `integers_not_null`: a row lacks its user, item, time, sequence number, label, history or the mark of sampled
      negatives.
    * `user_in_range`, `item_in_range`: an id is beyond its table.
    * `label_0_or_1`: a value other than 0 and 1.
    * `behaviours_sorted`, `history_within_behaviours`, `history_length`, `history_of_own_user`, `user_in_one_shard`: a
      history is not a window of at most `featurize.max_history` of its own user's behaviours.
    * `history_before_impression`: **leakage**: a history reaches its impression's time (`strict`), row (`sequence`) or
      day (`daily`).
    * `history_complete`: a history lacks behaviours from before its impression, so serving would see others.
    * `splits_apart`: splits overlap in time (`temporal`), in users (`by_user`), or a user's test row is not the last
      (`leave_last_out`).
    * `negatives_not_own`: a sampled negative is one of the user's behaviours.
    """
    features.connection.execute(_USERS)
    features.connection.execute(_prior(features))
    shards = (f"({_joined(features, shard)})" for shard in range(features.manifest.shards))
    yield from judge_rows(features, _rules(features), shards, "files", "file", f"file, row, {', '.join(OWN)}")


def fields_in_range(features: FeatureDirectory) -> Iterator[Expected]:
    """Expect each field's values to be in the range that its form allows: `fields_in_range`."""
    offenders = []
    for path, group in _files(features):
        for field in features.of(group):
            stored, row = values(pq.read_table(path, columns=[field.name])[field.name], field)
            offenders += [
                {"field": field.name, "file": str(path), "row": row[at], "value": stored[at].tolist()}
                for at in np.flatnonzero(field.form.outside(stored, features.stored_rows[field.name]))
            ]
    broken = {row["field"] for row in offenders}
    rules = dict.fromkeys(f"{field.name}: {field.form.rule}" for field in features.fields if field.name in broken)
    yield none_of(
        features,
        "fields_in_range",
        "vocabularies",
        features.field_names,
        offenders,
        advice=f"a value is in the range of its field; {'; '.join(rules)}: run `dvc repro featurize`",
    )


def _files(features: FeatureDirectory) -> Iterator[tuple[Path, Group]]:
    yield features.root / "items.parquet", Group.ITEM
    yield features.root / "users.parquet", Group.USER
    for shard in range(features.manifest.shards):
        yield features.path(shard, "behaviours"), Group.BEHAVIOUR
        yield from ((features.path(shard, split), Group.CONTEXT) for split in SPLITS)


_USERS = f"""
    CREATE TABLE users AS SELECT user, min(shard) AS home, bool_or(split = 'train') AS trains,
        bool_or(split = 'valid') AS validates, min({_AT}) FILTER (WHERE split = 'test') AS test FROM rows GROUP BY user
"""
"""SQL that creates the table `users`: the first shard of each, `home`, its splits, and its first `test` row."""


def _prior(features: FeatureDirectory) -> str:
    """Return SQL that creates the table `prior`, the places of the behaviours from prior histories.

    At equal times, prior history precedes events whatever their sequence numbers. History and events are numbered
    apart, so a behaviour is known by its user and item too.
    """
    history = features.workspace.raw / "history.parquet"
    if not history.exists():
        return "CREATE TABLE prior AS SELECT shard, row FROM rows WHERE false"

    def places(entity: str) -> str:
        path = text(features.root / f"{entity}s.parquet")
        columns = f"value AS {entity}_id, file_row_number AS {entity}"
        return f"(SELECT {columns} FROM read_parquet({path}, file_row_number = true, hive_partitioning = false))"

    return f"""
        CREATE TABLE prior AS
        WITH history AS (
            SELECT user_id, item_id, epoch_us(timestamp) AS timestamp, sequence
            FROM read_parquet({text(history)}, hive_partitioning = false)
        ), listed AS (
            SELECT * FROM history JOIN {places("user")} USING (user_id) JOIN {places("item")} USING (item_id)
        )
        SELECT shard, row FROM (FROM rows WHERE split = 'behaviours')
        SEMI JOIN listed USING (user, item, timestamp, sequence)
    """


def _joined(features: FeatureDirectory, shard: int) -> str:
    """Return SQL that selects the rows of a shard, each with the behaviours that its rules need.

    A behaviour has the `previous` behaviour. An impression has `inside`, which is whether its history is within the
    shard's behaviours; `begun` and `newest`, the first and the last behaviour of its history; and `next`, the behaviour
    after that. `oldest` is the row of the user's first behaviour in the shard. The joins have only equality conditions:
    for any other condition of a left join, DuckDB compares every pair of rows.
    """
    return f"""
        WITH own AS ({features.rows_of(shard)}), past AS (
            SELECT row, user, item, timestamp, sequence, known.row IS NOT NULL AS prior
            FROM own LEFT JOIN (SELECT row FROM prior WHERE shard = '{shard:05d}') AS known USING (row)
            WHERE split = 'behaviours'
        ), sizes AS (
            SELECT count(*) AS size FROM past
        ), oldest AS (
            SELECT user, min(row) AS oldest FROM past GROUP BY user
        ), placed AS (
            SELECT own.*, oldest, home, trains, validates, test, split <> 'behaviours' AS impression,
                0 <= history_start AND history_start <= history_end AND history_end <= size AS inside,
                CASE WHEN inside AND history_start < history_end THEN history_start END AS start,
                CASE WHEN start IS NULL THEN oldest ELSE history_end END AS following,
                sampled = 1 AND (user, item) IN (SELECT (user, item) FROM past) AS owned
            FROM own CROSS JOIN sizes LEFT JOIN oldest USING (user) LEFT JOIN users USING (user)
        )
        SELECT placed.*, begun, newest, next, previous FROM placed
        LEFT JOIN past AS begun ON begun.row = start
        LEFT JOIN past AS newest ON newest.row = CASE WHEN start IS NOT NULL THEN history_end - 1 END
        LEFT JOIN past AS next ON next.row = CASE WHEN impression THEN following END
        LEFT JOIN past AS previous ON previous.row = CASE WHEN NOT impression THEN placed.row - 1 END
    """


def _rules(features: FeatureDirectory) -> list[RowRule]:
    users, items = (pq.read_metadata(features.root / f"{name}.parquet").num_rows for name in ("users", "items"))
    longest = features.manifest.max_history
    foreign = "coalesce(begun.user <> user OR newest.user <> user, false)"
    of_own_user = f"inside AND NOT {foreign}"
    cut = f"start > greatest(oldest, history_end - {longest})"
    unsorted = (
        "previous.user > user OR previous.user = user AND (previous.timestamp > timestamp OR previous.timestamp = "
        "timestamp AND previous.sequence > sequence AND NOT previous.prior)"
    )
    missing, missing_too = (
        " OR ".join(f"{column} IS NULL" for column in columns) for columns in (OF_BEHAVIOURS, OF_IMPRESSIONS)
    )
    rules = [
        ("integers_not_null", None, f"{missing} OR impression AND ({missing_too})", "a row lacks an integer"),
        ("user_in_range", "user", f"user NOT BETWEEN 0 AND {users - 1}", "a user is a row of users.parquet"),
        ("item_in_range", "item", f"item NOT BETWEEN 0 AND {items - 1}", "an item is a row of items.parquet"),
        ("label_0_or_1", "label", "impression AND label NOT IN (0, 1)", "a label is 0 or 1"),
        ("behaviours_sorted", "timestamp", unsorted, "behaviours are sorted by user, time and sequence"),
        (
            "history_within_behaviours",
            "history_end",
            "impression AND NOT inside",
            "0 ≤ history_start ≤ history_end ≤ behaviours",
        ),
        (
            "history_length",
            "history_end",
            f"history_end - history_start > {longest}",
            "a history is cut to featurize.max_history",
        ),
        ("history_of_own_user", "history_start", foreign, "a history holds another user's behaviours"),
        (
            "history_before_impression",
            "history_end",
            f"{of_own_user} AND NOT {_before(features, 'newest')}",
            "a history reaches its impression (or its day, if the order is daily); the model would learn the future",
        ),
        (
            "history_complete",
            "history_end",
            f"impression AND {of_own_user} AND (next.user = user AND {_before(features, 'next')} OR {cut})",
            "a history lacks behaviours from before its impression",
        ),
        ("user_in_one_shard", "user", "shard <> home", "a user's rows lie in several shards"),
        (
            "splits_apart",
            None,
            _across_splits(features),
            "a row lies on the wrong side of a split, which would improve the metrics",
        ),
        ("negatives_not_own", "item", "owned", "a sampled negative is one of the user's own behaviours"),
    ]
    return [RowRule(name, column, broken, f"{advice}; {_FEATURIZE}") for name, column, broken, advice in rules]


def _before(features: FeatureDirectory, behaviour: str) -> str:
    """Return SQL for whether a behaviour is strictly before an impression, in the order that the manifest names."""
    if features.manifest.order == "strict":
        return f"({behaviour}.timestamp < timestamp)"
    if features.manifest.order == "daily":
        return f"({behaviour}.timestamp < timestamp - timestamp % {DAY_US})"
    tie = f"{behaviour}.timestamp = timestamp AND ({behaviour}.sequence < sequence OR {behaviour}.prior)"
    return f"({behaviour}.timestamp < timestamp OR {tie})"


def _across_splits(features: FeatureDirectory) -> str:
    """Return SQL for whether a row is on the wrong side of a split.

    Under temporal, every row must precede the first row of each later split. Under by_user, no user may be in two
    splits. Under leave_last_out, no user may be in both train and valid, and a user's train and valid rows must precede
    their first test row.
    """
    if features.manifest.protocol == "temporal":
        first = [f"SELECT min(timestamp) FROM rows WHERE split {later}" for later in ("<> 'train'", "= 'test'")]
        before = [features.one(f"{query} AND split <> 'behaviours'")[0] for query in first]
        ends = ["NULL" if end is None else end for end in before]
        return f"split = 'train' AND timestamp >= {ends[0]} OR split = 'valid' AND timestamp >= {ends[1]}"
    if features.manifest.protocol == "by_user":
        return "split = 'valid' AND trains OR split = 'test' AND (trains OR validates)"
    return f"split = 'valid' AND trains OR split IN ('train', 'valid') AND {_AT} >= test"

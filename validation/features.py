"""The suite on `data/features/`: complete shards, disjoint splits, and histories that end before their impression.

The suite judges in this order:

1. the files: hashes, the raw log they were built from, columns, row counts, vocabularies;
2. all impressions (validation/scan.py);
3. weights and omitted negatives, if there are any (validation/impressions.py);
4. the meaning of the fields (validation/meaning.py).

The files are read twice to hash them and three to five times to judge them.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from din.base.artifacts import hash_tree
from din.kinds import UNKNOWN
from din.schema import ITEM_ID, SPLITS, WEIGHT, Field, Group
from validation.expectations import Expected, columns_of, figure, files_match_manifest, lowest, none_of
from validation.feature_directory import OWN, FeatureDirectory, integers
from validation.impressions import recounted
from validation.meaning import judge_meaning
from validation.run import Phases
from validation.scan import fields_in_range, rows

_VOCABULARY_COLUMNS = {"id": "int32", "count": "int64", "impressions": "int64", "known_since": "date32[day]"}
_BEHAVIOUR_COLUMNS = {"user": "int32", "item": "int32", "timestamp": "int64", "sequence": "int64"}
_IMPRESSION_COLUMNS = _BEHAVIOUR_COLUMNS | {
    "label": "int8",
    "history_start": "int32",
    "history_end": "int32",
    "sampled": "int8",
}


def files(features: FeatureDirectory) -> Iterator[Expected]:
    """Expect files that are complete, unchanged, built from the current raw log, and laid out as in FORMAT.md.

    * `files_match_manifest`, `files_readable`, `columns`, `row_counts`: the files are not the ones that `featurize`
      wrote.
    * `built_from_this_raw_log`: the raw log has changed since.
    """
    root, manifest = features.root, features.manifest
    yield files_match_manifest(features, root, manifest.files, "featurize")
    built_from = manifest.raw
    raw = hash_tree(features.workspace.raw)
    yield figure(
        features,
        "built_from_this_raw_log",
        int(built_from != raw),
        sample=[{"manifest": built_from, "log": raw}],
        advice="the raw log changed after featurize ran: run `dvc repro featurize`",
    )
    expected = {path: {name: (kind,) for name, kind in kinds.items()} for path, kinds in _columns(features).items()}
    advice = "the shards are not of this version's format: run `dvc repro featurize`"
    columns, judged = columns_of(features, expected, advice)
    yield from judged
    stated = {"items.parquet": manifest.items, "users.parquet": manifest.users}
    stated |= {f"vocab/{name}.parquet": rows for name, rows in features.stored_rows.items()}
    parts = manifest.rows | {"behaviours": manifest.behaviours}
    stated |= {f"shards/*/{name}.parquet": rows for name, rows in parts.items()}
    held = dict.fromkeys(stated, 0)
    for path in columns:
        in_shard = path.is_relative_to(root / "shards")
        part = f"shards/*/{path.name}" if in_shard else path.relative_to(root).as_posix()
        held[part] += pq.read_metadata(path).num_rows
    counts = [{"part": part, "manifest": rows, "files": held[part]} for part, rows in stated.items()]
    yield none_of(
        features,
        "row_counts",
        "parts",
        pd.Index(stated, name="part"),
        [count for count in counts if count["manifest"] != count["files"]],
        advice="the counts in the manifest differ from the rows of the files: run `dvc repro featurize`",
    )


def vocabularies(features: FeatureDirectory) -> Iterator[Expected]:
    """Expect vocabularies with dense ids and unique values, ordered by day and descending count.

    These are `vocabulary_ids`, `vocabulary_values`, `vocabulary_days` and `vocabulary_counts`.
    """
    rules = {
        "ids": "ids are 0, 1, 2, …: row 0 is unknown",
        "days": "known_since is null for the ids of training, then goes by day, as the manifest says",
        "counts": "ids of one day go by descending count",
        "values": "no value has two ids",
    }
    offenders = {rule: [] for rule in rules}
    for field in features.fields:
        table = features.vocabulary(field)
        for rule, broken in _broken(features, field, table).items():
            rows = table.take(pa.array(np.flatnonzero(broken))).to_pylist()
            offenders[rule] += [{"field": field.name, **row} for row in rows]
    for rule, meaning in rules.items():
        yield none_of(
            features,
            f"vocabulary_{rule}",
            "vocabularies",
            features.field_names,
            offenders[rule],
            advice=f"{meaning}; this is a fault of featurize: run `dvc repro featurize`, and report it if it stays",
        )


def _broken(features: FeatureDirectory, field: Field, table: pa.Table) -> dict[str, np.ndarray]:
    """Return which rows of a vocabulary break each rule."""
    ids, counts = (table[name].to_numpy() for name in ("id", "count"))
    broken = {"ids": ids != np.arange(len(ids))}
    if not field.form.has_vocabulary:  # buckets are ordered by edge instead
        return broken
    numbers = {day: number for number, day in enumerate(features.held_out, 1)} | {None: 0}
    since = np.array([numbers.get(day, -1) for day in table["known_since"].to_pylist()])
    broken["days"] = since != features.day_numbers(field)
    broken["counts"] = np.zeros(len(counts), bool)
    broken["counts"][2:] = (counts[2:] > counts[1:-1]) & (since[2:] == since[1:-1])
    codes = table["value"].combine_chunks().dictionary_encode(null_encoding="encode").indices.to_numpy()
    broken["values"] = np.ones(len(codes), bool)  # null is the value of the unknown id, so it must be unique too
    broken["values"][np.unique(codes, return_index=True)[1]] = False
    return broken


def _columns(features: FeatureDirectory) -> dict[Path, dict[str, str]]:
    """Return every Parquet file that must exist, with its columns and types."""
    root = features.root

    def of(group: Group) -> dict[str, str]:
        return {field.name: field.form.arrow_type for field in features.of(group)}

    files = {root / "vocab" / f"{field.name}.parquet": _VOCABULARY_COLUMNS for field in features.fields}
    files |= {root / "items.parquet": of(Group.ITEM), root / "users.parquet": of(Group.USER)}
    weight = {WEIGHT: "double"} if features.manifest.params.get(WEIGHT) is not None else {}
    impression_columns = _IMPRESSION_COLUMNS | weight | of(Group.CONTEXT)
    for shard in range(features.manifest.shards):
        files[features.path(shard, "behaviours")] = _BEHAVIOUR_COLUMNS | of(Group.BEHAVIOUR)
        files |= {features.path(shard, split): impression_columns for split in SPLITS}
    return files


def splits(features: FeatureDirectory) -> Iterator[Expected]:
    """Expect enough rows (`split_rows`), and labels of both kinds (`split_classes`), in each split."""
    keys = "featurize.protocol and its featurize.*_days or *_fraction"
    counted = features.rows(
        "SELECT split, count(*) AS rows, count_if(label = 1) AS clicks, concat(make_timestamp(min(timestamp))::DATE, "
        "' to ', make_timestamp(max(timestamp))::DATE) AS dates FROM rows GROUP BY split"
    )
    rows = pd.DataFrame(counted).set_index("split").reindex(SPLITS)
    rows = rows.fillna({"rows": 0, "clicks": 0, "dates": "no rows"})
    rows["classes"] = (rows["clicks"] > 0).astype(int) + (rows["clicks"] < rows["rows"])
    dates = ", ".join(f"{split} has {held}" for split, held in rows["dates"].items())
    yield lowest(
        features,
        "split_rows",
        "splits",
        rows,
        "rows",
        advice=f"too few rows to trust a metric; {dates}. If a date is far from the others, correct or remove its rows "
        f"in the source; else see {keys}, or lower min_rows",
    )
    yield lowest(
        features,
        "split_classes",
        "splits",
        rows,
        "classes",
        about="label",
        advice=f"all labels of a split are equal, so nothing can be learned or measured: see {keys}",
    )


def unknown_items(features: FeatureDirectory) -> Iterator[Expected]:
    """Expect that most validation and test rows have items that training knows: `unknown_items_rate`."""
    ids = integers(features.items[ITEM_ID])
    unknown = np.flatnonzero((ids == UNKNOWN) | (ids >= features.known_rows[ITEM_ID]))
    features.connection.register("unknown_ids", pa.table({"item": unknown}))
    held_out = "FROM rows WHERE split IN ('valid', 'test')"
    unknown_rows = f"{held_out} AND item IN (FROM unknown_ids)"
    (share,) = features.one(f"SELECT (SELECT count(*) {unknown_rows}) / count(*) {held_out}")
    yield figure(
        features,
        "unknown_items_rate",
        share,
        about=ITEM_ID,
        advice=f"validation and test rows whose {ITEM_ID} training never saw often enough: lower featurize.min_count, "
        "train on more days, or raise validate_features.max_unknown_items",
        sample=features.sample(f"SELECT file, row, {', '.join(OWN)} {unknown_rows}"),
    )


PHASES = Phases(
    FeatureDirectory,
    {
        "files": (files,),
        "vocabularies": (vocabularies,),
        "impressions": (rows, fields_in_range, splits, unknown_items),
        "counting": (recounted,),
        "meaning": (judge_meaning,),
    },
)

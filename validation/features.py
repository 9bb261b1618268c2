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
import pyarrow as pa
import pyarrow.parquet as pq

from din.base.artifacts import hash_tree
from din.kinds import UNKNOWN
from din.schema import ITEM_ID, SPLITS, WEIGHT, Group
from validation.expectations import Expected, Rows, columns_of, figure, files_match_manifest, none_of
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
    yield files_match_manifest(root, manifest.files, "featurize")
    built_from = manifest.raw
    raw = hash_tree(features.workspace.raw)
    yield none_of(
        "built_from_this_raw_log",
        [] if built_from == raw else [{"manifest": built_from, "log": raw}],
        advice="the raw log changed after featurize ran: run `dvc repro featurize`",
    )
    expected = {path: {name: (kind,) for name, kind in kinds.items()} for path, kinds in _columns(features).items()}
    found, judged = columns_of(expected, "the shards are not of this version's format: run `dvc repro featurize`")
    yield from judged
    told = {"items.parquet": manifest.items, "users.parquet": manifest.users}
    told |= {f"vocab/{name}.parquet": rows for name, rows in features.stored_rows.items()}
    parts = manifest.rows | {"behaviours": manifest.behaviours}
    told |= {f"shards/*/{name}.parquet": rows for name, rows in parts.items()}
    held = dict.fromkeys(told, 0)
    for path in found:
        in_shard = path.is_relative_to(root / "shards")
        what = f"shards/*/{path.name}" if in_shard else path.relative_to(root).as_posix()
        held[what] += pq.read_metadata(path).num_rows
    yield none_of(
        "row_counts",
        [{"of": what, "manifest": told[what], "files": held[what]} for what in told if told[what] != held[what]],
        advice="the counts in the manifest differ from the rows of the files: run `dvc repro featurize`",
    )


def vocabularies(features: FeatureDirectory) -> Iterator[Expected]:
    """Expect vocabularies with dense ids and unique values, ordered by day and descending count.

    These are `vocab_<field>_ids`, `vocab_<field>_values`, `vocab_<field>_days` and `vocab_<field>_counts`.
    """
    days = {day: number for number, day in enumerate(features.held_out, 1)}
    for field in features.fields:
        table = features.vocabulary(field)
        ids, counts = (table[name].to_numpy() for name in ("id", "count"))
        checks = {f"vocab_{field.name}_ids": (ids != np.arange(len(ids)), "ids are 0, 1, 2, …: row 0 is unknown")}
        if field.form.has_vocabulary:  # buckets are ordered by edge instead
            told = np.array([0 if day is None else days.get(day, -1) for day in table["known_since"].to_pylist()])
            wrong = told != features.day_numbers(field)
            rule = "known_since is null for the ids of training, then goes by day, as the manifest says"
            checks[f"vocab_{field.name}_days"] = wrong, rule
            rising = np.zeros(len(counts), bool)
            rising[2:] = (counts[2:] > counts[1:-1]) & (told[2:] == told[1:-1])
            checks[f"vocab_{field.name}_counts"] = rising, "ids of one day go by descending count"
            codes = table["value"].combine_chunks().dictionary_encode(null_encoding="encode").indices.to_numpy()
            again = np.ones(len(codes), bool)  # null is the value of the unknown id, so it must be unique too
            again[np.unique(codes, return_index=True)[1]] = False
            checks[f"vocab_{field.name}_values"] = again, "no value has two ids"
        for name, (broken, rule) in checks.items():
            sample: Rows = table.take(pa.array(np.flatnonzero(broken)[:5])).to_pylist()
            advice = f"{rule}; this is a fault of featurize: run `dvc repro featurize`, and report it if it stays"
            yield figure(name, int(broken.sum()), maximum=0, column=field.name, advice=advice, sample=sample)


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
    """Expect enough rows (`<split>_rows`), and labels of both kinds (`<split>_classes`), in each split."""
    least = features.params.validate_features.min_rows
    knobs = "featurize.protocol and its featurize.*_days or *_fraction"
    counted = features.rows(
        "SELECT split, count(*) AS rows, count_if(label = 1) AS clicks, concat(make_timestamp(min(timestamp))::DATE, "
        "' to ', make_timestamp(max(timestamp))::DATE) AS dates FROM rows GROUP BY split"
    )
    found = {row["split"]: row for row in counted}
    ranges = [found.get(name, {"split": name, "rows": 0, "clicks": 0, "dates": "no rows"}) for name in SPLITS]
    for split in ranges:
        name = split["split"]
        yield figure(
            f"{name}_rows",
            split["rows"],
            minimum=least,
            advice=f"too few rows to trust a metric; {name} has {split['dates']}. If a date is far from the others, "
            f"correct or remove its rows in the source; else see {knobs}, or lower min_rows",
            sample=ranges,
        )
        yield figure(
            f"{name}_classes",
            (split["clicks"] > 0) + (split["clicks"] < split["rows"]),
            minimum=2,
            column="label",
            advice=f"all labels of {name} are equal, so nothing can be learned or measured: see {knobs}",
            sample=[split],
        )


def unknown_items(features: FeatureDirectory) -> Iterator[Expected]:
    """Expect that most validation and test rows have items that training knows: `unknown_items_rate`."""
    ids = integers(features.items[ITEM_ID])
    unknown = np.flatnonzero((ids == UNKNOWN) | (ids >= features.known_rows[ITEM_ID]))
    features.connection.register("unknown_ids", pa.table({"item": unknown}))
    held_out = "FROM rows WHERE split IN ('valid', 'test')"
    strangers = f"{held_out} AND item IN (FROM unknown_ids)"
    (share,) = features.one(f"SELECT (SELECT count(*) {strangers}) / count(*) {held_out}")
    yield figure(
        "unknown_items_rate",
        share,
        maximum=features.params.validate_features.max_unknown_items,
        column=ITEM_ID,
        advice=f"validation and test rows whose {ITEM_ID} training never saw often enough: lower featurize.min_count, "
        "train on more days, or raise validate_features.max_unknown_items",
        sample=features.sample(f"SELECT file, row, {', '.join(OWN)} {strangers}"),
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

"""The suite on `data/features/`: whole shards, disjoint splits, and no history that sees its own future.

It judges first the files (hashes, the raw log they were built from, columns, row counts, vocabularies), then all
impressions, with one shard in memory at a time (validation/scan.py), then weights and missing negatives, if there are
any (validation/impressions.py), then late ids, if there are any (validation/recount.py), and last the meaning of their
fields (validation/meaning.py). The files are read twice to hash them and three to five times to judge them.
"""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from din import documents
from din.artifacts import MANIFEST, hash_tree
from din.document_types import FeaturesManifest
from din.params import Params
from din.schema import ITEM_ID, SPLITS, USER_ID, WEIGHT, Group, parse_field
from din.workspace import Workspace
from validation.data import Data
from validation.expectations import SAMPLE, Expected, Rows, figure, files_match_manifest, none_of, schemas
from validation.impressions import recounted
from validation.meaning import judge_meaning
from validation.recount import Recount
from validation.run import Phases
from validation.scan import Found, Rule, scan
from validation.shards import Features

_VOCABULARY_COLUMNS = {"id": "int32", "count": "int64", "impressions": "int64", "known_since": "date32[day]"}
_BEHAVIOUR_COLUMNS = {"user": "int32", "item": "int32", "timestamp": "int64", "sequence": "int64"}
_IMPRESSION_COLUMNS = _BEHAVIOUR_COLUMNS | {
    "label": "int8",
    "history_start": "int32",
    "history_end": "int32",
    "sampled": "int8",
}


def files(data: Data) -> Iterator[Expected]:
    """Yield the checks of the files: complete, unchanged, built from today's raw log, and laid out as in FORMAT.md."""
    root = data.workspace.features
    manifest = _manifest(root)
    yield files_match_manifest(root, manifest, "featurize")
    built_from = manifest["raw"]
    raw = hash_tree(data.workspace.raw)
    yield none_of(
        "built_from_this_raw_log",
        [] if built_from == raw else [{"manifest": built_from, "log": raw}],
        advice="the raw log changed after featurize ran: run `dvc repro featurize`",
    )
    expected = _columns(root, manifest)
    found, readable = schemas(expected)
    yield readable
    wrong = [
        {"file": str(path), "column": name, "type": types.get(name, "missing"), "expected": kind}
        for path, schema in found.items()
        for types in [dict(zip(schema.names, map(str, schema.types), strict=True))]
        for name, kind in expected[path].items()
        if types.get(name, "missing").replace("element", "item") != kind
    ]
    yield none_of("columns", wrong, advice="the shards are not of this version's format: run `dvc repro featurize`")
    counts = {path: pq.read_metadata(path).num_rows for path in found}
    told = {"items.parquet": manifest["items"], "users.parquet": manifest["users"]}
    told |= {f"vocab/{name}.parquet": rows for name, rows in Features(root, manifest).stored_rows.items()}
    parts = manifest["rows"] | {"behaviours": manifest["behaviours"]}
    told |= {f"shards/*/{name}.parquet": rows for name, rows in parts.items()}
    held = dict.fromkeys(told, 0)
    for path, count in counts.items():
        in_shard = path.is_relative_to(root / "shards")
        held[f"shards/*/{path.name}" if in_shard else path.relative_to(root).as_posix()] += count
    yield none_of(
        "row_counts",
        [{"of": what, "manifest": told[what], "files": held[what]} for what in told if told[what] != held[what]],
        advice="the counts in the manifest differ from the rows of the files: run `dvc repro featurize`",
    )


def vocabularies(data: Data) -> Iterator[Expected]:
    """Yield the checks of the vocabularies: dense ids, unique values, and the order of days and counts."""
    features = _opened(data.workspace)
    days = {day: number for number, day in enumerate(features.held_out, 1)}
    for field in features.fields:
        table = features.vocabulary(field)
        ids, counts = (table[name].to_numpy() for name in ("id", "count"))
        checks = {f"vocab_{field.name}_ids": (ids != np.arange(len(ids)), "ids are 0, 1, 2, …: row 0 is unknown")}
        if field.form.has_vocabulary:  # buckets go by edge
            told = np.array([0 if day is None else days.get(day, -1) for day in table["known_since"].to_pylist()])
            wrong = told != features.day_numbers(field)
            rule = "known_since is null for the ids of training, then goes by day, as the manifest says"
            checks[f"vocab_{field.name}_days"] = wrong, rule
            rising = np.zeros(len(counts), bool)
            rising[2:] = (counts[2:] > counts[1:-1]) & (told[2:] == told[1:-1])
            checks[f"vocab_{field.name}_counts"] = rising, "ids of one day go by descending count"
            codes = table["value"].combine_chunks().dictionary_encode(null_encoding="encode").indices.to_numpy()
            again = np.ones(len(codes), bool)  # null, the unknown's value, counts as one too
            again[np.unique(codes, return_index=True)[1]] = False
            checks[f"vocab_{field.name}_values"] = again, "no value has two ids"
        for name, (broken, rule) in checks.items():
            sample: Rows = table.take(pa.array(np.flatnonzero(broken)[:5])).to_pylist()
            advice = f"{rule}; this is a fault of featurize: run `dvc repro featurize`, and report it if it stays"
            yield figure(name, int(broken.sum()), maximum=0, column=field.name, advice=advice, sample=sample)


def impressions(data: Data) -> Iterator[Expected]:
    """Yield the checks of the impressions: ids in range, histories before their impressions, and disjoint splits."""
    features = _opened(data.workspace)
    found = scan(features, data.workspace.raw)
    for rule in Rule:
        yield _counted(found, rule.label, rule.column, rule.advice)
    for field in features.fields:
        advice = f"{field.form.rule}: run `dvc repro featurize`"
        yield _counted(found, f"{field.name}_in_range", field.name, advice)
    yield from _splits(found, data.params)
    yield from _unknown(found, features, data.params)


def counting(data: Data) -> Iterator[Expected]:
    """Yield the checks that weights agree with the log, and that training alone lacks negatives."""
    yield from recounted(_opened(data.workspace), data.workspace.raw)


def late_ids(data: Data) -> Iterator[Expected]:
    """Yield the checks that no id becomes known before the day on which it occurs often enough."""
    features = _opened(data.workspace)
    recount = Recount(features)
    for field in recount.fields:
        table = features.vocabulary(field)
        broken = recount.broken(field, table["count"].to_numpy())
        rows = np.flatnonzero(broken)[:SAMPLE]
        examples = table.take(pa.array(rows)).to_pylist()
        recounted = recount.counts[field.name][rows].tolist()
        yield figure(
            f"{field.name}_known_since",
            int(broken.sum()),
            maximum=0,
            column=field.name,
            advice="until the day on which it becomes known, an id occurs `count` times, and before it less often than "
            "featurize.min_count; else the model would know the future, or forget; this is a fault of featurize: run "
            "`dvc repro featurize`, and report it if it stays",
            sample=[{**row, "recounted": n} for row, n in zip(examples, recounted, strict=True)],
        )


def meaning(data: Data) -> Iterator[Expected]:
    """Yield the checks of fields that leak the label, or that mean something else on later days."""
    yield from judge_meaning(_opened(data.workspace), data.params.validate_features)


PHASES = Phases(
    Data,
    {
        "files": (files,),
        "vocabularies": (vocabularies,),
        "impressions": (impressions,),
        "counting": (counting,),
        "late_ids": (late_ids,),
        "meaning": (meaning,),
    },
)


def _opened(workspace: Workspace) -> Features:
    return Features(workspace.features, _manifest(workspace.features))


def _manifest(root: Path) -> FeaturesManifest:
    return documents.read(FeaturesManifest, root / MANIFEST, "run `dvc repro featurize`")


def _columns(root: Path, manifest: FeaturesManifest) -> dict[Path, dict[str, str]]:
    """Return every Parquet file that must exist, with its columns and types."""
    fields = [parse_field(record) for record in manifest["fields"]]

    def of(group: Group) -> dict[str, str]:
        return {field.name: field.form.arrow_type for field in fields if field.group is group}

    files = {root / "vocab" / f"{field.name}.parquet": _VOCABULARY_COLUMNS for field in fields}
    files |= {root / "items.parquet": of(Group.ITEM), root / "users.parquet": of(Group.USER)}
    weight = {WEIGHT: "double"} if manifest["params"].get(WEIGHT) is not None else {}
    impression_columns = _IMPRESSION_COLUMNS | weight
    for number in range(manifest["shards"]):
        folder = root / "shards" / f"{number:05d}"
        files[folder / "behaviours.parquet"] = _BEHAVIOUR_COLUMNS | of(Group.BEHAVIOUR)
        files |= {folder / f"{split}.parquet": impression_columns | of(Group.CONTEXT) for split in SPLITS}
    return files


def _counted(found: Found, name: str, column: str | None, advice: str) -> Expected:
    """Expect no offending row; a rule that was not evaluated has no count and fails."""
    count = found.counts.get(name)
    return figure(name, count, maximum=0, column=column, advice=advice, sample=found.samples.get(name, []))


def _splits(found: Found, params: Params) -> Iterator[Expected]:
    least = params.validate_features.min_rows
    knobs = "featurize.protocol and its featurize.*_days or *_fraction"
    ranges = [{"split": name, "rows": split.rows, "dates": split.dates} for name, split in found.splits.items()]
    for name, split in found.splits.items():
        yield figure(
            f"{name}_rows",
            split.rows,
            minimum=least,
            advice=f"too few rows to trust a metric; {name} has {split.dates}. If a date is far from the others, "
            f"correct or remove its rows in the source; else see {knobs}, or lower min_rows",
            sample=ranges,
        )
        yield figure(
            f"{name}_classes",
            (split.clicks > 0) + (split.clicks < split.rows),
            minimum=2,
            column="label",
            advice=f"all labels of {name} are equal, so nothing can be learned or measured: see {knobs}",
            sample=[{"split": name, "rows": split.rows, "clicks": split.clicks, "dates": split.dates}],
        )
        yield figure(
            f"{name}_mean_history_length",
            split.behaviours / split.rows if split.rows else None,
            minimum=0.01,
            severity="warning",
            advice="nearly every history is empty: which rows are behaviours? See fetch.table.columns.behaviour",
        )


def _unknown(found: Found, features: Features, params: Params) -> Iterator[Expected]:
    limits = params.validate_features
    held_out = found.splits["valid"].rows + found.splits["test"].rows
    for name, limit, column in (
        ("unknown_items_rate", limits.max_unknown_items, ITEM_ID),
        ("unknown_users_rate", limits.max_unknown_users, USER_ID),
    ):
        if limit is not None and any(field.name == column for field in features.fields):
            yield figure(
                name,
                found.counts.get(name, math.nan) / held_out if held_out else None,
                maximum=limit,
                column=column,
                advice=f"validation and test rows whose {column} training never saw often enough: lower "
                f"featurize.min_count, train on more days, or raise validate_features.max_{name.removesuffix('_rate')}",
                sample=found.samples.get(name, []),
            )

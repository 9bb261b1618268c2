"""Recompute from the raw log which events train, validate and test, and their weights.

    event in the log                    expected in the shards
    click of the training split         train
    other row of the training split     train, if md5(seed, user, sequence) keeps it (featurize.keep_negatives)
    row of a held-out day or user       valid or test, always
    event before the window             nowhere

Only features with weights or with omitted negatives are checked, because both are easy to get wrong by a row. DuckDB
joins the log with the shards by sequence number, once, and spills to disk.
"""

from collections.abc import Iterator

from din.schema import SEQUENCE, SPLITS, USER_ID, WEIGHT
from validation.expectations import Expected, figure
from validation.feature_directory import FeatureDirectory
from validation.row_rules import RowRule, judge_rows
from validation.suite_data import quoted, text

_FEATURIZE = "this is a fault of featurize: run `dvc repro featurize`, and report it if it stays"


def recounted(features: FeatureDirectory) -> Iterator[Expected]:
    """If features have weights or omit negatives, expect exactly the right events of the log, with their weights.

    * `weights_of_the_log`: an impression has another `featurize.weight` than its event.
    * `negatives_kept`, `held_out_rows_whole`: training does not hold exactly its clicks and the kept negatives;
      validation or test lacks a row.
    * `negatives_told`: the manifest states another share of kept negatives than the rows have.
    """
    thinned = features.manifest.params.get("keep_negatives", 1) < 1
    weight = features.manifest.params.get(WEIGHT)
    if not thinned and weight is None:
        return
    features.connection.execute(_beside_events(features, weight))
    rules = []
    if thinned:
        rules += [
            RowRule(
                "negatives_kept",
                "label",
                "'train' IN (found, expected) AND found IS DISTINCT FROM expected",
                "training does not hold exactly its clicks and the rows without a click that md5 of the seed, the user "
                f"and the sequence number keeps; {_FEATURIZE}",
            ),
            RowRule(
                "held_out_rows_whole",
                "label",
                "coalesce(found, 'train') <> coalesce(expected, 'train')",
                "validation or test rows are missing, or are no events of their days or users: negatives may be left "
                f"out of training alone, or all metrics are wrong; {_FEATURIZE}",
            ),
        ]
        yield _stated_share(features)
    if weight is not None:
        broken = "found IS NOT NULL AND weight IS DISTINCT FROM weight_of_event"
        advice = f"the weight of an impression is not that of its event; {_FEATURIZE}"
        rules.append(RowRule("weights_of_the_log", weight, broken, advice))
    yield from judge_rows(features, rules, [f"(SELECT * FROM beside_events ORDER BY {SEQUENCE}, found)"], "log")


def _stated_share(features: FeatureDirectory) -> Expected:
    kept, total = features.one(
        "SELECT count(*) FILTER (WHERE expected = 'train'), count(*) FROM beside_events "
        "WHERE split = 'train' AND label = 0"
    )
    stated = features.manifest.negatives.training if features.manifest.negatives else 1.0
    share = kept / total if total else 1.0
    return figure(
        features,
        "negatives_told",
        abs(stated - share),
        advice="the manifest states another share of kept negatives than the rows have, so training would shift all "
        f"probabilities; {_FEATURIZE}",
        sample=[{"manifest": stated, "recounted": share}],
    )


def _beside_events(features: FeatureDirectory, weight: str | None) -> str:
    """Return SQL that creates the table `beside_events`, which joins each event of the log with its impression.

    Its columns are the event's split (null before the window), the split expected and the split `found` in the shards,
    and the weights of the event and of the impression.
    """
    params = features.manifest.params
    events = text(features.workspace.raw / "events/*/*.parquet")
    shown = " UNION ALL ".join(
        f"SELECT {SEQUENCE}, '{split}' AS found, {WEIGHT if weight else 'NULL'} AS weight FROM "
        f"read_parquet({text(features.root / 'shards' / '*' / f'{split}.parquet')}, hive_partitioning = false)"
        for split in SPLITS
    )
    share = float(params.get("keep_negatives", 1))
    kept = f"label = 1 OR {_drawn(params['seed'], 'keep', SEQUENCE)} < {round(share * 2**32)}"
    return f"""
        CREATE TABLE beside_events AS WITH events AS (
            SELECT {USER_ID}, {SEQUENCE}, label, {quoted(weight) if weight else "NULL"} AS weight_of_event,
                {_split(features)} AS split
            FROM read_parquet({events}, hive_partitioning = false, union_by_name = true)
        ), shown AS ({shown})
        SELECT *, CASE WHEN split = 'train' AND NOT ({kept}) THEN NULL ELSE split END AS expected
        FROM events FULL JOIN shown USING ({SEQUENCE})
    """


def _split(features: FeatureDirectory) -> str:
    manifest = features.manifest
    if manifest.protocol == "temporal":
        days = [(day.day, day.split) for day in manifest.held_out]
        cases = " ".join(f"WHEN timestamp::DATE = DATE '{day}' THEN '{split}'" for day, split in days)
        split = f"CASE {cases} ELSE 'train' END"
    else:
        params = manifest.params
        test = round(params["test_fraction"] * 2**32)
        valid = test + round(params["valid_fraction"] * 2**32)
        drawn = _drawn(params["seed"], "split")
        split = f"CASE WHEN {drawn} < {test} THEN 'test' WHEN {drawn} < {valid} THEN 'valid' ELSE 'train' END"
    return f"CASE WHEN timestamp::DATE >= DATE '{manifest.first_day}' THEN {split} END"


def _drawn(seed: int, purpose: str, *keys: str) -> str:
    """Return SQL for the 32-bit number that md5 draws for a user and further keys, as featurize does."""
    key = " || '/' || ".join([f"'{int(seed)}/{purpose}'", f"{USER_ID}::VARCHAR", *(f"{key}::VARCHAR" for key in keys)])
    return f"('0x' || substr(md5({key}), 1, 8))::UBIGINT"

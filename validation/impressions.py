"""Recount from the raw log which events train, validate and test, and what they weigh.

    event in the log                    expected in the shards
    click of the training split         train
    other row of the training split     train, if md5(seed, user, sequence) keeps it (featurize.keep_negatives)
    row of a held-out day or user       valid or test, always
    event before the window             nowhere

Only features with weights or without some negatives are recounted, since both are easy to get wrong by a row. DuckDB
joins the log with the shards by sequence number, once, and spills to disk.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb

from din import cores
from din.schema import SEQUENCE, SPLITS, USER_ID, WEIGHT
from validation.data import quoted, text
from validation.expectations import SAMPLE, Expected, Rows, figure
from validation.shards import Features

_ROUNDING = 1e-9
_FEATURIZE = "this is a fault of featurize: run `dvc repro featurize`, and report it if it stays"


def recounted(features: Features, raw: Path) -> Iterator[Expected]:
    """Yield the checks of the rows that count differently, if there are any."""
    thinned = features.manifest["params"].get("keep_negatives", 1) < 1
    weight = features.manifest["params"].get(WEIGHT)
    if not thinned and weight is None:
        return
    with _joined(features, raw) as rows:
        if thinned:
            yield from _negatives(rows, features)
        if weight is not None:
            yield rows.none_where(
                "weights_of_the_log",
                "found IS NOT NULL AND weight IS DISTINCT FROM weight_of_event",
                column=weight,
                advice=f"the weight of an impression is not that of its event; {_FEATURIZE}",
            )


def _negatives(rows: "_Joined", features: Features) -> Iterator[Expected]:
    yield rows.none_where(
        "negatives_kept",
        "'train' IN (found, expected) AND found IS DISTINCT FROM expected",
        column="label",
        advice="training does not hold exactly its clicks and the rows without a click that md5 of the seed, the user "
        f"and the sequence number keeps; {_FEATURIZE}",
    )
    yield rows.none_where(
        "held_out_rows_whole",
        "coalesce(found, 'train') <> coalesce(expected, 'train')",
        column="label",
        advice="validation or test rows are missing, or are no events of their days or users: negatives may be left "
        f"out of training alone, or all metrics are wrong; {_FEATURIZE}",
    )
    kept, total = rows.one("count(*) FILTER (WHERE expected = 'train'), count(*)", "split = 'train' AND label = 0")
    told = features.manifest["negatives"]["training"] if "negatives" in features.manifest else 1.0
    share = kept / total if total else 1.0
    yield figure(
        "negatives_told",
        abs(told - share),
        maximum=_ROUNDING,
        advice="the manifest states another share of kept negatives than the rows have, so training would shift all "
        f"probabilities; {_FEATURIZE}",
        sample=[{"manifest": told, "recounted": share}],
    )


class _Joined:
    """The events of the log beside their impressions.

    `joined` has a row for each, with the event's split (null before the window), the expected and the found one, and
    both weights.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection

    def one(self, figures: str, where: str) -> tuple[Any, ...]:
        """Return figures over the rows that fulfil a condition."""
        row = self._connection.execute(f"SELECT {figures} FROM joined WHERE {where}").fetchone()
        assert row is not None
        return row

    def none_where(self, name: str, broken: str, *, column: str, advice: str) -> Expected:
        """Expect no row that fulfils a condition."""
        (count,) = self.one("count(*)", broken)
        return figure(
            name, count, maximum=0, column=column, advice=advice, sample=self._sample(broken) if count else ()
        )

    def _sample(self, where: str) -> Rows:
        found = self._connection.execute(
            f"SELECT * FROM joined WHERE {where} ORDER BY {SEQUENCE}, found LIMIT {SAMPLE}"
        )
        names = [column[0] for column in found.description or ()]
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


@contextmanager
def _joined(features: Features, raw: Path) -> Iterator[_Joined]:
    params = features.manifest["params"]
    weight = params.get(WEIGHT)
    events = f"read_parquet({text(raw / 'events/*/*.parquet')}, hive_partitioning = false, union_by_name = true)"
    shown = " UNION ALL ".join(
        f"SELECT {SEQUENCE}, '{split}' AS found, {WEIGHT if weight else 'NULL'} AS weight FROM "
        f"read_parquet({text(features.root / 'shards' / '*' / f'{split}.parquet')}, hive_partitioning = false)"
        for split in SPLITS
    )
    share = float(params.get("keep_negatives", 1))
    kept = f"label = 1 OR {_drawn(params['seed'], 'keep', SEQUENCE)} < {round(share * 2**32)}"
    with (
        TemporaryDirectory() as folder,
        duckdb.connect(f"{folder}/rows.duckdb", config={"threads": cores.available()}) as connection,
    ):
        connection.execute(
            "CREATE TABLE joined AS "
            f"WITH events AS (SELECT {USER_ID}, {SEQUENCE}, label, {quoted(weight) if weight else 'NULL'} AS "
            f"weight_of_event, {_split(features)} AS split FROM {events}), shown AS ({shown}) "
            f"SELECT *, CASE WHEN split = 'train' AND NOT ({kept}) THEN NULL ELSE split END AS expected "
            f"FROM events FULL JOIN shown USING ({SEQUENCE})"
        )
        yield _Joined(connection)


def _split(features: Features) -> str:
    """Return the split of an event as SQL."""
    manifest = features.manifest
    if manifest["protocol"] == "temporal":
        days = [(day["day"], day["split"]) for day in manifest["held_out"]]
        cases = " ".join(f"WHEN timestamp::DATE = DATE '{day}' THEN '{split}'" for day, split in days)
        split = f"CASE {cases} ELSE 'train' END"
    else:
        params = manifest["params"]
        test = round(params["test_fraction"] * 2**32)
        valid = test + round(params["valid_fraction"] * 2**32)
        drawn = _drawn(params["seed"], "split")
        split = f"CASE WHEN {drawn} < {test} THEN 'test' WHEN {drawn} < {valid} THEN 'valid' ELSE 'train' END"
    return f"CASE WHEN timestamp::DATE >= DATE '{manifest['first_day']}' THEN {split} END"


def _drawn(seed: int, purpose: str, *keys: str) -> str:
    """Return the number that md5 draws for a user, or for a user and further keys, as SQL."""
    key = " || '/' || ".join([f"'{int(seed)}/{purpose}'", f"{USER_ID}::VARCHAR", *(f"{key}::VARCHAR" for key in keys)])
    return f"('0x' || substr(md5({key}), 1, 8))::UBIGINT"

"""Score a table of requests with a champion on Apache Spark.

    rows: keys, request ── workers: one Scorer per process ──> Parquet files: keys, version, probabilities

The driver picks the record and sees no row. A worker fetches the bundle of that record from the registry, verifies it,
and keeps it in its cache, so workers need this package with the extra `serve`, and access to the registry. The result
is a new folder that driver and workers share; a failed run leaves none.
"""

import shutil
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from din.base.errors import InputError, listed, shown
from din.bundle.limits import Limits
from din.bundle.scorer import Scorer, score_texts
from din.release.registry.cache import scorer_of
from din.release.registry.registry import Registry
from din_spark import session as spark

_REQUEST = "request"
_REQUESTS = 256
"""The largest number of requests that a worker holds at a time; each may have megabytes."""
_VERSION, _PROBABILITIES = "version", "probabilities"


@dataclass(frozen=True)
class _Champion:
    """The record to score with, and the largest requests to answer."""

    uri: str
    model_name: str
    number: int
    limits: Limits


def score_table(registry: Registry, requests: str, out: Path, limits: Limits) -> dict[str, Any]:
    """Write the scores of each request of a table to the new folder `out`, and return version and number of rows.

    Args:
        registry: at a URI that workers can read.
        requests: a folder of Parquet files, or the name of a table. Its column `request` holds a request as JSON, see
            docs/serving.md, and its other columns identify the row.
        out: of Parquet files, in which each row has the table's other columns, `version`, and `probabilities`.
        limits: the largest requests to answer.

    Raises:
        InputError: there is no champion, the table has other columns, a request is malformed or too large, or `out`
            exists. The message names the row.
        Unavailable: Spark or the registry does not answer.
    """
    if out.exists():
        raise InputError(f"--out {out}: exists already; name a new folder, or remove this one")
    record = registry.required_champion()
    uri = registry.uri if "://" in registry.uri else str(Path(registry.uri).expanduser().resolve())
    champion = _Champion(uri, registry.model_name, record.number, limits)
    temporary = out.with_name(f".tmp-{out.name}-{uuid.uuid4().hex}")  # no task of another run writes here
    with spark.running("din score-table", requests) as session:
        session.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", _REQUESTS)
        with spark.explained(f"REQUESTS {requests}", names=True):
            rows = _opened(session, requests)
        keys = rows.drop(_REQUEST)
        described = keys.selectExpr("*", f"'' {_VERSION}", f"CAST(NULL AS array<double>) {_PROBABILITIES}")
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            scored = rows.mapInArrow(partial(_scored, champion), described.schema)
            scored.write.parquet(spark.url(temporary))
            count, written = rows.count(), session.read.parquet(spark.existing(temporary)).count()
            if count != written:
                raise InputError(
                    f"{requests}: has {count:,} rows, but {written:,} were scored; score it while nothing writes to "
                    f"it, and put {out} in a folder that driver and workers share"
                )
            temporary.rename(out)
        except ConnectionError:  # the JVM is gone
            raise
        except OSError as error:
            raise InputError(f"--out {out}: can't be written ({error.strerror}); name a new folder") from None
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return {"out": str(out), "rows": count, "version": record.version}


def _opened(session: Any, requests: str) -> Any:
    """Return the table as a Spark DataFrame, after a check of its columns."""
    if "://" in requests or Path(requests).exists():
        rows = session.read.parquet(requests if "://" in requests else spark.existing(Path(requests)))
    elif session.catalog.tableExists(requests):
        rows = session.table(requests)
    else:
        raise InputError(f"REQUESTS {requests}: neither a folder nor a table that Spark knows; correct the name")
    types = dict(rows.dtypes)
    kind = types.pop(_REQUEST, "missing")
    if kind != "string" or not types or {_VERSION, _PROBABILITIES} & types.keys():
        raise InputError(
            f"REQUESTS {requests}: column {_REQUEST!r} is {kind}, the others are {listed(types) or 'none'}; expected "
            f"JSON text, and columns that identify the row, but no {_VERSION!r} and no {_PROBABILITIES!r}"
        )
    return rows


def _scored(champion: _Champion, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Yield one row for each request, on a worker."""
    scorer = _scorer(champion)
    for batch in batches:
        keys = batch.drop_columns([_REQUEST])
        texts = enumerate((text or "").encode() for text in batch.column(_REQUEST).to_pylist())
        answers = score_texts(scorer, texts, partial(_named, keys))
        probabilities = pa.array([answer["probabilities"] for answer in answers], pa.list_(pa.float64()))
        versions = pa.array([scorer.version] * len(keys), pa.string())
        yield keys.append_column(_VERSION, versions).append_column(_PROBABILITIES, probabilities)


def _named(keys: pa.RecordBatch, row: int) -> str:
    return f"row {shown(keys.slice(row, 1).to_pylist()[0])}"


@cache
def _scorer(champion: _Champion) -> Scorer:
    """Open the bundle once in each process of a worker."""
    return scorer_of(champion.uri, champion.model_name, champion.number).within(champion.limits)

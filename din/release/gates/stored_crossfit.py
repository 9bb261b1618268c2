"""The cross-fitted predictions of a promoted run, stored in its record as `crossfit.parquet`.

A champion has learned the days that it was judged on. If such a day is run again, with other parameters or another
seed, there are no rows that the champion has not learned. Its run's cross-fitted predictions come from models that had
not learned the rows they scored, so they replace its scores. Users are hashed, as in
`din.release.registry.stored_comparisons`. The file has the rows that a gate draws: at most `MOST_ROWS`, about 20 bytes
each.
"""

from io import BytesIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from din.base.errors import InputError
from din.release.gates.evidence import Evidence
from din.release.registry.promoted import CROSSFIT, Promoted
from din.release.registry.records import Record
from din.release.registry.registry import Registry
from din.release.registry.stored_comparisons import hashed_users

SCORE = "champion"
"""The column of a champion's stored predictions."""

_KEY = ["sequence", "timestamp", "user", "label"]


def dump(evidence: Evidence) -> bytes:
    """Return the candidate's cross-fitted predictions as a Parquet file."""
    rows = evidence.draw(evidence.crossfit_rows)
    table = _keyed(evidence, rows).append_column("prediction", rows["prediction"])
    sink = BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()


def stored(evidence: Evidence, registry: Registry, record: Record) -> pa.Table:
    """Return the candidate's rows that a champion's run predicted too, with that run's predictions in column `SCORE`.

    A rollback's record has no files, so the predictions come from the promotion of its version.

    Raises:
        InputError: the promotion's record has no such predictions, or none for today's rows.
    """
    try:
        kept = pq.read_table(BytesIO(Promoted.find(registry, record.version).content(CROSSFIT)))
    except (InputError, pa.ArrowException) as error:
        problem = f"it has learned all of today's test rows, and {CROSSFIT} of its record can't be read: {error}"
        raise InputError(problem) from None
    rows = evidence.crossfit_rows
    today = _keyed(evidence, rows).append_column("row", pa.array(np.arange(len(rows))))
    both = today.join(kept, _KEY, join_type="inner").sort_by("row")
    if not len(both):
        raise InputError("it has learned all of today's test rows, and its run predicted none; train on a newer log")
    predicted = rows.take(both["row"])
    return predicted.append_column(SCORE, both["prediction"])


def _keyed(evidence: Evidence, rows: pa.Table) -> pa.Table:
    """Return the columns that identify the rows in any run, with hashed users."""
    hashes = hashed_users(rows, evidence.features.raw_users(), evidence.params.model_name)
    columns = {name: rows[name] for name in _KEY if name != "user"}
    return pa.table(columns | {"user": pa.array(hashes)}).select(_KEY)

"""The cross-fitted predictions of a promoted run, kept in its record: `crossfit.parquet`.

A champion has learned the days that it was judged on. If a day is run again, with other parameters or another seed, no
row is left that the champion has not learned. Its cross-fitted predictions of that day come from models that had not
learned the rows that they scored, so they can stand for its scores. Users are hashed, as in
`din.registry.stored_comparisons`. The rows are those that a gate draws, at most `MOST_ROWS`, about 20 bytes each.
"""

from io import BytesIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from din.errors import InputError
from din.gates.evidence import Evidence
from din.registry.promoted import CROSSFIT, Promoted
from din.registry.records import Record
from din.registry.registry import Registry
from din.registry.stored_comparisons import hashed_users

SCORE = "champion"
"""The column of a champion's stored predictions."""

_KEY = ["sequence", "timestamp", "user", "label"]


def dump(evidence: Evidence) -> bytes:
    """Return the candidate's rows as a Parquet file."""
    rows = evidence.draw(evidence.crossfit)
    table = _keyed(evidence, rows).append_column("prediction", rows["prediction"])
    sink = BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()


def stored(evidence: Evidence, registry: Registry, record: Record) -> pa.Table:
    """Return the candidate's rows that a champion's run predicted too, with its predictions in `SCORE`.

    A rollback's record has no files, so this reads the files of the version's promotion.

    Raises:
        InputError: the promotion has no such predictions, or of no row of today.
    """
    try:
        kept = pq.read_table(BytesIO(Promoted.find(registry, record.version).content(CROSSFIT)))
    except (InputError, pa.ArrowException) as error:
        problem = f"it has learned all of today's test rows, and {CROSSFIT} of its record can't be read: {error}"
        raise InputError(problem) from None
    rows = evidence.crossfit
    today = _keyed(evidence, rows).append_column("row", pa.array(np.arange(len(rows))))
    both = today.join(kept, _KEY, join_type="inner").sort_by("row")
    if not len(both):
        raise InputError(
            "it has learned all of today's test rows, and its run predicted none of them: the log has changed since; "
            "train on a newer log"
        )
    found = rows.take(both["row"])
    return found.append_column(SCORE, both["prediction"])


def _keyed(evidence: Evidence, rows: pa.Table) -> pa.Table:
    """Return what identifies the rows in another run."""
    hashes = hashed_users(rows, evidence.features.raw_users(), evidence.params.model_name)
    columns = {name: rows[name] for name in _KEY if name != "user"}
    return pa.table(columns | {"user": pa.array(hashes)}).select(_KEY)

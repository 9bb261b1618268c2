"""Store comparisons: the predictions of candidate and champion on the same rows.

`din.release.gates.pooling` pools them until they decide.

    <registry>/<model>/looks/<champion's version>/000003.parquet     the rows of the third comparison with it

A look is a comparison: the folder keeps the name that registries have.
A candidate is compared once, even if two processes judge it at the same time. Judging it again reads the stored rows,
so this spends no error and can't draw other rows.

A preview is a comparison whose candidate can't be promoted, e.g. a pull request's. It is stored and marked, because it
has shown something about its days (`din.release.gates.pooling`). A later comparison of its candidate, to promote it, is
stored beside it.

Users are hashed, because a comparison is kept as long as its champion's bundle. Each file has a hash of its rows, which
reveals damage. A run stores about 20 bytes per row, and reads all comparisons with its champion.

Shapes: B rows of a comparison.
"""

import re
from hashlib import blake2b, sha256
from io import BytesIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from din.base.errors import InputError, Unavailable, shown
from din.base.names import ModelName, Version
from din.release.registry.objects import noted
from din.release.registry.registry import Registry
from din.schema import DAY_US

SCHEMA = pa.schema(
    [
        pa.field("day", pa.date32(), nullable=False),
        pa.field("user", pa.uint64(), nullable=False),
        pa.field("label", pa.bool_(), nullable=False),
        pa.field("candidate", pa.float64(), nullable=False),
        pa.field("champion", pa.float64(), nullable=False),
    ]
)
MOST_ROWS = 10_000_000
"""The largest number of rows to read. Equal rows compress to almost nothing, but take 29 bytes each in memory."""
_MOST_BYTES = 256 << 20
_KEY = re.compile(r"looks/([0-9a-f]{64})/\d{6,}\.parquet")
_CANDIDATE = b"candidate"
_PREVIEW = b"preview"
_HASH = b"sha256"


def rows_of(
    rows: pa.Table,
    champion: NDArray[np.float64],
    raw_users: pa.ChunkedArray,
    model_name: ModelName,
    version: Version,
    preview: bool = False,
) -> pa.Table:
    """Return the rows of a comparison, with the columns of `SCHEMA`.

    Args:
        rows: [B] test rows with `user`, `label`, `timestamp` in µs and the candidate's `prediction`.
        champion: [B] the champion's probabilities.
        raw_users: the raw ids of users; `user` is an index into them.
        model_name: the key of the hashes, so that the users of two models can't be joined.
    """
    columns = [
        (rows["timestamp"].to_numpy() // DAY_US).astype(np.int32),
        hashed_users(rows, raw_users, model_name),
        rows["label"].to_numpy() != 0,
        rows["prediction"].to_numpy(),
        champion,
    ]
    arrays = [pa.array(column).cast(field.type) for field, column in zip(SCHEMA, columns, strict=True)]
    metadata = {_CANDIDATE: version.encode()} | ({_PREVIEW: b"true"} if preview else {})
    return pa.Table.from_arrays(arrays, schema=SCHEMA.with_metadata(metadata))


def read(registry: Registry, champion: Version) -> list[pa.Table]:
    """Return the comparisons with a champion, oldest first. Objects with other names are ignored.

    Raises:
        InputError: a comparison is damaged, or the numbers have gaps.
    """
    objects = registry.objects
    keys = sorted(filter(_KEY.fullmatch, objects.keys(f"looks/{champion}")))
    for number, key in enumerate(keys, 1):
        if key != comparison_key(champion, number):
            raise InputError(f"{objects.at(key)}: unexpected; expected the files 000001.parquet and so on")
    return [parse(objects.read(key, _MOST_BYTES), objects.at(key)) for key in keys]


def stored(registry: Registry, champion: Version, candidate: Version, preview: bool = False) -> list[pa.Table]:
    """Return the comparisons with a champion up to the candidate's, oldest first, or [] if the candidate has none.

    Args:
        preview: whether a preview of the candidate will do.
    """
    return _up_to(candidate, preview, read(registry, champion))


def store(registry: Registry, champion: Version, rows: pa.Table) -> list[pa.Table]:
    """Store a candidate's comparison after all others, and return all up to it, oldest first.

    If the candidate already has one, because the response to an earlier write was lost or another process was faster,
    that one counts and nothing is stored.

    Raises:
        Unavailable: the store's listing lacks an existing comparison, e.g. because the listing is stale.
    """
    content = dump(rows)
    candidate = candidate_of(rows)
    seen = -1
    while True:
        earlier = read(registry, champion)
        if comparisons := _up_to(candidate, is_preview(rows), earlier):
            return comparisons
        if len(earlier) == seen:
            raise Unavailable(
                f"{registry.name}: comparison {seen + 1} with {champion[:12]} exists, but the store does not list it; "
                "run it again once the store's listings are up to date"
            )
        if registry.objects.create(comparison_key(champion, len(earlier) + 1), content):
            return [*earlier, rows]
        seen = len(earlier)


def comparison_key(champion: Version, number: int) -> str:
    """Return the key of a comparison with a champion. Numbers start at 1."""
    return f"looks/{champion}/{number:06d}.parquet"


def damage(registry: Registry) -> list[str]:
    """Return one line for each champion with a damaged or missing comparison."""
    lines: list[str] = []
    with noted(lines):
        matches = filter(None, map(_KEY.fullmatch, registry.objects.keys("looks")))
        for champion in sorted({Version(key[1]) for key in matches}):
            with noted(lines):
                read(registry, champion)
    return lines


def dump(rows: pa.Table) -> bytes:
    """Return the rows as a Parquet file, with their hash in its metadata."""
    hashed = rows.replace_schema_metadata({**(rows.schema.metadata or {}), _HASH: _hash(rows)})
    sink = BytesIO()
    pq.write_table(hashed, sink, compression="zstd")
    return sink.getvalue()


def parse(content: bytes, at: str) -> pa.Table:
    """Read the rows of a stored comparison.

    Raises:
        InputError: the file is not a comparison, is too large, or does not match its hash.
    """
    try:
        file = pq.ParquetFile(BytesIO(content))
        names = file.schema_arrow.names
        fits = file.schema_arrow.equals(SCHEMA) and file.metadata.num_rows <= MOST_ROWS
        rows = file.read(use_threads=False) if fits else None
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{at}: not a Parquet file ({shown(str(error))}); expected a comparison that `din gate` wrote"
        ) from None
    if rows is None:
        held = f"{file.metadata.num_rows:,} rows with columns {shown(names)}"
        expected = f"at most {MOST_ROWS:,} rows with {SCHEMA.names}"
        raise InputError(f"{at}: has {held}; expected {expected}, as `din gate` writes")
    if (rows.schema.metadata or {}).get(_HASH) != _hash(rows):
        raise InputError(f"{at}: damaged, its rows do not have the hash that the file states")
    return rows


def _up_to(candidate: str, preview: bool, stored: list[pa.Table]) -> list[pa.Table]:
    """Return the comparisons up to the candidate's, or [] if it has none, or only a preview where that won't do."""
    for number, rows in enumerate(stored, 1):
        if candidate_of(rows) == candidate and (preview or not is_preview(rows)):
            return stored[:number]
    return []


def candidate_of(rows: pa.Table) -> str:
    """Return the version of the candidate of a stored comparison."""
    return (rows.schema.metadata or {}).get(_CANDIDATE, b"").decode(errors="replace")


def is_preview(rows: pa.Table) -> bool:
    """Return whether the candidate of a stored comparison can't be promoted by it."""
    return _PREVIEW in (rows.schema.metadata or {})


def _hash(rows: pa.Table) -> bytes:
    """Return the sha256 of a comparison's candidate, its mark of a preview, and its rows."""
    digest = sha256(candidate_of(rows).encode() + (_PREVIEW if is_preview(rows) else b""))
    for column in rows.columns:
        digest.update(column.to_numpy().tobytes())
    return digest.hexdigest().encode()


def hashed_users(rows: pa.Table, raw_users: pa.ChunkedArray, model_name: ModelName) -> NDArray[np.uint64]:
    """Return the hash [B] of each row's user; see `rows_of` for the arguments."""
    number, user = np.unique(rows["user"].to_numpy(), return_inverse=True)
    key = model_name.encode()[:64]
    raw_values = raw_users.take(pa.array(number)).to_pylist()
    digests = [blake2b(str(raw).encode(), digest_size=8, key=key).digest() for raw in raw_values]
    return np.array([int.from_bytes(digest, "little") for digest in digests], np.uint64)[user]

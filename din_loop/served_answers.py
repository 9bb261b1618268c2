"""Read rows of the log of a server, with errors that name the log."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
from pydantic import Json, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from din.base.duckdb_errors import exhausted
from din.base.errors import InputError, shown
from din.base.names import Version

_RESTORE = "expected the files that `din serve --log` writes: remove a damaged one, or restore it"


@contextmanager
def reading(log: Path | str) -> Iterator[None]:
    """Turn an error about the log of a server that the engine reads into an InputError that names the log.

    Raises:
        InputError: the log is damaged, or has other columns.
        Unavailable: memory was too little, or a disk full.
    """
    try:
        yield
    except duckdb.Error as error:
        raise exhausted(error) or InputError(f"{log}: {str(error).splitlines()[0]}; {_RESTORE}") from None


class _Answer(TypedDict):
    request_id: str
    answered_at: datetime
    version: Version
    user_id: str | None
    hashed: bool
    request: Json[dict[str, Any]]
    items: list[str | None]
    probabilities: list[float]


_ANSWER = TypeAdapter(_Answer)


def parsed(row: Mapping[str, Any], log: Path) -> dict[str, Any]:
    """Return a row of the log of a server with its `request` parsed.

    Raises:
        InputError: the row does not hold what `din serve --log` writes.
    """
    try:
        answer = _ANSWER.validate_python(row)
    except ValidationError as error:
        detail = error.errors()[0]
        problem = f"{'.'.join(map(str, detail['loc']))}: {detail['msg']}, got {shown(detail['input'])}"
    else:
        candidates = answer["request"].get("candidates")
        if isinstance(candidates, list) and len(candidates) == len(answer["items"]) == len(answer["probabilities"]):
            return {**row, **answer}
        problem = "the numbers of candidates, items and probabilities differ"
    raise InputError(f"{log}: request {shown(row['request_id'])}: {problem}; {_RESTORE}")

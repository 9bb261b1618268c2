"""How a source's files are hashed."""

import errno
from typing import Any

import fsspec
import pytest

from din.base.artifacts import write_json
from din.base.errors import InputError, Unavailable
from din.base.workspace import Workspace
from din.data import files


class ClientError(Exception):
    """An error of a store's client, which is neither an OSError nor an exception of Python's own."""


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (ConnectionResetError("peer went away"), Unavailable),
        (OSError(errno.EIO, "internal error"), Unavailable),
        (ClientError("could not connect to the endpoint"), Unavailable),
        (FileNotFoundError("no such bucket"), InputError),
        (OSError("cut"), InputError),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_store_that_does_not_answer(
    workspace: Workspace, fault: Exception, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another try may help, unless the file is missing, not permitted or damaged."""
    memory = fsspec.filesystem("memory")
    memory.pipe("/down/a.csv", b"x")
    (file,) = files.expand(workspace, "memory://down/a.csv", "key")

    def fail(*_: object, **__: object) -> None:
        raise fault

    monkeypatch.setattr(type(memory), "open", fail)
    with pytest.raises(error, match=r"^memory:///down/a.csv: cannot be read"):
        files.digests(workspace, [file])


@pytest.mark.parametrize("known", [{}, {"stamp": [1], "sha256": 7}])
def test_digests_of_another_form_count_as_none(workspace: Workspace, known: dict[str, Any]) -> None:
    """The file is read as if for the first time."""
    paths = files.expand(workspace, "clicks.csv", "key")
    first = files.digests(workspace, paths)
    write_json(workspace.digests, {"clicks.csv": known})
    assert files.digests(workspace, paths) == first

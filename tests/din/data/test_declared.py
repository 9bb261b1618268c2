"""Fields that a source declares, against the tables that it returns."""

from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest
from typing_extensions import override

from din.base.errors import InputError
from din.base.workspace import Workspace
from din.data import SOURCES
from din.data.fetch import fetch
from din.data.rawlog import RawLog
from din.data.rows import Rows
from din.data.source import Source
from din.params.reading import Params
from din_start.tiny_run import FIELDS, random_log

DECLARED: dict[str, dict[str, Any]] = {}


class Declaring(Source):
    """The tiny log with vectors of two lengths, and the fields that a test declares."""

    @override
    def identity(self) -> Any:
        return repr(DECLARED)

    @override
    def read(self) -> RawLog:
        items = random_log().items
        assert items is not None
        ids = items.table["item_id"]
        columns = {name: items.table[name] for name in items.names}
        torn = pa.array([[1.0] * (2 + n % 2) for n in range(len(ids))])
        fixed = pa.array([[1.0, 2.0]] * len(ids), pa.list_(pa.float64(), 2))
        return replace(random_log(), items=Rows.of("items", columns | {"torn": torn, "fixed": fixed}), fields=DECLARED)


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ({"item": {"item_id": "id"}}, r"fields\.item\.item_id: 'item_id' is a column of the log itself"),
        ({"items": {"price": "numeric"}}, "fields: 'items' is not one of user, item"),
        ({"item": {"colour": "categorical"}}, r"fields\.item\.colour: items\.parquet of the RawLog has only item_id, "),
        ({"context": {"price": "numeric"}}, r"fields\.context\.price: events of the RawLog has only user_id, item_id"),
        ({"item": {"category": "numeric"}}, r"fields\.item\.category: kind numeric needs numbers, but .* is string"),
        ({"item": {"tags": "categorical"}}, r"fields\.item\.tags: kind categorical needs single values, but .* list"),
        (
            {"context": {"tab": "multi"}},
            r"fields\.context\.tab: kind multi needs lists, but .* events is int",
        ),
        ({"item": {"tags": "vector"}}, r"fields\.item\.tags: kind vector needs lists of numbers"),
        ({"item": {"torn": "vector"}}, r"fields\.item\.torn: vectors of 2 and of 3 numbers; expected one length"),
        ({"item": {"fixed": "vector"}}, None),
        (FIELDS, None),
    ],
)
def test_fetch_checks_what_a_source_declares(
    workspace: Workspace, params: Params, monkeypatch: pytest.MonkeyPatch, declared: Any, message: str | None
) -> None:
    """The message names source, field and expectation, and nothing is written. `featurize.fields` makes it moot."""
    SOURCES.register("declaring")(Declaring)
    declared = dict(declared)
    monkeypatch.setattr("tests.din.data.test_declared.DECLARED", declared)
    params = replace(params, fetch=replace(params.fetch, source="declaring"))
    if message:
        with pytest.raises(InputError, match=f"^fetch.source declaring: {message}"):
            fetch(workspace, params)
        assert not workspace.raw.exists()
        declared.pop("items", None)  # the manifest has no such group
        params = replace(params, featurize=replace(params.featurize, fields={}))
    fetch(workspace, params)
    assert (workspace.raw / "items.parquet").exists()

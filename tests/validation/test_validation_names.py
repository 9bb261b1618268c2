"""Users' columns may have any name, also the names that the suites give to their own columns in SQL."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from planting import HERE, RAW, edit, events, failed, judge, seal

import validation
from din.featurize.build import featurize
from din.params import Params
from din.schema import EVENT_COLUMNS
from tests.factories.log import FIELDS, Delivery, draw
from tests.faults import plants as p
from tests.faults.drive import SMALL, drive, start


def aliases(modules: str) -> list[str]:
    """Return the aliases in the SQL of the modules of `validation` that match a pattern."""
    source = "".join(path.read_text() for path in Path(validation.__file__).parent.glob(modules))
    return sorted({*re.findall(r"\bAS ([a-z_]+)\b", source)} - {*EVENT_COLUMNS})


def widened(delivery: Delivery) -> Delivery:
    """Give every table a column named like each alias, and declare those of the events as contexts.

    Items and users also get columns named like the log's own.
    """
    names = [*aliases("*.py"), "first", "last"]

    def more(rows: p.Frame) -> p.Frame:
        return rows.assign(**dict.fromkeys(names, np.arange(len(rows)) % 3))

    def owned(rows: p.Frame) -> p.Frame:
        return rows.assign(**dict.fromkeys({*EVENT_COLUMNS} - {*rows.columns}, 1))

    tables = ("events", "items", "users", "history")
    fields = FIELDS | {"context": FIELDS["context"] | dict.fromkeys(names, "numeric")}
    keep = (*SMALL["fetch.table.keep"], *names)
    plants = [*(p.table(name, more) for name in tables), p.table("items", owned), p.table("users", owned)]
    return p.chain(*plants)(delivery).set(featurize__fields=fields, fetch__table__keep=keep)


def test_columns_named_like_aliases_hide_no_defect(tmp_path: Path) -> None:
    """Old impressions of a cache close the one gate that they close in a log with other columns."""
    delivery = p.events(p.old_pages(0.14))(widened(draw()))
    outcome = drive(tmp_path / "workspace", start(delivery, tmp_path / "workspace"), last="validate_raw")
    assert outcome.closed.keys() == {"validate_raw.repeated_impressions_newest_days"}


def test_contexts_named_like_aliases_are_judged(workspace: Callable[..., Params]) -> None:
    """Contexts named like columns of a query over the shards close nothing."""
    params = workspace()
    names = [*aliases("rates.py"), "_file", "file", "row", "shard", "split"]

    def more(rows: pa.Table) -> pa.Table:
        for name in names:
            rows = rows.append_column(name, pa.array(np.arange(len(rows)) % 3))
        return rows

    for path in events():
        edit(path, more)
    seal(RAW)
    params = replace(params, featurize=replace(params.featurize, fields={"context": dict.fromkeys(names, "numeric")}))
    featurize(HERE, params)
    assert not failed(judge("features", params))

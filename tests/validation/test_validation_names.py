"""Users' columns may have any name, also the names that the suites give to their own columns in SQL."""

import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.defects import plants as p
from benchmarks.defects.delivery import FIELDS, Delivery, draw
from benchmarks.defects.drive import SMALL, drive, start
from din.featurize.build import featurize
from din.params.reading import Params
from din.schema import EVENT_COLUMNS
from din.stages import code
from tests.validation.planting import HERE, RAW, edit, events, failed, judge, seal

ROOT = Path(__file__).parents[2]


def aliases(modules: Iterable[str]) -> list[str]:
    """Return the aliases in the SQL of modules of `validation` that a column of a log may have."""
    paths = [ROOT / f"{name.replace('.', '/')}.py" for name in modules if name.startswith("validation.")]
    source = "".join(path.read_text() for path in paths)
    return sorted({*re.findall(r"\bAS ([a-z_]+)\b", source)} - {*EVENT_COLUMNS, "date"})


def widened(delivery: Delivery) -> Delivery:
    """Give every table a column named like each alias of the raw suite, and declare those of the events as contexts.

    Items and users also get columns named like the log's own.
    """
    names = [*aliases(code.closure({"validation.raw"}, ())), "first", "last"]

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


def test_contexts_of_any_name_are_judged(workspace: Callable[..., Params]) -> None:
    """Contexts named like columns of a query over the shards, or like a feature file, close nothing."""
    params = workspace()
    names = [*aliases(["validation.rates"]), "_file", "file", "row", "shard", "split", "items"]
    kinds = dict.fromkeys(names, "numeric") | {"valid": "categorical"}

    def more(rows: pa.Table) -> pa.Table:
        for name in kinds:
            rows = rows.append_column(name, pa.array(np.arange(len(rows)) % 3))
        return rows

    for path in events():
        edit(path, more)
    seal(RAW)
    params = replace(params, featurize=replace(params.featurize, fields={"context": kinds}))
    featurize(HERE, params)
    assert not failed(judge("features", params))

"""Coders of many fields, one after the other."""

from pathlib import Path

import ibis
import ibis.expr.types as ir

from din.featurize import coding
from din.featurize.engine import session
from din.schema import parse_fields
from din.workspace import Workspace

WIDE = 45
"""More fields than one query could encode: ibis writes queries by recursion."""


def test_a_table_may_be_wide(tmp_path: Path) -> None:
    """Each of many columns is encoded by its own coder."""
    names = [f"c{number}" for number in range(WIDE)]
    fields = parse_fields({"user": dict.fromkeys(names, "categorical")})[1:]
    with session(Workspace(tmp_path), 500) as engine:
        coders: list[coding.Coder] = []
        raw: dict[str, list[str]] = {}
        for number, field in enumerate(fields):
            counts = {f"a{number}": 1 + number % 2, f"b{number}": 2 - number % 2}
            evidence = {"value": list(counts), "day": [0, 0], "weight": list(counts.values())}
            coders.append(coding.learn(engine, field, ibis.memtable(evidence), 1))
            raw[coding.column(field)] = [f"a{number}", f"b{number}", "other"]
        table: ir.Table = engine.store("raw", ibis.memtable({"row": [0, 1, 2], **raw}))
        found = coding.encode(engine, "encoded", table, coders).order_by("row").to_pyarrow()
    for number, name in enumerate(raw):
        assert found[name].to_pylist() == ([1, 2, 0] if number % 2 else [2, 1, 0])

"""Coders of many fields, one after the other; and the same code for a value of the log and of a request."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import ibis
import ibis.expr.types as ir
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from din.base.errors import InputError
from din.base.workspace import Workspace
from din.bundle.encode import Vocabulary
from din.featurize.coders import BucketCoder, coder_of, column, encode
from din.featurize.engine import Session, session
from din.kinds import BEYOND_FLOAT32, UNKNOWN
from din.params.featurize import Featurize
from din.schema import Field, Group, parse_fields

WIDE = 45
"""More fields than one query could encode: ibis writes queries by recursion."""

LENGTH = 2
RATIOS = st.integers(0, 2**32).map(lambda seed: np.random.default_rng(seed).random())
"""Numbers with as many digits as those of logs; floats that hypothesis draws have few, or extreme exponents."""
SINGLES: dict[pa.DataType, st.SearchStrategy[Any]] = {
    pa.float64(): RATIOS | st.floats(),
    pa.float32(): RATIOS.map(lambda ratio: float(np.float32(ratio))) | st.floats(width=32),
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.bool_(): st.booleans(),
    pa.string(): st.text(max_size=3),
}
NUMBERS = [pa.float64(), pa.float32(), pa.int64()]
OF_KINDS = [
    *[("categorical", kind) for kind in SINGLES],
    *[({"kind": "numeric", "buckets": 20}, kind) for kind in [*NUMBERS, pa.bool_()]],
    *[("numeric", kind) for kind in [*NUMBERS, pa.bool_()]],
    *[("multi", pa.list_(kind)) for kind in (pa.string(), pa.int64(), pa.float64())],
    *[("vector", pa.list_(kind)) for kind in NUMBERS],
]
EXTREMES = [0.0, 5e-324, 1e-320, 2.0**-1022, 1.0, 1e30, 3.4e38, np.nextafter(BEYOND_FLOAT32, 0), BEYOND_FLOAT32, 1e308]
"""Numbers whose sums, differences or quotients leave the range of float64, or of float32."""


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    with session(Workspace(tmp_path_factory.mktemp("engine")), Featurize(memory_mb=500)) as engine:
        yield engine


@pytest.mark.parametrize(("declared", "kind"), OF_KINDS, ids=str)
@settings(max_examples=3)
@given(data=st.data())
def test_a_request_gets_the_code_that_its_value_has_in_the_log(
    declared: Any, kind: pa.DataType, engine: Session, data: st.DataObject
) -> None:
    """DuckDB and numpy agree on every value of every kind and type, the edges of buckets among them."""
    (field,) = parse_fields({"user": {"f": declared}})[1:]
    field = replace(field, length=LENGTH) if field.kind == "vector" else field
    single = SINGLES[kind.value_type if pa.types.is_list(kind) else kind]
    sizes = (LENGTH, LENGTH) if field.kind == "vector" else (0, 4)
    value = st.lists(single, min_size=sizes[0], max_size=sizes[1]) if pa.types.is_list(kind) else single
    assert_same_codes(engine, field, pa.array(data.draw(st.lists(st.none() | value, min_size=25, max_size=40)), kind))


@pytest.mark.parametrize("declared", ["numeric", {"kind": "numeric", "buckets": 3}], ids=str)
@settings(max_examples=20)
@given(st.lists(st.sampled_from([*EXTREMES, *(-number for number in EXTREMES)]) | st.floats(), min_size=2, max_size=6))
def test_extreme_numbers_have_one_code(declared: Any, engine: Session, values: list[float]) -> None:
    """Numbers that float32 can't hold are missing, and no number becomes infinite, whatever training saw."""
    (field,) = parse_fields({"user": {"f": declared}})[1:]
    logged = assert_same_codes(engine, field, pa.array(values))
    known = logged != UNKNOWN if field.buckets else ~np.isnan(logged)
    np.testing.assert_array_equal(known, np.abs(values) < BEYOND_FLOAT32)
    assert not np.isinf(logged).any()


def assert_same_codes(engine: Session, field: Field, values: pa.Array) -> np.ndarray:
    """Learn from the first half of some values, and return the codes of all, which are the same in a request."""
    raw = ibis.memtable(pa.table({"row": range(len(values)), "value": values}))
    name = column(field)
    table = engine.store("raw", raw.select("row", **{name: coder_of(field).typed(raw.value, "f")}))
    trained = table.filter(ibis._.row < len(values) // 2)
    evidence = trained.select(value=trained[name], day=ibis.literal(0), weight=ibis.literal(1, "int64"))
    coder = coder_of(field).learn(engine, field, evidence.filter(evidence.value.notnull()), 1)
    encoded = encode(engine, "encoded", table, [coder]).order_by("row").to_pyarrow()[name]
    known = Vocabulary([None, *coder.known().order_by("id").to_pyarrow()["value"].to_pylist()])
    asked = field.form.encode(values.to_pylist(), coder.to_json(), known.rows)
    logged = field.form.column(encoded)
    np.testing.assert_array_equal(asked.values, logged.values)
    np.testing.assert_array_equal(asked.offsets, logged.offsets)
    return logged.values


def test_a_missing_number_is_unknown_even_where_training_saw_none(engine: Session) -> None:
    """Without edges, missing values are row 0, and all numbers are in the only bucket."""
    (field,) = parse_fields({"user": {"f": {"kind": "numeric", "buckets": 3}}})[1:]
    name = column(field)
    raw = engine.store("numbers", ibis.memtable(pa.table({"row": [0, 1], name: pa.array([None, 5.0])})))
    found = BucketCoder(field, ()).encode(raw).order_by("row").to_pyarrow()
    assert found[name].to_pylist() == [0, 1]


def test_a_kind_of_buckets_needs_their_number(engine: Session) -> None:
    """A plugin's kind may extend buckets, and its field leave their number out."""
    field = Field("price", Group.ITEM, "scale")
    evidence = ibis.memtable({"value": [1.0], "day": [0], "weight": [1]})
    with pytest.raises(InputError, match=r"'price': kind 'scale' needs .* \{kind: scale, buckets: 10\} in featurize"):
        BucketCoder.learn(engine, field, evidence, 1)


def test_a_field_may_have_many_buckets(engine: Session) -> None:
    """Each number is in the bucket of the last edge at or below it."""
    (field,) = parse_fields({"user": {"f": {"kind": "numeric", "buckets": 1000}}})[1:]
    name = column(field)
    edges = tuple(map(float, range(1, 1000)))
    raw = engine.store("numbers", ibis.memtable({"row": [0, 1, 2, 3], name: [0.5, 1.0, 543.5, 1e9]}))
    found = BucketCoder(field, edges).encode(raw).order_by("row").to_pyarrow()
    assert found[name].to_pylist() == [1, 2, 544, 1000]


def test_a_table_may_be_wide(tmp_path: Path) -> None:
    """Each of many columns is encoded by its own coder."""
    names = [f"c{number}" for number in range(WIDE)]
    fields = parse_fields({"user": dict.fromkeys(names, "categorical")})[1:]
    with session(Workspace(tmp_path), Featurize(memory_mb=500)) as engine:
        learned = []
        for field, weights in zip(fields[:2], ([1, 2], [2, 1]), strict=True):
            evidence = {"value": ["a", "b"], "day": [0, 0], "weight": weights}
            learned.append(coder_of(field).learn(engine, field, ibis.memtable(evidence), 1))
        coders = [replace(learned[number % 2], field=field) for number, field in enumerate(fields)]
        raw = {column(field): ["a", "b", "other"] for field in fields}
        table: ir.Table = engine.store("raw", ibis.memtable({"row": [0, 1, 2], **raw}))
        found = encode(engine, "encoded", table, coders).order_by("row").to_pyarrow()
    for number, name in enumerate(raw):
        assert found[name].to_pylist() == ([1, 2, 0] if number % 2 else [2, 1, 0])

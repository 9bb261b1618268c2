"""Stored comparisons: each is stored once, names no user, and is refused if it was changed."""

from io import BytesIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from din.base.errors import InputError
from din.base.names import ModelName, Version
from din.metrics.estimates import difference
from din.release.gates.pooling import Comparison
from din.release.registry import stored_comparisons
from din.release.registry.objects import Objects
from din.release.registry.registry import Registry

DAY = 86_400_000_000
CANDIDATE = Version("a" * 64)


@pytest.fixture
def registry(tmp_path) -> Registry:
    return Registry(str(tmp_path), "clicks")


def drawn(first_day, days=2, rows=400, users=60, first_user=0, model="clicks"):
    """Return a comparison of `days` days from `first_day` on, with scores that know something."""
    rng = np.random.default_rng(first_user)
    user = rng.integers(users, size=rows)
    label = rng.random(rows) < 0.4
    score = [np.clip(0.4 + 0.1 * label + 0.1 * rng.normal(size=rows), 0, 1) for _ in range(2)]
    timestamp = DAY * (first_day + rng.integers(days, size=rows)) + 5
    table = pa.table({"user": user, "label": label, "timestamp": timestamp, "prediction": score[0]})
    raw = pa.chunked_array([[f"u{first_user + number}" for number in range(users)]])
    return stored_comparisons.rows_of(table, score[1], raw, ModelName(model), CANDIDATE)


def test_a_comparison_names_no_user():
    """Ids are hashed, differently for each model."""
    tables = [drawn(0, model=name) for name in ("a", "b")]
    hashes = [set(table["user"].to_pylist()) for table in tables]
    assert len(hashes[0]) == len(hashes[1]) == 60
    assert hashes[0].isdisjoint(hashes[1])
    assert b"u59" not in stored_comparisons.dump(tables[0])


def test_a_pool_reads_the_difference_and_the_days():
    """A comparison to pool has what its stored rows say, candidate minus champion."""
    rows = drawn(3)
    found = Comparison.of(rows, "auc")
    columns = [rows[name].to_numpy() for name in ("label", "candidate", "champion", "user")]
    assert found.difference.interval(0.95) == difference("auc", *columns).interval(0.95)
    assert found.days == {3, 4}


def test_a_flipped_bit_changes_no_row_unnoticed():
    """Whichever byte of a file changes, the comparison is refused or says the same."""
    table = drawn(0, rows=5)
    content = stored_comparisons.dump(table)
    refused = 0
    for place in range(len(content)):
        flipped = content[:place] + bytes([content[place] ^ (1 << place % 8)]) + content[place + 1 :]
        try:
            found = stored_comparisons.parse(flipped, "here")
        except InputError:
            refused += 1
        else:
            assert found.equals(table) and found.schema.metadata[b"candidate"] == CANDIDATE.encode(), place
    assert refused > len(content) / 3


def test_a_comparison_of_many_equal_rows_is_not_unpacked():
    """Rows that take no space on disk are counted before memory is spent on them."""
    rows = 1_000_000
    table = drawn(0, rows=10).take(np.zeros(rows, np.int64))
    sink = BytesIO()
    with pq.ParquetWriter(sink, table.schema, compression="zstd") as writer:
        for _ in range(stored_comparisons.MOST_ROWS // rows + 1):
            writer.write_table(table)
    assert len(sink.getvalue()) < 1 << 20
    with pytest.raises(InputError, match=r"here: has 11,000,000 rows .* expected at most 10,000,000 rows"):
        stored_comparisons.parse(sink.getvalue(), "here")


def test_a_comparison_is_stored_once(registry, monkeypatch):
    """A write that the client sends twice, or that another process overtakes, doubles no comparison and skips none."""
    champion = Version("c" * 64)
    candidates = [Version(letter * 64) for letter in "123"]
    metadata = [{b"candidate": candidate.encode()} for candidate in candidates]
    one, other, third = (drawn(0).replace_schema_metadata(own) for own in metadata)
    create = Objects.create
    monkeypatch.setattr(Objects, "create", lambda self, key, rows: create(self, key, rows) and create(self, key, rows))
    stored_comparisons.store(registry, champion, one)

    def overtaken(self, key, rows):
        monkeypatch.undo()
        stored_comparisons.store(registry, champion, other)
        return create(self, key, rows)

    monkeypatch.setattr(Objects, "create", overtaken)
    assert len(stored_comparisons.store(registry, champion, third)) == 3
    assert len(stored_comparisons.store(registry, champion, other)) == 2
    found = [rows.schema.metadata[b"candidate"].decode() for rows in stored_comparisons.read(registry, champion)]
    assert found == candidates


def hashed_as(table, **changes):
    """Return a file with the hash of a comparison, but with other rows or with other metadata."""
    stated = pq.read_schema(BytesIO(stored_comparisons.dump(table))).metadata
    sink = BytesIO()
    rows = changes.pop("rows", table)
    pq.write_table(rows.replace_schema_metadata(stated | {k.encode(): v for k, v in changes.items()}), sink)
    return sink.getvalue()


def test_damage_of_comparisons_is_listed_by_champion(registry):
    """Each champion with a bad comparison gives one line that names the object and what is wrong."""
    table = drawn(0)
    for letter in "abcdef":
        stored_comparisons.store(registry, Version(letter * 64), table)
    assert stored_comparisons.damage(registry) == []
    for letter, number, content in (
        ("b", 2, b"PAR1"),
        ("c", 3, b"PAR1"),
        ("d", 2, stored_comparisons.dump(table.drop_columns(["day"]))),
        ("e", 2, hashed_as(table, rows=drawn(0, first_user=1))),
        ("f", 2, hashed_as(table, candidate=b"b" * 64)),
    ):
        registry.objects.put(stored_comparisons.comparison_key(Version(letter * 64), number), content)
    lines = stored_comparisons.damage(registry)
    expected = (
        "b/000002.parquet: not a Parquet file",
        "c/000003.parquet: unexpected",
        "d/000002.parquet: has 400 rows",
        "e/000002.parquet: damaged, its rows do not have the hash",
        "f/000002.parquet: damaged, its rows do not have the hash",
    )
    assert len(lines) == 5 and all(part in line for part, line in zip(expected, lines, strict=True))

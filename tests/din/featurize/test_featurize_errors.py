"""Every error of featurize names place, value and next step."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from din.base.artifacts import hash_tree
from din.base.errors import InputError
from din.base.workspace import Workspace
from din.featurize.build import featurize
from tests.din.featurize.featurize_files import Built, block
from tests.factories.events import DAY, START, Log


def _log(users: int = 30, days: int = 5, **changes: Any) -> Log:
    events = [
        {
            "user_id": n % users,
            "item_id": n % 7,
            "timestamp": START + (n % days) * DAY + n,
            "sequence": n,
            "label": n % 2,
            "behaviour": n % 2,
            "place": f"p{n % 3}",
            "clicked_late": float(n % 2),
            "importance": [1.0, 0.5, 0.0][n % 3],
            "holes": None if n == 9 else 1.0,
            "odd": float("nan") if n == 8 else 1.0,
            "nothing": 0,
            "Weight": 1.0,
            "Tab": 1,
            "tab": 1,
            "tags": ["a"],
            "short": [1.0, 2.0] if n else [1.0],
            "broken": [None, 2.0],
        }
        for n in range(120)
    ]
    log = Log(events, protocol="temporal")
    for name, value in changes.items():
        setattr(log, name, value)
    return log


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"fields": {"context": {"nowhere": "categorical"}}}, ["'nowhere'", "place", "events"]),
        ({"fields": {"item": {"category": "categorical"}}}, ["items.parquet", "'category'", "item"]),
        ({"fields": {"context": {"clicked_late": "numeric"}}}, ["clicked_late", "label", "behaviour"]),
        ({"fields": {"context": {"behaviour": "categorical"}}}, ["behaviour", "leaks"]),
        ({"fields": {"context": {"item": "categorical"}}}, ["'item'", "rename"]),
        ({"fields": {"context": {"Tab": "numeric"}, "behaviour": {"tab": "numeric"}}}, ["Tab", "tab", "case"]),
        ({"fields": {"context": {"place": "numeric"}}}, ["place", "string", "categorical"]),
        ({"fields": {"context": {"place": "multi"}}}, ["place", "separators"]),
        ({"fields": {"context": {"tags": "categorical"}}}, ["tags", "multi"]),
        ({"fields": {"context": {"place": "vector"}}}, ["place", "string", "vector needs lists of numbers"]),
        ({"fields": {"context": {"short": "vector"}}}, ["context.short", "of 1 and of 2 numbers", "one length"]),
        ({"fields": {"context": {"broken": "vector"}}}, ["context.broken", "no value", "finite numbers"]),
        ({"fields": {"context": {"a/b": "categorical"}}}, ["'a/b'", "holds '/'", "rename"]),
        ({"days": 3}, ["3 day(s)", "2022-01-08 to 2022-01-10", "by_user"]),
        (
            {"window_days": 3},
            ["3 day(s)", "data.window_days=3", "2022-01-10 to 2022-01-12", "valid_days=1", "test_days=2", "lengthen"],
        ),
        ({"window_days": 3, "until": "2022-02-20"}, ["no events in the window", "2022-02-20", "2022-01-12"]),
        ({"until": "2022-02-20"}, ["test split", "empty", "data.until"]),
        ({"users": 1, "protocol": "by_user"}, ["split", "empty", "test_fraction"]),
        ({"protocol": "leave_last_out", "users": 1}, ["user 0", "7", "negative"]),
        ({"weight": "nowhere"}, ["'nowhere'", "featurize.weight", "importance", "fetch.table.keep"]),
        ({"weight": "place"}, ["'place'", "string", "featurize.weight needs numbers"]),
        ({"weight": "label"}, ["featurize.weight", "'label'", "the log itself"]),
        ({"weight": "holes"}, ["1 events", "'holes'", "None of user 9 (sequence 9)", "at least 0"]),
        ({"weight": "odd"}, ["1 events", "'odd'", "nan of user 8 (sequence 8)", "finite"]),
        ({"weight": "nothing"}, ["'nothing' is 0 in every training row", "null"]),
        ({"weight": "hour", "fields": {"context": {"hour": "numeric"}}}, ["'hour'", "context", "feedback"]),
        ({"fields": {"context": {"file_row_number": "numeric"}}}, ["file_row_number", "feature files", "rename"]),
        ({"weight": "importance", "fields": {"context": {"Weight": "numeric"}}}, ["Weight", "feature files", "rename"]),
        ({"keep_negatives": 1e-9}, ["featurize.keep_negatives=1e-09", "none of the", "raise it"]),
        (
            {"keep_negatives": 0.5, "protocol": "leave_last_out"},
            ["featurize.keep_negatives=0.5", "leave_last_out", "already sampled", "set keep_negatives to 1"],
        ),
        ({"keep_negatives": 0.5, "sampled": 0.1}, ["already sampled", "the log holds 0.1 of them"]),
    ],
)
def test_bad_input_is_refused(
    build: Callable[..., Built], changes: dict[str, Any], words: list[str], tmp_path: Path
) -> None:
    """One message names file or key, value and next step, and no features are left behind."""
    of_log = {key: changes[key] for key in changes.keys() & {"days", "users", "until", "fields", "protocol", "sampled"}}
    log = _log(**of_log)
    with pytest.raises(InputError) as refused:
        build(log, **{key: changes[key] for key in changes.keys() - of_log.keys()})
    assert all(word in str(refused.value) for word in words), refused.value
    assert not list(tmp_path.glob("*/data/features"))


def test_a_folder_that_looks_like_a_partition(tmp_path: Path) -> None:
    """No column is read from the name of a folder above the workspace."""
    folders = [tmp_path / name / "job" for name in ("plain", "user=3/shard=1 [1]")]
    for root in folders:
        _log().write(root / "data/raw")
        featurize(Workspace(root), block())
    plain, other = (hash_tree(root / "data/features") for root in folders)
    assert other == plain


def test_a_missing_raw_log_is_named(tmp_path: Path) -> None:
    """The message names the missing manifest."""
    with pytest.raises(InputError, match=r"data/raw/manifest\.json: not found"):
        featurize(Workspace(tmp_path), block())


def test_earlier_features_survive_a_refusal(build: Callable[..., Built]) -> None:
    """A failed build keeps the last good features and leaves no scratch files."""
    built = build(_log())
    before = built.manifest
    with pytest.raises(InputError):
        featurize(built.workspace, block(fields={"context": {"nowhere": "categorical"}}))
    assert Built(built.workspace).manifest == before
    assert not built.workspace.scratch.exists()


def test_spark_needs_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without pyspark, the message says what to install."""
    monkeypatch.delitem(sys.modules, "din_spark.featurize", raising=False)
    for name in ("pyspark", "ibis.backends.pyspark"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(InputError, match=r"featurize\.engine is spark.*install the extra `spark`"):
        featurize(Workspace(tmp_path), block(engine="spark"))


def test_too_little_memory_names_the_key(build: Callable[..., Built]) -> None:
    """The engine's out-of-memory error becomes a message about featurize.memory_mb."""
    with pytest.raises(InputError, match=r"featurize\.memory_mb=1 "):
        build(_log(), memory_mb=1)


@pytest.mark.parametrize(
    ("own", "told"),
    [
        (pa.array([0.5]), "is double, but int64"),
        (None, "is missing, but int64"),
    ],
)
def test_a_column_that_differs_between_days_is_named(
    own: pa.Array | None, told: str, build: Callable[..., Built]
) -> None:
    """A later day in which a declared column is missing or of another type is named, and nothing is rounded or null."""
    log = _log(fields={"context": {"hour": "numeric"}})
    for event in log.events:
        event["hour"] = 1 + event["sequence"] % 3
    built = build(log)
    path = max(built.workspace.raw.rglob("part-0.parquet"))
    rows = pq.read_table(path).slice(0, 1).drop_columns("hour")
    pq.write_table(rows if own is None else rows.append_column("hour", own), path)
    with pytest.raises(InputError, match=rf"date=2022-01-12.*part-0\.parquet.*'hour' {told}.*same types"):
        featurize(built.workspace, block())


def test_a_listed_day_without_a_file_is_named(build: Callable[..., Built]) -> None:
    """A day that the manifest lists, but whose file is gone, is not read as empty."""
    built = build(_log())
    path = max(built.workspace.raw.rglob("part-0.parquet"))
    path.unlink()
    with pytest.raises(InputError, match=r"date=2022-01-12: no Parquet file, but .*manifest\.json lists this day"):
        featurize(built.workspace, block())


def test_a_truncated_raw_file_is_named(build: Callable[..., Built]) -> None:
    """A broken Parquet file ends with one message that names it."""
    built = build(_log())
    path = next(built.workspace.raw.rglob("part-0.parquet"))
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(InputError, match=path.name):
        featurize(built.workspace, block())

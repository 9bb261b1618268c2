"""The loop from served requests to training: equal features, equal scores when replayed, and no skew."""

import json
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from din import cli
from din.base.artifacts import MANIFEST, hash_files, read_json
from din.base.errors import GateClosed, InputError
from din.base.workspace import Workspace
from din.bundle.limits import Limits
from din.data.fetch import fetch
from din.featurize.build import featurize
from din.params.reading import Params
from din.release.registry.cache import scorer_of
from din.release.registry.registry import Registry
from din_loop.replay.again import score_again
from din_loop.replay.replay import Replay, replay
from din_loop.served_log import FILES, OPEN, SCHEMA
from din_loop.server import answers
from din_loop.server.answer_log import AnswerLog
from din_loop.watch import traffic
from tests.din_loop.served_days import HISTORY, ITEMS, Days
from tests.din_loop.served_world import World, serve


def read(root: Path, params: Params, source: str, options: dict[str, Any], **table: Any) -> Workspace:
    """Fetch and featurize a source in a workspace of its own."""
    workspace = Workspace(root)
    fields = {"user": {"user_id": "id"}, "item": {"category": "categorical"}}
    table |= {"items": str(root.parent / ITEMS), "history": str(root.parent / HISTORY)}
    if source == "table":
        block = replace(params.fetch, source=source, table=replace(params.fetch.table, **table))
    else:
        block = replace(params.fetch, source=source, options=options | {"table": table})
    params = replace(params, fetch=block, featurize=replace(params.featurize, fields=fields, max_history=20))
    fetch(workspace, params)
    featurize(workspace, params)
    return workspace


def same_features(days: Days, world: World, params: Params, root: Path, **table: int) -> Workspace:
    """Serve some days, learn from them, and check that the features are those of the log of truth; return them."""
    days.write_tables(root)
    serve(world, days, root / "served")
    options = {"path": str(root / "served"), "clicks": str(root / "clicks.csv"), "window_hours": 1}
    served = read(root / "a", params, "served", options | {"int_ids": ("user_id", "item_id")}, **table)
    days_served = read_json(served.raw / MANIFEST)["days"]
    until = replace(params, data=replace(params.data, until=date.fromisoformat(days_served[-1])))
    truth = read(root / "b", until, "table", {}, events=str(root / "events.csv"), **table)
    served_hashes, expected = (hash_files(workspace.features) for workspace in (served, truth))
    assert served_hashes.pop(MANIFEST) and expected.pop(MANIFEST)
    assert served_hashes == expected and len(days_served) > 1
    return served


def replayed(world: World, workspace: Workspace, root: Path, **keys: Any) -> Replay:
    return replay(workspace, root / "served", world.registry, **{"most": 1000, "key": None} | keys)


def test_a_replay(world: World, params: Params, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Features are those of the log of truth, scores are the same again, and a late client is named, a sound one not.

    The times of the raw log are eight hours ahead of the server's.
    """
    days = Days(days=6, impressions=40)
    workspace = same_features(days, world, params, tmp_path, utc_offset_hours=8)
    result = replayed(world, workspace, tmp_path, utc_offset_hours=8)
    assert [(version.requests, version.differ, version.problem) for version in result.versions] == [
        (len(days.impressions), 0, None)
    ]
    events = pq.read_table(workspace.raw / "events", columns=["user_id", "timestamp"])
    assert result.skew == [] and result.compared == len(events.group_by(["user_id", "timestamp"]).aggregate([]))
    assert "clients sent what the log holds" in capsys.readouterr().out
    result.check()

    def late_and_long(request: dict[str, Any]) -> dict[str, Any]:
        """Return a request with one more candidate, the first, which was not shown."""
        return request | {"history": request["history"][:-1], "candidates": [999, *request["candidates"]]}

    late = tmp_path / "late"
    late.mkdir()
    days.write_tables(late)
    serve(world, days, late / "served", late_and_long)
    first, *_ = replayed(world, workspace, late, utc_offset_hours=8).skew
    assert (first.field, first.cause) == ("history", "the newest behaviour is missing")


def test_any_size_and_refusals(world: World) -> None:
    """A server may allow larger requests than the default. A request that is refused now has no difference."""
    scorer = scorer_of(world.registry.uri, "log")
    row = {"request_id": "r", "version": scorer.version, "user_id": None, "hashed": False}
    large = {"history": ["i4"] * 10_001, "candidates": ["i5"] * 10_001}
    served = scorer.within(Limits(20_000, 20_000)).score(large)
    (again,) = score_again(world.registry, [row | {"request": large, "probabilities": served}], None)
    assert (again.differ, again.largest) == (0, 0.0)
    (again,) = score_again(world.registry, [row | {"request": large, "probabilities": served + 0.01}], None)
    assert (again.differ, again.largest) == (1, pytest.approx(0.01))
    odd = {"user": {"user_id": [7]}, "candidates": ["i5"]}
    (again,) = score_again(world.registry, [row | {"request": odd, "probabilities": [0.5]}], None)
    assert (again.differ, again.largest, again.example) == (1, None, "r")


def test_a_log_without_candidates(world: World, tmp_path: Path) -> None:
    """Nothing can be scored again, which must not pass for equal scores."""
    serve(world, Days(days=1, impressions=20), tmp_path / "served")
    for path in (tmp_path / "served").glob(FILES):
        rows = pq.ParquetFile(path).read().to_pylist()
        empty = [row | {"items": [], "probabilities": []} for row in rows]
        pq.write_table(pa.Table.from_pylist(empty, SCHEMA), path)
    with pytest.raises(InputError, match="holds no answer with a candidate"):
        replayed(world, Workspace(tmp_path), tmp_path)


def test_other_scores_and_unknown_versions(world: World, tmp_path: Path) -> None:
    """A probability that the version would not give, and a version that no record has, close the gate."""
    serve(world, Days(days=1, impressions=20), tmp_path / "served")
    path, *_ = sorted((tmp_path / "served").glob(FILES))
    rows = pq.ParquetFile(path).read().to_pylist()
    rows[0]["probabilities"][0] += 1e-5
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), path)
    result = replayed(world, Workspace(tmp_path), tmp_path)
    (version,) = result.versions
    assert (version.differ, version.example, result.compared) == (1, rows[0]["request_id"], None)
    with pytest.raises(GateClosed, match="probabilities other than those served"):
        result.check()
    pq.write_table(pa.Table.from_pylist([row | {"version": "0" * 64} for row in rows], SCHEMA), path)
    result = replayed(world, Workspace(tmp_path), tmp_path)
    problems = [version.problem for version in result.versions]
    assert problems[0] == f"no record of {world.registry.name} has it" and problems[1] is None
    with pytest.raises(GateClosed, match=r"no scores for .* requests of version 000000000000: no record of"):
        result.check()


def test_files_of_a_killed_server(world: World, tmp_path: Path) -> None:
    """Rows that it did not publish are replayed, a temporary file is none, and a damaged one is named."""
    days = Days(days=1, impressions=20)
    serve(world, days, tmp_path / "served")
    path, *_ = sorted((tmp_path / "served").glob(FILES))
    rows = pq.ParquetFile(path).read()
    path.unlink()
    with pa.ipc.new_stream(tmp_path / "served" / OPEN / "2026-01-31T09-x.arrows", SCHEMA) as file:
        file.write_table(rows)
    path.with_name(".tmp-x.parquet").write_text("cut")
    assert replayed(world, Workspace(tmp_path), tmp_path).versions[0].requests == len(days.impressions)
    path.with_name("x.parquet").write_text("damaged")
    with pytest.raises(InputError, match=r"x\.parquet.*; expected the files that `din serve --log` writes"):
        replayed(world, Workspace(tmp_path), tmp_path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ({"request": None}, "request: JSON input"),  # e.g. blanked for a person who wants to be forgotten
        ({"version": "v1"}, "version: .*64 hex digits, got 'v1'"),
        ({"request": "{}"}, "the numbers of candidates, items and probabilities differ"),
        ({"probabilities": []}, "the numbers of candidates, items and probabilities differ"),
    ],
)
def test_a_damaged_row(damage: dict[str, Any], message: str, tmp_path: Path) -> None:
    """`din replay` and `din watch` name its request, and no missing probability counts as an equal one."""
    at = datetime(2026, 1, 31, 9)
    row = {"request_id": "r7", "answered_at": at, "version": "0" * 64, "user_id": "3", "hashed": False}
    row |= {"request": '{"candidates": ["i4"]}', "items": ["i4"], "probabilities": [0.5]}
    path = tmp_path / "date=2026-01-31/hour=09/x.parquet"
    path.parent.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist([row | damage], SCHEMA), path)
    workspace = Workspace(tmp_path)
    for read_log in (
        lambda: replay(workspace, tmp_path, Registry(str(tmp_path), "log"), 10, None),
        lambda: traffic.read(tmp_path, at + timedelta(hours=1), 10),
    ):
        with pytest.raises(InputError, match=f"{tmp_path}: request 'r7': {message}.*: remove a damaged one"):
            read_log()


def test_hashed_people(world: World, tmp_path: Path) -> None:
    """With the key, profiles are found again; without it, the command says what it needs."""
    key = tmp_path / "key"
    key.write_text("k" * 32)
    deployment = world.deploy(log=str(tmp_path / "served"), log_key=str(key))
    log = AnswerLog(tmp_path / "served", key=str(key))
    log.start()
    body = json.dumps({"user": {"user_id": 4}, "history": ["i4"], "candidates": ["i5", "i6"]}).encode()
    log.put(log.drawn(answers.score(deployment.serving, body)), len(body))
    log.close()
    assert replayed(world, Workspace(tmp_path), tmp_path, key=key).versions[0].differ == 0
    with pytest.raises(InputError, match="give the key as --log-key"):
        replayed(world, Workspace(tmp_path), tmp_path)


def test_the_command(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command prints JSON, and says what an empty folder lacks."""
    monkeypatch.chdir(tmp_path)
    serve(world, Days(days=1, impressions=20), tmp_path / "served")
    where = ["--registry", world.registry.uri, "--json"]
    done = CliRunner().invoke(cli.app, ["replay", "served", *where])
    assert done.exit_code == 0 and json.loads(done.stdout)["versions"][0]["differ"] == 0
    done = CliRunner().invoke(cli.app, ["replay", "nothing", *where])
    assert done.exit_code == 2 and "nothing: no files such as date=" in done.stderr

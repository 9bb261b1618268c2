"""The command `din replay`: score a part of a server's log again, and compare its requests with the raw log here."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from din.base import documents
from din.base.artifacts import MANIFEST
from din.base.errors import GateClosed, InputError
from din.base.printing import print_table
from din.base.workspace import Workspace
from din.bundle.requests_from_log import requests_for
from din.contracts.manifests import FeaturesManifest
from din.params.fetch import Fetch
from din.release.registry.registry import Registry
from din.schema import TIMESTAMP, Group, parse_field
from din_loop.replay.again import TOLERANCE, Again, score_again
from din_loop.replay.causes import Pair
from din_loop.replay.skew import FieldSkew, find
from din_loop.served_answers import parsed, reading
from din_loop.served_log import EXAMPLE, files, read_key
from din_loop.served_options import options_of

_WHOLE = 1 << 61  # more behaviours than any history has


@dataclass(frozen=True)
class Replay:
    """The result of a replay.

    Attributes:
        versions: a comparison of the scores for each version.
        compared: the requests whose moments `data/features` knows; None: there are no features here.
        skew: the fields that differ.
    """

    versions: list[Again]
    compared: int | None
    skew: list[FieldSkew]

    def check(self) -> None:
        """Raise GateClosed if a probability differs from the one that was served, or a version scored none."""
        scored = [row for row in self.versions if row.largest is not None]
        if differ := sum(row.differ for row in scored):
            refusals = "".join(f" ({row.problem})" for row in scored if row.problem)
            raise GateClosed(
                f"probabilities other than those served, by more than {TOLERANCE:g}, or none{refusals}, for {differ:,} "
                f"of {sum(row.requests for row in scored):,} requests: look at the request of the example, and "
                "at the packages of the server and of this machine"
            )
        if unscored := [row for row in self.versions if row.largest is None]:
            problems = (f"{row.differ:,} requests of version {row.version[:12]}: {row.problem}" for row in unscored)
            raise GateClosed(f"no scores for {'; '.join(problems)}")


def replay(
    workspace: Workspace, log: Path, registry: Registry, most: int, key: Path | None, utc_offset_hours: int = 0
) -> Replay:
    """Score the log again, compare it with the features of the workspace, and print both.

    Args:
        workspace: with `data/raw` and `data/features`, or without.
        log: the folder of the server's log.
        registry: holds the bundles that answered.
        most: how many requests to look at, drawn by a hash of their ids.
        key: the file with the key of the hashes of users.
        utc_offset_hours: how many hours the times of `data/raw` are ahead of UTC.

    Raises:
        InputError: the log is empty or damaged, or its users are hashed and need a key.
        Unavailable: the registry doesn't answer.
    """
    rows = _read(log, most)
    versions = score_again(registry, rows, read_key(key) if key else None)
    columns = ("version", "requests", "candidates", "differ", "largest difference", "problem", "example")
    shown = [
        (row.version[:12], row.requests, row.candidates, row.differ, row.largest, row.problem, row.example)
        for row in versions
    ]
    print_table(f"Scored again ({len(rows):,} requests of {log})", columns, shown)
    if not (workspace.features / MANIFEST).is_file():
        print("no data/features here, so what clients sent is not compared: run `dvc repro featurize`")
        return Replay(versions, None, [])
    ahead = 3600 * utc_offset_hours
    pairs, fields = _pairs(workspace, rows, ahead)
    skew = find(pairs, fields, any(result.reads_ages for result in versions), ahead)
    print(f"{len(pairs):,} of {len(rows):,} requests are impressions of data/features")
    if rows and not pairs:
        print("data/features is of another log, or other days: set fetch.source to served, and `dvc repro featurize`")
    if skew:
        lines = [(row.field, row.cause, f"{row.requests:,} of {row.compared:,}", row.example) for row in skew]
        print_table("What clients sent differs from the log", ("field", "likely cause", "requests", "example"), lines)
    elif pairs:
        print("clients sent what the log holds")
    return Replay(versions, len(pairs), skew)


def hours_ahead(fetch: Fetch) -> int:
    """Return how many hours the times of the raw log are ahead of UTC."""
    if served := options_of(fetch):
        return served.table.utc_offset_hours
    return fetch.table.utc_offset_hours if fetch.source == "table" else 0


def _read(log: Path, most: int) -> list[dict[str, Any]]:
    """Return some rows of the log in the order of time, with `request` parsed."""
    paths = [str(path) for path in files(log)]
    if not paths:
        raise InputError(f"{log}: no files such as {EXAMPLE}; expected the folder of --log")
    with reading(log), duckdb.connect() as con:
        rows = con.execute(
            """WITH answers AS NOT MATERIALIZED (
                FROM read_parquet(?, hive_partitioning = false) WHERE len(items) > 0
            ),
            drawn AS (SELECT DISTINCT request_id FROM answers ORDER BY md5(request_id) LIMIT ?)
            SELECT DISTINCT ON (request_id) answers.* FROM answers SEMI JOIN drawn USING (request_id)
            ORDER BY request_id""",
            [paths, most],
        ).to_arrow_table()
    if not len(rows):
        raise InputError(f"{log}: holds no answer with a candidate; expected the log of a server that has scored some")
    ordered = rows.sort_by([("answered_at", "ascending"), ("request_id", "ascending")]).to_pylist()
    return [parsed(row, log) for row in ordered]


def _pairs(workspace: Workspace, rows: list[dict[str, Any]], offset: float) -> tuple[list[Pair], dict[str, list[str]]]:
    """Return the requests whose impressions the raw log holds, beside the truth, and the names of fields by group."""
    manifest = documents.read(FeaturesManifest, workspace.features / MANIFEST, "run `dvc repro featurize`")
    fields = [parse_field(record) for record in manifest.fields]
    places = _places(workspace, rows, offset)
    placed = [row for row in rows if row["request_id"] in places]
    shown = [places[row["request_id"]].pop("candidate") for row in placed]
    table = pa.Table.from_pylist([places[row["request_id"]] for row in placed])
    names = {str(group): [field.name for field in fields if field.group is group] for group in Group}
    if not placed:
        return [], names
    true = requests_for(table, workspace.raw, workspace.features, None, _WHOLE)
    to_utc(true, offset)
    log_items = {*entities(workspace, "items").to_pylist()}
    pairs = []
    for row, at, request in zip(placed, shown, true, strict=True):
        sent = row["request"] | {"candidates": [row["request"]["candidates"][at]]}
        pairs.append(Pair(row["request_id"], sent, request, row["items"], manifest.max_history, log_items))
    return pairs, names


def to_utc(requests: list[dict[str, Any]], offset: float) -> None:
    """Shift the times of requests, and those of behaviours, which histories share."""
    shared = {id(entry): entry for request in requests for entry in request["history"]}
    for entry in shared.values():
        if entry[TIMESTAMP] is not None:
            entry[TIMESTAMP] -= offset
    for request in requests:
        request["time"] -= offset


def _places(workspace: Workspace, rows: list[dict[str, Any]], offset: float) -> dict[str, dict[str, Any]]:
    """Return where the raw log and the features hold each request, by the request's id: its first candidate there.

    The raw log lacks candidates that were not shown or have no id.
    """
    requests = pa.table(
        {
            "request_id": [row["request_id"] for row in rows],
            "user_id": pa.array([row["user_id"] for row in rows], pa.string()),
            "items": pa.array([row["items"] for row in rows], pa.list_(pa.string())),
            "at": pa.array([row["answered_at"] for row in rows], pa.timestamp("us")),
        }
    )
    with duckdb.connect() as con:
        con.register("asked", requests)
        for name in ("users", "items"):
            values = entities(workspace, name)
            con.register(name, pa.table({"value": values, "place": np.arange(len(values))}))
        table = con.execute(
            f"""SELECT DISTINCT ON (request_id) request_id, candidate, coalesce(users.place, 0) AS "user",
                coalesce(items.place, 0) AS item, sequence, epoch_us(timestamp) AS timestamp
            FROM (
                SELECT * EXCLUDE (items), unnest(items) AS item_id, generate_subscripts(items, 1) - 1 AS candidate
                FROM asked
            ) AS asked JOIN read_parquet(?) AS events ON CAST(events.user_id AS VARCHAR) = asked.user_id
                AND CAST(events.item_id AS VARCHAR) = asked.item_id
                AND events.timestamp = asked."at" + to_seconds({offset})
            LEFT JOIN users ON users.value = asked.user_id LEFT JOIN items ON items.value = asked.item_id
            ORDER BY request_id, candidate, sequence""",
            [str(workspace.raw / "events" / "*" / "*.parquet")],
        ).to_arrow_table()
    return {row.pop("request_id"): row for row in table.to_pylist()}


def entities(workspace: Workspace, name: str) -> pa.ChunkedArray:
    """Return the raw ids of users or items as text, by their rows."""
    return pq.read_table(workspace.features / f"{name}.parquet", columns=["value"])["value"].cast(pa.string())

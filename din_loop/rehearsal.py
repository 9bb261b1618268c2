"""Play some days of service on a clock of their own: `din rehearse`.

    users of data/raw ─► requests ─► the champion's scores ─► the log of the server
                              ▲                 └─ and an appeal of each item ─────────► clicks, a table
                              └──── histories, which a client keeps ◄────────────────────────┘

The requests are those of a sound client: a user's history and context as the raw log has them, candidates as popular as
there, and the clicks of earlier requests. A click is drawn from the champion's logit and the appeal of the item, which
the champion doesn't know, so that there is something to learn. The same seed plays the same days. Nobody's clicks are
real: a model that learned them serves nobody.
"""

import csv
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from ruamel.yaml import YAML

from din.base import documents
from din.base.artifacts import MANIFEST
from din.base.errors import InputError
from din.base.workspace import Workspace
from din.bundle.requests_from_log import requests_for
from din.bundle.scorer import Scorer
from din.contracts.manifests import FeaturesManifest
from din.params.blocks import to_json
from din.params.reading import Params
from din.release.registry.cache import CACHE, open_fetched
from din.release.registry.registry import Registry
from din.schema import BEHAVIOUR, ITEM_ID, LABEL, TIMESTAMP, Group, parse_field
from din_loop.replay.replay import entities, hours_ahead, to_utc
from din_loop.served_join import REQUEST_ID
from din_loop.server.answer_log import AnswerLog
from din_loop.server.answers import Answer

_CANDIDATES = 10
_APPEAL = 0.5
"""The standard deviation, on the logit, of the appeal of an item."""
_DELAY_SECONDS = 60.0
"""The mean time between an answer and a click on it."""
_MOST_USERS = 10_000


@dataclass(frozen=True)
class Rehearsal:
    """The result of a rehearsal.

    Attributes:
        requests, clicks: their numbers.
        clicks_file: the table of clicks.
        overlay: the file of the parameters that learn from the days.
    """

    requests: int
    clicks: int
    clicks_file: Path
    overlay: Path


def rehearse(
    workspace: Workspace, params: Params, registry: Registry, folder: Path, days: int, requests: int, seed: int
) -> Rehearsal:
    """Write the log of some days until now, the clicks, and an overlay with which this job continues with them.

    Args:
        workspace: with `data/raw` and `data/features`.
        params: of the job.
        registry: holds the champion, which answers.
        folder: of the log, which must not exist. The clicks and the overlay are beside it.
        days: whole days before today. The hours of today until now are played too.
        requests: of a day.
        seed: of all draws.

    Raises:
        InputError: the folder exists, the job learns from a server already, or there are no features or no champion.
        Unavailable: the registry doesn't answer.
    """
    if folder.exists():
        raise InputError(f"{folder}: exists; expected a new folder, since played days must not be among served ones")
    if params.fetch.source == "served":
        raise InputError("fetch.source: served; expected a job that doesn't learn from a server yet")
    version = registry.required_champion().version
    scorer = open_fetched(registry, version, Scorer, CACHE)
    draw = np.random.default_rng(seed)
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    start = now.replace(hour=0) - timedelta(days=days)
    asking, pool, feedback = _people(workspace, start, 3600 * hours_ahead(params.fetch))
    appeal = dict(zip(sorted(set(pool)), draw.normal(0, _APPEAL, len(set(pool))), strict=True))
    count = round(requests * (now - start) / timedelta(days=1))
    times = np.sort(draw.uniform(start.timestamp(), now.timestamp(), count)).round(6).tolist()
    at = start.timestamp()
    log = AnswerLog(folder, clock=lambda: at)
    log.start()
    names = sorted({name for entry in feedback for name in entry})
    rows = []
    for number, at in enumerate(times):
        asked = asking[draw.integers(len(asking))]
        items = list(dict.fromkeys(pool[place] for place in draw.integers(len(pool), size=2 * _CANDIDATES)))
        request = {**asked, "history": [*asked["history"]], "candidates": items[:_CANDIDATES], "time": at}
        probabilities = scorer.score(request)
        name = f"{folder.name}-{number}"
        log.put(log.drawn(Answer(b"", version, [request], [probabilities.tolist()], [name])), 0)
        logits = np.log(probabilities) - np.log1p(-probabilities) + [appeal[item] for item in request["candidates"]]
        for place in np.flatnonzero(draw.random(len(logits)) < 1 / (1 + np.exp(-logits))):
            item = request["candidates"][place]
            said = feedback[draw.integers(len(feedback))]
            asked["history"].append({ITEM_ID: item, **said, TIMESTAMP: at})
            rows.append((name, item, round(at + draw.exponential(_DELAY_SECONDS), 3), *(said[key] for key in names)))
    log.close()
    clicks_file = folder.with_name(f"{folder.name}-clicks.csv")
    with clicks_file.open("w", newline="") as file:
        csv.writer(file).writerows([(REQUEST_ID, ITEM_ID, TIMESTAMP, *names), *rows])
    overlay = folder.with_name(f"{folder.name}.yaml")
    with overlay.open("w") as file:
        YAML().dump(_overlay(params, folder, clicks_file, names), file)
    print(
        f"played {count:,} requests until {now:%Y-%m-%d %H:%M} UTC, with {len(rows):,} clicks: {folder}, {clicks_file}"
    )
    print(f"to learn from them: din params apply {overlay} && dvc repro && din promote")
    return Rehearsal(count, len(rows), clicks_file, overlay)


def _people(
    workspace: Workspace, start: datetime, ahead: float
) -> tuple[list[dict[str, Any]], list[Any], list[dict[str, Any]]]:
    """Return a request of each user, the items of all impressions, and the feedback that came with clicks.

    Args:
        workspace: with `data/raw` and `data/features`.
        start: when the first day begins. All behaviours before it are in the histories.
        ahead: how many seconds the times of `data/raw` are ahead of UTC.
    """
    manifest = documents.read(FeaturesManifest, workspace.features / MANIFEST, "run `dvc repro`")
    fields = [parse_field(record) for record in manifest.fields]
    events = str(workspace.raw / "events" / "*" / "*.parquet")
    with duckdb.connect() as con:
        for name in ("users", "items"):
            values = entities(workspace, name)
            con.register(name, pa.table({"value": values, "place": np.arange(len(values))}))
        last = con.execute(
            f"""SELECT users.place AS "user", coalesce(items.place, 0) AS item, sequence,
                {round(1e6 * (start.timestamp() + ahead))} AS timestamp
            FROM read_parquet(?) AS events JOIN users ON users.value = CAST(events.user_id AS VARCHAR)
            LEFT JOIN items ON items.value = CAST(events.item_id AS VARCHAR)
            QUALIFY row_number() OVER (PARTITION BY users.place ORDER BY events.timestamp DESC, sequence DESC) = 1
            ORDER BY md5(events.user_id::VARCHAR) LIMIT {_MOST_USERS}""",
            [events],
        ).to_arrow_table()
        pool = con.execute("SELECT item_id FROM read_parquet(?) ORDER BY md5(sequence::VARCHAR) LIMIT 100000", [events])
        items = [item for (item,) in pool.fetchall()]
        kept = {name for name, *_ in con.execute("DESCRIBE SELECT * FROM read_parquet(?)", [events]).fetchall()}
        names = [field.name for field in fields if field.group is Group.BEHAVIOUR and field.name in kept]
        said = con.execute(
            f"""SELECT {", ".join(["1", *(f'"{name}"' for name in names)])} FROM read_parquet(?)
            WHERE {LABEL} = 1 AND {BEHAVIOUR} = 1 ORDER BY md5(sequence::VARCHAR) LIMIT 1000""",
            [events],
        ).fetchall()
    feedback = [dict(zip(names, values, strict=True)) for _, *values in said]
    requests = requests_for(last, workspace.raw, workspace.features)
    to_utc(requests, ahead)
    return requests, items, feedback


def _overlay(params: Params, folder: Path, clicks: Path, feedback: list[str]) -> dict[str, Any]:
    """Return the parameters with which the job learns its own log and then the played days."""
    block = params.fetch.block
    before: dict[str, Any] = {"source": params.fetch.source}
    before |= {params.fetch.source: to_json(block)} if block else {"options": params.fetch.options}
    options = {"path": str(folder), "clicks": str(clicks), "window_hours": 1, "feedback": feedback, "before": before}
    return {
        "fetch": {"source": "served", "options": options},
        "featurize": {"protocol": "temporal"},
        "promote": {"model_name": str(params.model_name)},
    }

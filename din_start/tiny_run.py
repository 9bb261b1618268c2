"""A tiny run: a log with every kind of field, drawn in memory, and the stages up to the bundle, in seconds.

`din plugin check` tries plugins with it.
"""

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from din.base import documents
from din.base.artifacts import MANIFEST, hash_files, write_bytes, write_json
from din.base.workspace import FORMAT, SUITES, Workspace
from din.contracts.manifests import RawManifest
from din.data.rawlog import RawLog, write
from din.data.rows import Rows
from din.params.reading import Params

START = 1_700_000_000_000_000
HOUR = 3_600_000_000
FIELDS = {
    "user": {"user_id": "id", "age": {"kind": "numeric", "buckets": 3}, "likes": "multi"},
    "item": {
        "category": "categorical",
        "tags": "multi",
        "price": "numeric",
        "year": {"kind": "numeric", "buckets": 3},
        "embedding": "vector",
    },
    "context": {"tab": "categorical", "hour": "numeric", "marks": "multi"},
    "behaviour": {"rating": "categorical", "watched": "numeric", "moods": "multi"},
}
LISTS = dict.fromkeys(("likes", "tags", "marks", "moods"), pa.list_(pa.string()))
TYPES = {**LISTS, "timestamp": pa.timestamp("us"), "price": pa.float64(), "watched": pa.float64()}
TYPES["embedding"] = pa.list_(pa.float64())
ITEMS, USERS = 30, 40


def random_log(seed: int = 0) -> RawLog:
    """Return a log with about ten events per user, equal times, some prior history, and missing values in all fields.

    Clicks depend on earlier behaviours with the candidate's category, so that a model has something to learn.
    """
    rng = random.Random(seed)

    def maybe(value: Any) -> Any:
        return None if rng.random() < 0.15 else value

    def some(prefix: str) -> Any:
        return maybe([f"{prefix}{rng.randrange(4)}" for _ in range(rng.randrange(4))])

    def past() -> dict[str, Any]:
        return {"rating": maybe(rng.randrange(1, 6)), "watched": maybe(rng.random() * 9), "moods": some("m")}

    events, history = [], []
    for user in range(USERS):
        for number in range(rng.randrange(3) if user % 3 == 0 else 0):
            time = maybe(START - HOUR)
            row = {"user_id": user, "item_id": f"i{rng.randrange(ITEMS)}", "timestamp": time, "sequence": number}
            history.append(row | past())
        seen: set[int] = set()
        for _ in range(rng.choice([1, 6, 12, 16])):
            item = rng.randrange(ITEMS)
            label = int(rng.random() < (0.9 if item % 4 in seen else 0.2))
            seen |= {item % 4} if label else set()
            event = {
                "user_id": user,
                "item_id": f"i{item}",
                "timestamp": START + rng.randrange(9) * HOUR,
                "label": label,
            }
            context = {"tab": maybe(rng.randrange(3)), "hour": maybe(float(rng.randrange(24))), "marks": some("k")}
            events.append(event | {"behaviour": rng.choice([label, 1])} | context | past())
    numbers = rng.sample(range(10_000), len(events))
    events = [event | {"sequence": number} for event, number in zip(events, sorted(numbers), strict=True)]
    vectors = random.Random(-1 - seed)
    items = [
        {"item_id": f"i{item}", "category": maybe(f"c{item % 4}"), "tags": some("t"), "price": maybe(item * 1.5)}
        | {"year": maybe(1990 + item), "embedding": vectors.choice([None, *5 * [[vectors.gauss(0, 1), item / 9, 0.5]]])}
        for item in range(2, ITEMS + 3)
    ]
    users = [{"user_id": user, "age": maybe(20 + user), "likes": some("l")} for user in range(0, USERS, 2)]
    return RawLog(
        events=part("events", events),
        history=part("history", history),
        items=part("items", items),
        users=part("users", users),
        fields=FIELDS,
        protocol="by_user",
    )


def part(name: str, rows: list[dict[str, Any]]) -> Rows:
    """Return rows as a table of a log."""
    columns = {key: [row[key] for row in rows] for key in rows[0]}
    return Rows.of(name, {key: pa.array(values, TYPES.get(key)) for key, values in columns.items()})


def write_raw(log: RawLog, raw: Path) -> None:
    """Write a log and its manifest as fetch does."""
    described = write(log, raw, None)
    manifest = {"format": FORMAT, "source": "tiny", "params": {}, "files": hash_files(raw)} | described
    write_json(raw / MANIFEST, documents.check(RawManifest, manifest, f"the manifest of {raw}"))


def small(params: Params) -> Params:
    """Return the parameters with a model and histories that suit a tiny log."""
    train = params.train
    model = replace(train.model, embedding_dim=4, attention_hidden=(8,), hidden=(8,))
    learning = replace(train.learning, metric="auc", learning_rate=0.01, embedding_std=0.3, epochs=2, batch_size=32)
    return replace(
        params,
        featurize=replace(params.featurize, max_history=6, min_count=2, shards=2, valid_fraction=0.2),
        train=replace(train, model=model, learning=learning, compute=replace(train.compute, threads=1)),
    )


def build(workspace: Workspace, params: Params) -> None:
    """Run the stages from the features to the exported bundle. No suite judges a tiny log, so all count as open."""
    from din.bundle.export import export
    from din.featurize.build import featurize
    from din.train.evaluate import evaluate
    from din.train.refit import refit
    from din.train.run import train

    for suite in SUITES:
        write_bytes(workspace.verdict(suite), b"open\n")
    for stage in (featurize, train, evaluate, refit, export):
        stage(workspace, params)

"""The stage `featurize`: turn `data/raw/` into `data/features/`.

    events, history ── codes, shards ──> log/shard=k ── splits, positions ──> behaviours/shard=k, impressions/shard=k
                                                                                  │ evidence of all shards
    items, users ──────── encode <──────────────── coders, vocabularies <─────────┘
         └──> data/features/{items,users}.parquet, vocab/, shards/k/

Time grows with the number of events, memory with the largest shard and the vocabularies. Equal input gives equal bytes.
"""

from datetime import timedelta
from pathlib import Path
from typing import Any

import ibis
import ibis.expr.types as ir

from din.base import documents
from din.base.artifacts import MANIFEST, hash_files, hash_tree, replace_directory, write_json
from din.base.errors import InputError
from din.base.progress import track
from din.base.workspace import FORMAT, Workspace
from din.contracts.manifests import FeaturesManifest
from din.featurize import counts, entities, negatives, raw, shards, splits, timeline
from din.featurize.coders import Coder, coder_of, column, encode
from din.featurize.engine import Session, flag, session
from din.featurize.raw import Raw
from din.params.blocks import to_json
from din.params.featurize import Featurize
from din.params.reading import Params
from din.schema import EPOCH, ITEM_ID, LABEL, SEQUENCE, SPLITS, TIMESTAMP, USER_ID, WEIGHT, Field, Group

_ROWS_PER_SHARD = 2_000_000


def featurize(workspace: Workspace, params: Params) -> None:
    """Build the feature shards of `data/raw` in `data/features`.

    Raises:
        InputError: there is no log, a field or a weight is missing from it, it or the window has too few days, a split
            is empty, no negative is left, no training row has weight, or memory or disk is too small.
    """
    block = params.featurize
    with session(workspace, block) as engine, replace_directory(workspace.features) as target:
        log = raw.load(engine, workspace.raw, params)
        count = _shards(engine, log, block)
        users, items = entities.users(engine, log, block, count), entities.items(engine, log)
        behaviours, impressions = _views(engine, log, block, users, items, count)
        facts = _facts(engine, impressions)
        splits.check(facts["rows"], log)
        if log.weighted:
            _check_total(engine, impressions, block)
        if log.sampled < 1 or block.keep_negatives < 1:
            facts["negatives"] = _negatives(engine, log, block, impressions)

        evidence = _evidence(log, behaviours, impressions)
        coders, users, items = _coders(engine, log, block, evidence, users, items)
        for coder in track(coders, len(coders), "building vocabularies", "field"):
            carrier = {Group.USER: users, Group.ITEM: items}.get(coder.field.group)
            path = target / "vocab" / f"{coder.field.name}.parquet"
            counts.write(engine, coder, evidence.tally(coder, carrier), log.calendar.held_out, path)
        for placed, group in ((users, Group.USER), (items, Group.ITEM)):
            group_coders = [coder for coder in coders if coder.field.group is group]
            shards.write_entities(engine, placed, group_coders, target / f"{group}s.parquet")
        users = engine.store("users_offset", shards.offsets(users, behaviours))
        events = [coder for coder in coders if coder.field.group in (Group.CONTEXT, Group.BEHAVIOUR)]
        parts = engine.parts(count)
        for part in track(parts, len(parts), "writing features", "shard"):
            seen, shown = (engine.part(table, part) for table in (behaviours, impressions))
            shards.write_shards(engine, target / "shards", part, seen, shown, users, items, events)

        facts |= {"items": engine.size(items), "users": engine.size(users), "behaviours": engine.size(behaviours)}
        _write_manifest(target, log, params, facts, count, coders)


def _shards(engine: Session, log: Raw, block: Featurize) -> int:
    if block.shards:
        return block.shards
    rows = sum(engine.size(table) for table in (log.events, log.history) if table is not None)
    return max(1, -(-rows // _ROWS_PER_SHARD))


def _views(
    engine: Session, log: Raw, block: Featurize, users: ir.Table, items: ir.Table, count: int
) -> tuple[ir.Table, ir.Table]:
    """Return all behaviours, with the ranks and the day of the impressions that see them, and all impressions."""
    rows = timeline.scatter(engine, log, users, items)
    pool = negatives.pool(engine, rows) if log.protocol == "leave_last_out" else None
    copies = 1 if pool is None else 2  # impressions per event; ranks count sampled negatives too
    contexts, pasts = ([column(field) for field in log.of(group)] for group in (Group.CONTEXT, Group.BEHAVIOUR))
    weights = [WEIGHT] if log.weighted else []
    parts = engine.parts(count)
    for part in track(parts, len(parts), "building histories", "shard"):
        mine = splits.assign(engine.part(rows, part), log.protocol, log.calendar)
        if block.keep_negatives < 1:
            mine = negatives.keep(engine, mine, users, block.keep_negatives, block.seed)
        mine = engine.store("timeline", timeline.positions(mine, log.order))
        seen = timeline.first_seen(timeline.behaviours(mine, block.max_history), mine, log.calendar)
        ranks = {name: (seen[name] * copies).cast("int32") for name in ("low", "high", "trained")}
        seen = seen.mutate(shown=seen.split >= 0, **ranks)
        names = ("user", "item", "shard", "position", TIMESTAMP, "is_event", SEQUENCE, "shown", "day", *ranks)
        engine.spill("behaviours", seen.select(*names, *pasts), part)

        shown = mine.filter(mine.split >= 0).mutate(
            history_start=ibis.greatest(mine.end - block.max_history, 0).cast("int32"),
            history_end=mine.end,
            rank=(mine["rank"] * copies).cast("int32"),
            sampled=flag(False),
        )
        names = ("user", "item", "shard", LABEL, "split", "history_start", "history_end", TIMESTAMP, SEQUENCE)
        shown = shown.select(*names, "sampled", "rank", *weights, *contexts)
        if pool is not None:
            other = negatives.sample(engine, mine, pool, users, block.seed).select(SEQUENCE, other="item")
            drawn = shown.join(other, SEQUENCE)
            drawn = drawn.mutate(
                item=drawn.other,
                label=flag(False),
                sampled=flag(True),
                rank=(drawn["rank"] + 1).cast("int32"),
            )
            shown = shown.union(drawn.select(shown.columns))
        engine.spill("impressions", shown, part)
    return engine.spilled("behaviours"), engine.spilled("impressions")


def _facts(engine: Session, impressions: ir.Table) -> dict[str, Any]:
    """Return the number of rows of each split, and the time of the last training impression."""
    by_split = impressions.group_by("split").aggregate(rows=ibis._.count(), last=impressions[TIMESTAMP].max())
    summary = {SPLITS[row["split"]]: row for row in engine.rows(by_split)}
    last = summary["train"]["last"] if "train" in summary else 0
    return {
        "rows": {split: summary[split]["rows"] if split in summary else 0 for split in SPLITS},
        "train_until": (EPOCH + timedelta(microseconds=last)).isoformat(),
    }


def _check_total(engine: Session, impressions: ir.Table, block: Featurize) -> None:
    """Raise InputError if no training row has any weight."""
    trained = impressions.filter(impressions.split == timeline.TRAIN)
    if not engine.scalars(trained.aggregate(largest=trained[WEIGHT].max()))["largest"]:
        raise InputError(
            f"featurize.weight: {block.weight!r} is 0 in every training row, so nothing can be learned; correct the "
            "column, or set the weight to null"
        )


def _negatives(engine: Session, log: Raw, block: Featurize, impressions: ir.Table) -> dict[str, float]:
    """Return the share of negatives that the log holds, and the exact share of these that training kept.

    Raises:
        InputError: training kept none.
    """
    whole = splits.assign(engine.spilled("log"), log.protocol, log.calendar)
    kept, total = (engine.size(rows.filter(negatives.in_training(rows))) for rows in (impressions, whole))
    if total and not kept:
        raise InputError(
            f"featurize.keep_negatives={block.keep_negatives} keeps none of the {total:,} training rows without a "
            "click; raise it"
        )
    return {"log": log.sampled, "training": kept / total if total else 1.0}


def _evidence(log: Raw, behaviours: ir.Table, impressions: ir.Table) -> counts.CountedRows:
    contexts, pasts = ([column(field) for field in log.of(group)] for group in (Group.CONTEXT, Group.BEHAVIOUR))
    counted = impressions if log.calendar.held_out else impressions.filter(impressions.split == timeline.TRAIN)
    day = log.calendar.number(counted[TIMESTAMP])
    seen = behaviours.filter(behaviours.day.notnull())
    return counts.CountedRows(
        candidates=counted.select("user", "item", "rank", *contexts, day=day),
        visible=seen.select("user", "item", "low", "high", "trained", "shown", "day", *pasts),
    )


def _coders(
    engine: Session, log: Raw, block: Featurize, evidence: counts.CountedRows, users: ir.Table, items: ir.Table
) -> tuple[list[Coder], ir.Table, ir.Table]:
    """Return a coder for every field, and users and items with encoded columns and their rows."""
    carriers = {Group.USER: users, Group.ITEM: items}

    def coder(field: Field) -> Coder:
        field_evidence = evidence.of(field, carriers.get(field.group))
        return coder_of(field).learn(engine, field, field_evidence, block.min_count)

    coders = [coder(field) for field in log.fields]
    for group, key in ((Group.USER, USER_ID), (Group.ITEM, ITEM_ID)):
        group_coders = [coder for coder in coders if coder.field.group is group]
        encoded = encode(engine, f"encoded_{group}s", carriers[group], group_coders)
        identity = next((coder for coder in group_coders if coder.field.name == key), None)
        carriers[group] = engine.store(f"placed_{group}s", shards.place(encoded, str(group), identity))
    return coders, carriers[Group.USER], carriers[Group.ITEM]


def _write_manifest(
    target: Path, log: Raw, params: Params, facts: dict[str, Any], count: int, coders: list[Coder]
) -> None:
    days = log.calendar
    held_out = [
        {
            "day": day.isoformat(),
            "split": days.split_of(day),
            "rows": {coder.field.name: coder.rows_after(number) for coder in coders},
        }
        for number, day in enumerate(days.held_out, 1)
    ]
    manifest = {
        "format": FORMAT,
        "raw": hash_tree(log.root),
        "data": params.data.window(),
        "first_day": days.first.isoformat(),
        "history_from": days.history_from and days.history_from.isoformat(),
        "held_out": held_out,
        "params": to_json(params.featurize),
        "protocol": log.protocol,
        "order": log.order,
        "until": log.until,
        "max_history": params.featurize.max_history,
        "fields": [coder.to_json() for coder in coders],
        "shards": count,
        "impressions": facts["rows"]["train"],
        "files": hash_files(target),
        **facts,
    }
    write_json(target / MANIFEST, documents.check(FeaturesManifest, manifest, f"the manifest of {target}"))

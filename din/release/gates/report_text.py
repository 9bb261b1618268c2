"""Explain a gate report in words, for readers who do not know the gates."""

from collections.abc import Sequence

from din.contracts.verdicts import GateEntry, GateReport, MissedDay
from din.params.reading import Params
from din.release.registry.records import Record

LEARN_MISSED = (
    "To learn them, run once with train.start: scratch. If days lie before the window, raise data.window_days first."
)
"""How to learn the days that a continued champion has missed."""
MODELS = (
    "Models: `judged` has not learned the test days. `shipped` has, so models that each learned a part of the users "
    "stand in for it: `crossfit`."
)
"""The meaning of the column `model` in the table of gates."""
_DELTA = "champion_delta_"
_DAYS_NAMED = 7
_GATES_NAMED = 3


def explain(report: GateReport) -> str:
    """Return what happens to the champion and why, in a few sentences."""
    champion = report.champion
    held = report.not_open
    compared = " ".join(_compared(gate) for gate in report.gates if gate.name.startswith(_DELTA))
    if report.preview:
        outcome = f"does not pass {_named(held)}" if held else "passes every gate"
        judged = f"This is a preview; nothing can be promoted by it. The candidate {outcome}."
        return f"{judged} {compared}" if champion else judged
    if champion is None and held:
        named = _named(held)
        return f"There is no champion, and this candidate does not become the first one: it does not pass {named}."
    if champion is None:
        return "There is no champion yet. The candidate passes every gate, so it may become the first one."
    name = f"{champion.version[:12]} (record {champion.number})"
    if champion.version == report.bundle:
        return f"The candidate is the champion {name} itself, bit for bit, so nothing changes."
    if not held:
        return f"The candidate may replace the champion {name}. {compared}"
    return f"The champion {name} stays, because the candidate does not pass {_named(held)}. {compared}"


def explain_champion(record: Record, report: GateReport) -> str:
    """Return who made the candidate the champion and when, and which of its gates are nevertheless not open."""
    how = "promoted" if record.action == "promote" else "brought back"
    when = f"{record.at[:10]} at {record.at[11:16]} UTC"
    sentence = (
        f"This is the champion: record {record.number}, {how} by {record.author} on {when}. Reason: {record.reason}."
    )
    held = report.not_open
    if not held:
        return sentence
    named = _named(held)
    champion = report.champion
    if champion is not None and champion.version == record.version:
        return (
            f"{sentence} Judged again since then, it does not pass {named}, and it stays until another one replaces it."
        )
    return f"{sentence} It was promoted by an override: it does not pass {named}."


def tell_missed(days: Sequence[MissedDay]) -> str:
    """Return which days, at least one, a candidate never learns because it continues a champion."""
    rows = sum(missed.rows for missed in days)
    named = ", ".join(f"{missed.day} ({missed.why}, {missed.rows:,} rows)" for missed in days[:_DAYS_NAMED])
    more = f", and {len(days) - _DAYS_NAMED} more" if len(days) > _DAYS_NAMED else ""
    return (
        "The candidate continues a champion, and learns only rows after the champion's last one. It misses "
        f"{rows:,} rows of the log, as they are now: {named}{more}."
    )


def try_for_gauc(params: Params) -> str:
    """Return what may help a model that orders a user's rows badly: the settings that these parameters don't have."""
    steps = []
    if params.train.learning.initial_item_bias != "ctr":
        steps.append(
            "let items start at their popularity (train.learning.initial_item_bias: ctr) and train from scratch"
        )
    if params.train.learning.metric != "gauc":
        steps.append("choose the best epoch by GAUC (train.learning.metric: gauc), which may cost AUC")
    if params.fetch.source == "table" and params.fetch.table.behaviour is not None:
        steps.append("let only clicks be behaviours (fetch.table.behaviour: null)")
        if params.featurize.order != "daily":
            steps.append("end histories at midnight (featurize.order: daily)")
    return f"Try each of these alone: {'; '.join([*steps, 'add fields of items'])}"


def _named(gates: Sequence[GateEntry]) -> str:
    """Return the names of the first few gates, and how many more there are."""
    names = ", ".join(gate.name for gate in gates[:_GATES_NAMED])
    return f"{names}, and {len(gates) - _GATES_NAMED} more" if len(gates) > _GATES_NAMED else names


def _compared(gate: GateEntry) -> str:
    """Return the result of the comparison with the champion by one metric."""
    metric = gate.name.removeprefix(_DELTA).upper()
    return f"{metric}: {gate.reason}." if gate.evaluated else f"{metric} could not be compared."

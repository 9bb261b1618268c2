"""Advice with stable codes: what was seen, why it matters, and what to do.

Each rule is a function of the run alone and gives one piece of advice or none. A rule speaks only where the reports
tell for certain, so an interval that leaves a doubt gives none. A code never changes its meaning. The code of a rule
that was removed is not used again.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from din.base.errors import listed
from din.contracts.facts import NOT_CALIBRATED
from din.release.gates.report_text import LEARN_MISSED, tell_missed, try_for_gauc
from din.seams import Seam
from din_report.run import Run

_MORE = {"temporal": "more days", "by_user": "more users", "leave_last_out": "users with more clicks"}
"""More training rows by protocol."""
_ROWS = {"valid": "validation", "test": "test"}
_WHY_GAUC = (
    "AUC also rewards telling users who click often from those who rarely do. GAUC compares only rows of the same "
    "user, and that order is all that a recommender decides."
)
SHORT_HISTORY = 3
MANY_UNKNOWN = 1 / 3


@dataclass(frozen=True)
class Advice:
    """One piece of advice."""

    code: str
    title: str
    seen: str
    why: str
    do: str


ADVICE: Seam[Callable[[Run], Advice | None]] = Seam("advice", ("din_report.advice",))
"""The rules by their codes. A plugin's codes begin with letters of its own."""


def advise(run: Run) -> list[Advice]:
    """Return the advice of all rules, by code. A rule that fails is noted in `run.missing`."""
    results = [run.attempt(f"advice {code}", partial(ADVICE[code].thing, run)) for code in ADVICE]
    return [advice for advice in results if advice]


@ADVICE.register("DIN101")
def first_epoch_best(run: Run) -> Advice | None:
    """DIN101: the first epoch was the best one."""
    training = run.training
    if training is None or training.epochs < 2 or training.best_epoch != 1:
        return None
    train = run.params and run.params.train
    renewable = train is not None and train.model.name != "lr" and not train.learning.renew_embeddings
    first = "Set train.learning.renew_embeddings to true" if renewable else "Raise train.learning.patience"
    return Advice(
        "DIN101",
        "The first epoch was the best",
        f"Epoch 1 of {training.epochs} had the best validation metric, and every later epoch was worse.",
        "The model learns most of what it can within one pass and then fits noise. The best moment to stop may have "
        "been within the first epoch.",
        f"{first}, lower train.learning.learning_rate, or strengthen train.learning.regularization.",
    )


@ADVICE.register("DIN102")
def last_epoch_best(run: Run) -> Advice | None:
    """DIN102: the last permitted epoch was the best one."""
    training = run.training
    if training is None or run.params is None:
        return None
    most = run.params.train.learning.epochs
    if not 1 < training.best_epoch == training.epochs == most:
        return None
    return Advice(
        "DIN102",
        "Training ended before it converged",
        f"The best epoch was the last one that train.learning.epochs permits ({most}).",
        "The validation metric was still rising when training ended, so a longer one would probably be better.",
        "Raise train.learning.epochs, or train.learning.learning_rate if that takes too long.",
    )


@ADVICE.register("DIN103")
def no_better_than_lr(run: Run) -> Advice | None:
    """DIN103: the model is not better than logistic regression for certain."""
    scored = run.scored
    model = run.training.model if run.training else "model"
    if scored is None or scored.over_lr is None or model == "lr" or not scored.over_lr.lower <= 0:
        return None
    gain = scored.over_lr
    worse = gain.upper < 0
    more = _MORE[run.features.protocol] if run.features else "more rows"
    return Advice(
        "DIN103",
        "Logistic regression is better than the model"
        if worse
        else "The model is not surely better than logistic regression",
        f"On the same test rows, its AUC minus that of LR is {gain.point:+.4f} [{gain.lower:+.4f}, {gain.upper:+.4f}].",
        f"The interval is not wholly above 0, so on this log nothing shows that {model} pays for its cost.",
        "Search better hyperparameters with `din tune`, or give the model more to attend to: longer histories "
        f"(featurize.max_history), side fields of items, or {more}. If it stays so, use the cheaper "
        "train.model.name: lr.",
    )


@ADVICE.register("DIN106")
def short_histories(run: Run) -> Advice | None:
    """DIN106: the median history is too short to matter."""
    scored = run.scored
    if scored is None or scored.median_history >= SHORT_HISTORY:
        return None
    return Advice(
        "DIN106",
        "Histories are too short to matter",
        f"The median test impression has {scored.median_history:g} earlier behaviours, and {scored.no_history:.0%} "
        "have none.",
        "Attention chooses among behaviours, and fewer than three leave little to choose from: a model without "
        "attention may do as well.",
        "Add behaviours that are not impressions (fetch.table.history), or more days before the first training row.",
    )


@ADVICE.register("DIN107")
def unknown_candidates(run: Run) -> Advice | None:
    """DIN107: many candidates of the judged rows have no id of their own."""
    if run.scored is None:
        return None
    split, share = max(run.scored.unknown_items.items(), key=lambda item: item[1])
    if share <= MANY_UNKNOWN:
        return None
    return Advice(
        "DIN107",
        "Many candidates are unknown to the model",
        f"{share:.0%} of the candidates of the {_ROWS[split]} rows have no id of their own.",
        "Unknown items share one embedding, so they are told apart by their side fields alone.",
        "Lower featurize.min_count, train on newer days, or add side fields of items: categories, brands, or an "
        "embedding of their text or picture.",
    )


@ADVICE.register("DIN109")
def missed_days(run: Run) -> Advice | None:
    """DIN109: the candidate continues a champion, and never learns some days of the log."""
    days = run.gate.missed_days if run.gate else None
    if not days:
        return None
    return Advice(
        "DIN109",
        "Some days are never learned",
        tell_missed(days),
        "A candidate that continues a champion learns only newer rows. Rows that came too late or were corrected are "
        "lost to it, and to all models that continue it.",
        LEARN_MISSED,
    )


@ADVICE.register("DIN110")
def stopped(run: Run) -> Advice | None:
    """DIN110: a critical expectation or a gate stopped the run, and says itself what to do."""
    expectations = [expectation for report in run.validation.values() for expectation in report.expectations]
    notes = {each.name: each.advice for each in expectations if not each.success and each.severity == "critical"}
    if run.gate and run.record is None:
        closed = [entry for entry in run.gate.gates if entry.verdict == "closed"]
        notes |= {
            entry.name: None if entry.interval else entry.reason for entry in closed
        }  # beside an interval, only figures
    name = next((name for name, note in notes.items() if note), None)
    if name is None:
        return None
    others = [other for other in notes if other != name]
    return Advice(
        "DIN110",
        f"{name} stopped the run",
        f"`{name}` failed{', and so did ' if others else ''}{listed(others)}.",
        "A failed critical expectation or a closed gate lets no candidate through. One cause often fails several.",
        str(notes[name]),
    )


@ADVICE.register("DIN111")
def worse_than_popularity(run: Run) -> Advice | None:
    """DIN111: the model orders a user's rows worse than popularity does, for certain."""
    if run.scored is None or run.params is None or not run.scored.over_popularity.upper < 0:
        return None
    gain = run.scored.over_popularity
    return Advice(
        "DIN111",
        "Popularity orders a user's rows better than the model",
        f"On the same test rows, the model's GAUC minus popularity's is {gain.point:+.4f} [{gain.lower:+.4f}, "
        f"{gain.upper:+.4f}].",
        _WHY_GAUC,
        f"{try_for_gauc(run.params)}.",
    )


@ADVICE.register("DIN112")
def worse_than_lr(run: Run) -> Advice | None:
    """DIN112: the model orders a user's rows worse than logistic regression does, for certain."""
    gain = run.scored.gauc_over_lr if run.scored else None
    if gain is None or run.params is None or run.params.train.model.name == "lr" or not gain.upper < 0:
        return None
    return Advice(
        "DIN112",
        "Logistic regression orders a user's rows better than the model",
        f"On the same test rows, the model's GAUC minus that of LR is {gain.point:+.4f} [{gain.lower:+.4f}, "
        f"{gain.upper:+.4f}].",
        _WHY_GAUC,
        f"{try_for_gauc(run.params)}; or use the cheaper train.model.name: lr.",
    )


@ADVICE.register("DIN113")
def not_calibrated(run: Run) -> Advice | None:
    """DIN113: negatives were drawn, so probabilities are no click-through rates."""
    if run.features is None or not run.features.negatives_drawn:
        return None
    return Advice(
        "DIN113",
        f"The model is {NOT_CALIBRATED}",
        "The log holds clicks only, so featurize drew a negative for each click.",
        "How many impressions bring no click is unknown. In service, the probabilities promise many more clicks than "
        "come. Their order is right.",
        "Use them to rank. For click-through rates, keep a log of answers (`din serve --log`), and train on it "
        "(fetch.source: served).",
    )

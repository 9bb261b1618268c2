"""Render MODEL_CARD.md from the facts of a bundle."""

from din.document_types import Facts
from din.schema import Field, Group

_PROBABILITIES = (
    "Ranking, and bidding or forecasting if the calibration above is good enough, on traffic like that of the log."
)
_RANKING = "Ranking. One negative was sampled for each click, so the probabilities are not click-through rates."
_FIGURES = {"auc": "AUC", "gauc": "GAUC", "log_loss": "log loss", "calibration_ratio": "calibration", "ece": "ECE"}


def model_card(facts: Facts, fields: tuple[Field, ...]) -> str:
    """Return the card as Markdown: the model, its data, its quality, its use, and its limits."""
    protocol = facts["protocol"]
    rows = facts["rows"]
    evaluation = facts["evaluation"]
    test = evaluation["test"]
    sampled = protocol["name"] == "leave_last_out"
    groups = (  # empty groups are listed, since it is worth knowing that a model does not use them
        f"- {group}: " + ", ".join(f"`{f.name}` ({f.kind})" for f in fields if f.group is group) for group in Group
    )
    floors = {name: row for name, row in {**evaluation["floors"], "oracle": evaluation["oracle"]}.items() if row}
    table = [
        f"| {name} | {' | '.join(_figure(row.get(key)) for key in _FIGURES)} |"
        for name, row in {
            "this model, test": evaluation["test"],
            "this model, valid": evaluation["valid"],
            **floors,
        }.items()
        if row
    ]
    return f"""# {facts["model_name"]}: click-through rate, model `{facts["model"]}`

Given a user, their past behaviours and some candidate items, the model returns the probability of a click on each
candidate.

## Data

The log ends on {facts["until"]}. The last training impression is of {facts["train_until"]}.
The model was judged when it had learned rows until {facts["judged_until"]}. It has since learned rows until
{facts["seen_until"]}.
Split `{protocol["name"]}`, histories in `{protocol["order"]}` order:
{rows["train"]:,} training, {rows["valid"]:,} validation and {rows["test"]:,} test impressions.
Validation verdicts: {", ".join(f"{name} {verdict}" for name, verdict in facts["validation"].items())}.

{chr(10).join(groups)}

## Metrics

{test["rows"]:,} test impressions of {test["users"]:,} users, CTR {test["ctr"]:.4f}.
The floors are measured on the same rows. `popularity` is only a ranking, so it has no other metrics than AUC and GAUC.

| | {" | ".join(_FIGURES.values())} |
|---|{"---|" * len(_FIGURES)}
{chr(10).join(table)}

## Intended use

{_RANKING if sampled else _PROBABILITIES}

## Limits

- Probabilities hold for the mix of impressions in the log. Items that an earlier ranker never showed could not be
  clicked.
- Ids first seen after training are unknown. For them, the model uses profile, side fields and history.
- The bundle contains user ids and profiles (`users.parquet`). Protect it as you protect the log.
- Metrics are offline metrics of one split. Only an experiment on live traffic shows an effect.
"""


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"

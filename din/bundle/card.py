"""Render MODEL_CARD.md from the facts of a bundle."""

from din.contracts.facts import NOT_CALIBRATED, Facts
from din.schema import WEIGHT, Field, Group

_PROBABILITIES = (
    "Ranking, and bidding or forecasting if the calibration above is good enough, on traffic like that of the log."
)
_RANKING = (
    f"Ranking only. The model is {NOT_CALIBRATED}. The log holds clicks only, so one negative was drawn for each, and "
    "the calibration above is that of these rows. How many impressions bring no click is unknown: in service, the "
    "probabilities promise many more clicks than come. A model of the served log is calibrated (`fetch.source: "
    "served`)."
)
_FIGURES = {"auc": "AUC", "gauc": "GAUC", "log_loss": "log loss", "calibration_ratio": "calibration", "ece": "ECE"}


def model_card(facts: Facts, fields: tuple[Field, ...]) -> str:
    """Return the card as Markdown: the model, its data, its quality, its use, and its limits."""
    protocol = facts.protocol
    rows = facts.rows
    evaluation = facts.evaluation
    test = evaluation.test
    groups = (  # list empty groups too: it is worth knowing that the model does not use them
        f"- {group}: " + ", ".join(f"`{f.name}` ({f.kind})" for f in fields if f.group is group) for group in Group
    )
    models = {"this model, test": evaluation.test, "this model, valid": evaluation.valid}
    models |= dict(evaluation.floors) | {"oracle": evaluation.oracle}
    table = [
        f"| {name} | {' | '.join(_figure(getattr(row, key, None)) for key in _FIGURES)} |"
        for name, row in models.items()
        if row
    ]
    return f"""# {facts.model_name}: click-through rate, model `{facts.model}`

Given a user, their past behaviours and some candidate items, the model returns the probability of a click on each
candidate.

## Data

The log ends on {facts.until}. The last training impression is of {facts.train_until}.
The model was judged when it had learned rows until {facts.judged_until}. It has since learned rows until
{facts.seen_until}.
Split `{protocol.name}`, order of histories `{protocol.order}`:
{rows["train"]:,} training, {rows["valid"]:,} validation and {rows["test"]:,} test impressions.{_counting(facts)}
Validation verdicts: {", ".join(f"{name} {verdict}" for name, verdict in facts.validation)}.

{chr(10).join(groups)}

## Metrics

{test.rows:,} test impressions of {test.users:,} users, CTR {test.ctr:.4f}.
The floors are measured on the same rows. `popularity` is only a ranking, so it has no other metrics than AUC and GAUC.

| | {" | ".join(_FIGURES.values())} |
|---|{"---|" * len(_FIGURES)}
{chr(10).join(table)}

## Intended use

{_use(facts)}

## Limits

- Probabilities hold for the mix of impressions in the log. Items that an earlier ranker never showed could not be
  clicked.
- Ids first seen after training are unknown. For them, the model uses profile, side fields and history.
- The bundle contains user ids and profiles (`users.parquet`). Protect it as you protect the log.
- Metrics are offline metrics of one split. Only an experiment on live traffic shows an effect.
"""


def _counting(facts: Facts) -> str:
    """Return sentences about training rows that were omitted or weighted."""
    sentences = []
    kept = facts.negatives.training if facts.negatives else 1.0
    if kept < 1:
        sentences.append(
            f"Training kept {kept:.4f} of the log's rows without a click, and corrected for the others. So the "
            "probabilities hold for the whole log."
        )
    held = facts.negatives.log if facts.negatives else 1.0
    if held < 1:
        sentences.append(
            f"The log holds {held:g} of the impressions without a click, and training corrected for the others. So the "
            "probabilities hold for the traffic. The metrics below compare them, corrected back, with the log's rows."
        )
    weight = facts.params.featurize.get(WEIGHT)
    if weight is not None:
        sentences.append(
            f"Training rows weigh as much as the log's column `{weight}` says. The metrics below weigh none."
        )
    return "".join(f"\n{sentence}" for sentence in sentences)


def _use(facts: Facts) -> str:
    return _RANKING if facts.negatives_drawn else _PROBABILITIES


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"

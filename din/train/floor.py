"""The floor LR: logistic regression over the same fields, including the history, trained by the same loop.

Its model and learning parameters are its own, so that no setting tuned for the candidate can cripple it. It shares
`train.compute`, and the metric that chooses its best epoch, since not every metric is defined on every log.
"""

from din.params import LearningParams, ModelParams, Params, Train

_EPOCHS = 20  # at most; the best epoch is usually one of the first few


def floor(params: Params) -> Train:
    """Return the settings to train the floor LR with: the defaults, but for what suits a model of one weight per id."""
    learning = LearningParams(
        initial_item_bias="zero",
        learning_rate=0.01,
        epochs=_EPOCHS,
        metric=params.train.learning.metric,
        regularization=1.0,
        penalty="decoupled",
        advance=params.train.learning.advance,
    )
    return Train(model=ModelParams(name="lr"), learning=learning, compute=params.train.compute)

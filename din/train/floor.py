"""The floor LR: logistic regression over the same fields, including the history, trained by the same loop.

Its model and learning parameters are its own, so that no setting tuned for the candidate can cripple it. It shares
`train.compute`, and the metric that chooses its best epoch, since not every metric is defined on every log.
"""

from din.params import LearningParams, ModelParams, Params, Train

MODEL = ModelParams(
    name="lr",  # does not read the other parameters
    embedding_dim=1,
    attention_hidden=(1,),
    interaction="product",
    softmax=False,
    hidden=(1,),
    activation="relu",
    pooling="sum",
    sequences={},
    linear="none",
    interest_product=False,
)


def floor(params: Params) -> Train:
    """Return the settings to train the floor LR with."""
    learning = LearningParams(
        seed=1,
        embedding_std=1.0,  # has no effect: LR has no embeddings, and its weights start at 0
        initial_item_bias="zero",
        optimizer="adam",
        learning_rate=params.evaluate.lr_learning_rate,
        linear_rate=1.0,
        decay=1.0,
        decay_steps=None,
        clip_norm=None,
        batch_size=256,
        epochs=params.evaluate.lr_epochs,
        patience=2,
        metric=params.train.learning.metric,
        average=0.0,
        renew_embeddings=False,
        regularizer="mini_batch_aware",
        regularization=1.0,
        penalty="decoupled",
        dropout=0.0,
        unknown_rate=0.01,
        half_life_days=None,
        advance=params.train.learning.advance,
    )
    return Train(
        start="scratch",
        champion=None,
        scratch_day=None,
        warm_start=None,
        model=MODEL,
        learning=learning,
        compute=params.train.compute,
    )

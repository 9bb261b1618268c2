"""Learn the training split, and then the validation days.

    start       the weights
    scratch     random; epochs over the training split, with early stopping
    champion    from `train.champion`; one pass over the days of the training split that it has not learned

If rows are held out by time and `train.learning.advance` permits it, one pass over the validation days follows. The
result is the judged model. It has learned everything before the test days.

With `train.model.blend`, a blend is fitted on the validation rows, by the predictions of the model before the pass. A
continued champion keeps the weights of its blend.
"""

import time
from copy import deepcopy
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from torch import Tensor

from din.features.day_rows import days_of
from din.features.reader import Features
from din.model.artifact import Trained
from din.params.train import Train
from din.schema import SplitName
from din.train.advance import AdvancedDay, advance
from din.train.blend import fit_blend
from din.train.champion_start import ChampionStart
from din.train.checkpoint import Progress
from din.train.compute import CPU_ALONE, Compute
from din.train.fit import advances, fit
from din.train.learner import Learner
from din.train.results import BlendSummary


@dataclass(frozen=True)
class Snapshot:
    """A trained model, and how far it has learned the log.

    Attributes:
        trained: the model, in evaluation mode.
        features: the features, with the ids that it knows.
        seen_until: the time of the last row that it has learned.
        optimizers: the state of its optimizers. Empty if it is not going to learn more days.
    """

    trained: Trained
    features: Features
    seen_until: datetime
    optimizers: dict[str, Tensor]


@dataclass(frozen=True)
class Training:
    """A finished training.

    Attributes:
        judged: the judged model.
        start: the champion that it continues, with its optimizers. None if it starts otherwise, or learned no day.
        before: the model before its pass over the validation days. None if there was no such pass.
        days: the days that it was advanced over, in order.
        progress: the epochs.
        blend: the blend that was fitted, if any.
        pass_seconds: the time that the passes took.
    """

    judged: Snapshot
    start: Snapshot | None
    before: Snapshot | None
    days: list[AdvancedDay]
    progress: Progress
    blend: BlendSummary | None
    pass_seconds: float


def learn(
    features: Features,
    params: Train,
    checkpoint_path: Path | None = None,
    start: ChampionStart | None = None,
    compute: Compute = CPU_ALONE,
) -> Training:
    """Train a model, or continue the champion `start`; other arguments as in `fit`.

    A pass keeps no checkpoint. If it is killed, the resumed run repeats it.

    Raises:
        InputError: as in `fit`, or the champion can't be continued, or the loss of a pass is not finite.
    """
    goes_on = advances(features, params)
    days: list[AdvancedDay] = []
    progress = Progress()
    fitted = None
    passes: list[SplitName] = ["valid"] if goes_on else []
    if start:
        learner = start.continued(features, params, compute)
        seen_until = start.seen_until
        passes.insert(0, "train")
    else:
        learner, progress = fit(features, params, checkpoint_path, compute)
        seen_until = features.train_until
        if params.model.blend and (goes_on or not features.by_time):
            fitted = fit_blend(learner.trained, features, compute)
    began = time.monotonic()
    before = champion = None
    if "train" in passes and any(days_of(features, split, seen_until) for split in passes):
        state = {name: tensor.clone() for name, tensor in learner.optimizers().items()}
        champion = Snapshot(_copy(learner), learner.features, seen_until, state)
    for split in passes:
        if split == "valid" and days_of(features, split, seen_until):
            before = Snapshot(_copy(learner), learner.features, seen_until, {})
        done = advance(learner, split, seen_until)
        learner, seen_until = done.learner, done.until or seen_until
        days += done.days
    pass_seconds = time.monotonic() - began
    if fitted:
        learner.attach(fitted.blend)
    judged = Snapshot(learner.finish(), learner.features, seen_until, learner.optimizers() if goes_on else {})
    return Training(judged, champion, before, days, progress, fitted and fitted.summary, pass_seconds)


def _copy(learner: Learner) -> Trained:
    return Trained(deepcopy(learner.model).cpu().eval(), learner.table.cpu().clone())

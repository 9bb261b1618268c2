"""What `din tune` does: search, train the best trials with further seeds, and write the overlay and the page."""

import json
import math
import time
from collections.abc import Collection
from concurrent.futures.process import BrokenProcessPool

from optuna.study import Study
from optuna.trial import FrozenTrial

from din.base import cores
from din.base.errors import InputError, Unavailable, needing_space
from din.base.workspace import Workspace
from din.params.reading import Params
from din.train import checkpoint
from din.train.compute import computing
from din_start.params.defaults import written
from din_tune import result, seeds
from din_tune.result import Finalist, KeyRow, TrialRow, Tuned, shown_metric
from din_tune.space import Space, Values
from din_tune.study import WHY, by_metric, ended, held, only_one, open_study, search, seconds
from din_tune.training import executor

_KEPT_TRAININGS = "the trainings that have ended are kept"
_USUAL_KEYS = 5
"""The number of keys that a winner changes, for which the search leaves time."""


def tune(
    workspace: Workspace,
    params: Params,
    minutes: float | None,
    trials: int | None,
    jobs: int | None,
    fixed: Collection[str] = (),
) -> Tuned:
    """Search, train the best again with further seeds, print the result, and write overlay and page.

    Args:
        minutes: of this call; None: no limit. The first trials tell how long the trainings after the search will take.
            These always run to their end.
        trials: of the whole study, earlier calls included; None: no limit.
        jobs: the processes that train; None: as many as the cores allow, or one on a GPU.
        fixed: keys of params.yaml that keep today's values.

    Raises:
        InputError: features are missing or damaged, the space is bad, another process tunes here, or no trial has a
            metric yet.
        Unavailable: the disk is full, or a process was killed.
    """
    space = Space.of(params, fixed)
    began = time.monotonic()
    stop_at = math.inf if minutes is None else began + 60 * minutes
    with computing(params.train.compute) as compute:
        on_cpu = compute.device.type == "cpu"
        jobs = jobs or (max(1, cores.available() // compute.threads) if on_cpu else 1)
    try:
        with (
            needing_space(workspace.tuning, f"; {_KEPT_TRAININGS}"),
            only_one(workspace),
            held(workspace) as features,
            executor(workspace, params, jobs) as pool,
        ):
            study = open_study(workspace, features, space)
            search(workspace, features, study, space, pool, jobs, min(jobs, trials or jobs), stop_at)
            later = (seeds.FEWEST_SEEDS * (seeds.BEST + 1) + _USUAL_KEYS) / jobs * _longest(study)
            half_time = (began + stop_at) / 2
            search(workspace, features, study, space, pool, jobs, trials, max(stop_at - later, half_time))
            folder = seeds.folder(workspace, study.study_name)
            final_round = seeds.FinalRound(features, space, pool, folder, jobs, _longest(study), stop_at)
            tuned = _finish(workspace, study, final_round)
            checkpoint.prune(folder)
            result.write(workspace, space, tuned)
    except BrokenProcessPool:
        raise Unavailable(
            "a training process was killed, perhaps for its memory; run the same command again with fewer --jobs than "
            f"{jobs}; {_KEPT_TRAININGS}"
        ) from None
    result.print_tuned(tuned)
    return tuned


def _longest(study: Study) -> float:
    """Return the seconds of the longest of the best trials."""
    return max((seconds(trial) for trial in by_metric(study)[: seeds.BEST]), default=0.0)


def _finish(workspace: Workspace, study: Study, final_round: seeds.FinalRound) -> Tuned:
    """Train the best trials with further seeds, and return the result.

    Raises:
        InputError: no trial has a metric, or today's parameters failed on a further seed.
    """
    space = final_round.space
    rows = [_row(space, trial) for trial in ended(study)]
    ranked = [(trial.number, space.changes(space.decoded(trial.params))) for trial in by_metric(study)]
    if not ranked:
        advice = f"the last of {len(rows)} failed: {rows[-1].why}" if rows else "give it more --minutes"
        raise InputError(f"no trial has a metric yet; {advice}")
    distinct: dict[str, tuple[int, Values]] = {}
    for trial, changes in ranked:
        if changes:
            distinct.setdefault(json.dumps(changes), (trial, changes))
    finalists = final_round.against_today([*distinct.values()])
    today = finalists[0]
    if today.mean is None:
        raise InputError(
            f"today's parameters failed with {today.metrics.count(None)} of {len(today.metrics)} further seeds; "
            "expected metrics to compare trials with: correct what the failed trainings name, and run it again"
        )
    winner = max(finalists, key=lambda finalist: -math.inf if finalist.mean is None else finalist.mean)
    return Tuned(
        metric=space.params.train.learning.metric,
        seeds=[space.params.train.learning.seed + number for number in range(1, len(winner.metrics) + 1)],
        trials=rows,
        candidates=finalists,
        winner=winner.trial,
        keys=_keys(final_round, winner) if winner.changes else [],
        overlay=workspace.relative(workspace.tuned) if winner.changes else None,
        page=workspace.relative(workspace.tuning_page),
    )


def _keys(final_round: seeds.FinalRound, winner: Finalist) -> list[KeyRow]:
    """Return what the winner changes, with a reason for each key."""
    metric = final_round.space.params.train.learning.metric.upper()
    rows = []
    for key, without in final_round.without_each(winner.changes).items():
        old = final_round.space.today[key]
        reason = f"{metric} {shown_metric(winner.metrics[0])}; with {written(old)} {shown_metric(without)}"
        rows.append(KeyRow(key, old, winner.changes[key], reason))
    return rows


def _row(space: Space, trial: FrozenTrial) -> TrialRow:
    changes = space.changes(space.decoded(trial.params))
    state = trial.state.name.lower()
    why = trial.user_attrs.get(WHY, "") if state == "fail" else ""
    return TrialRow(trial.number, state, trial.value, seconds(trial), changes, why)

"""`din judge`: trainings with other seeds beside the candidate's. Alone: `pytest tests/promotion/test_seeds.py`."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_once import made_once
from random_features import write_features
from ruamel.yaml import YAML
from settings import changed
from stages import exit_code

from din import documents
from din.artifacts import hash_files, read_json, write_json
from din.document_types import SeedReport
from din.errors import InputError
from din.metrics.estimates import difference, estimate
from din.metrics.ranking import auc, gauc
from din.params import Params, to_json
from din.promotion.seeds import in_words, judge_seeds
from din.train.compute import computing
from din.train.evaluate import evaluate
from din.train.run import job_of, train
from din.train.seeds import other_seeds, train_seed
from din.workspace import Workspace

SEEDS = (2, 3)
"""The seeds that are tried beside the candidate's seed 1."""


@pytest.fixture
def small(params: Params) -> Params:
    """Return the shipped parameters with a small model."""
    settings = {"embedding_dim": 4, "attention_hidden": (8,), "hidden": (8,), "epochs": 2, "batch_size": 64}
    train = changed(params.train, **settings, learning_rate=0.01, checkpoint_minutes=1e-9)
    return replace(params, train=train, evaluate=replace(params.evaluate, lr_epochs=1))


@pytest.fixture
def here(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, small: Params) -> Workspace:
    """Return a workspace with a trained and evaluated candidate."""

    def make(root: Path) -> None:
        workspace = Workspace(root)
        write_features(workspace.features, users=60)
        train(workspace, small)
        evaluate(workspace, small)

    return Workspace(shutil.copytree(made_once(tmp_path_factory, "candidate", make), tmp_path / "here"))


def judged(here: Workspace, params: Params, count: int = len(SEEDS)) -> SeedReport:
    """Judge the seeds and return the report."""
    judge_seeds(here, params, count)
    return documents.read(SeedReport, here.seeds)


def without_times(report: SeedReport) -> list[Any]:
    """Return the trainings of a report without their seconds."""
    return [{key: value for key, value in one.items() if key != "seconds"} for one in report["seeds"]]


def kept_rows(here: Workspace) -> list[pa.Table]:
    """Return the test rows of the kept trainings in the order of their seeds."""
    folders = sorted(here.seed_trainings.iterdir(), key=lambda folder: read_json(folder / "training.json")["seed"])
    return [pq.read_table(folder / "test.parquet") for folder in folders]


def test_figures_follow_from_the_predictions(here: Workspace, small: Params) -> None:
    """Metrics, differences and spreads equal the ones that numpy computes from the kept predictions."""
    report = judged(here, small)
    candidate = pq.read_table(here.predictions / "test.parquet")
    label, user = candidate["label"].to_numpy(), candidate["user"].to_numpy()
    own = candidate["prediction"].to_numpy()
    found = [rows["prediction"].to_numpy() for rows in kept_rows(here)]
    metrics: dict[Any, Callable[..., float]] = {"auc": auc, "gauc": lambda y, p: gauc(y, p, user).value}
    assert [one["seed"] for one in report["seeds"]] == list(SEEDS)
    for metric, value in metrics.items():
        values = [value(label, prediction) for prediction in found]
        errors = [difference(metric, label, prediction, own, user).standard_error for prediction in found]
        luck = report["luck"][metric]
        mean_square = np.mean(np.square(errors))
        deviation = abs(values[0] - values[1]) / np.sqrt(2)
        assert luck["seeds"]["value"] == pytest.approx(deviation)
        assert luck["lasting"]["value"] == pytest.approx(np.sqrt(max(deviation**2 - mean_square / 2, 0)))
        assert luck["users"] == pytest.approx(estimate(metric, label, own, user).standard_error)
        assert luck["users_of_difference"] == pytest.approx(np.sqrt(mean_square))
        for one, expected in zip(report["seeds"], values, strict=True):
            assert one["test"][metric] == pytest.approx(expected)
            assert one["differences"][metric]["value"] == pytest.approx(expected - value(label, own))


def test_each_seed_gives_another_model_of_the_same_rows(here: Workspace, small: Params) -> None:
    """All trainings score the candidate's rows, and no two of them alike."""
    report = judged(here, small)
    candidate = pq.read_table(here.predictions / "test.parquet")
    rows = [candidate, *kept_rows(here)]
    assert all(one["sequence"].equals(candidate["sequence"]) for one in rows)
    assert len({one["prediction"].to_numpy().tobytes() for one in rows}) == 1 + len(SEEDS)
    assert report["candidate"]["test"] == read_json(here.evaluation)["test"]


def test_the_seed_of_the_candidate_gives_the_candidate(here: Workspace, small: Params) -> None:
    """Trained in the same way with its own seed, the candidate has the same predictions, so only the seed differs."""
    with computing(small.train.compute) as compute, job_of(here, small, compute) as job:
        finished = train_seed(job, 1, here.seed_trainings, small.evaluate.batch_size)
    candidate = pq.read_table(here.predictions / "test.parquet")
    assert finished.rows["prediction"].equals(candidate["prediction"])


def test_nothing_else_in_the_workspace_changes(here: Workspace, small: Params) -> None:
    """Model, reports, predictions and the checkpoints of `din train` stay as they are."""
    before = hash_files(here.root)
    judged(here, small)
    after = hash_files(here.root)
    added = after.keys() - before.keys()
    assert {name: after[name] for name in before} == before
    assert all(name == "reports/seeds.json" or name.startswith(".din/seeds/") for name in added)


def test_a_finished_training_is_not_repeated(here: Workspace, small: Params, capsys: pytest.CaptureFixture) -> None:
    """A second call with one more seed trains that one alone, and reports the others as before."""
    first = judged(here, small)
    capsys.readouterr()
    second = judged(here, small, count=3)
    assert capsys.readouterr().out.count("epoch 1,") == 1
    assert second["seeds"][:2] == first["seeds"]
    assert len(list(here.seed_trainings.rglob("*.safetensors"))) == 0


@pytest.mark.parametrize("change", ["features", "parameters"])
def test_other_inputs_are_trained_again(here: Workspace, small: Params, change: str, capsys) -> None:
    """A training is kept for its own features and parameters only."""
    judged(here, small)
    if change == "features":
        shutil.rmtree(here.features)
        write_features(here.features, users=61)
    else:
        small = replace(small, train=changed(small.train, learning_rate=0.02))
    train(here, small)
    evaluate(here, small)
    capsys.readouterr()
    judged(here, small)
    assert capsys.readouterr().out.count("epoch 1,") == len(SEEDS)


def test_a_killed_training_resumes(here: Workspace, small: Params, fit_until_killed, tmp_path: Path, capsys) -> None:
    """A training that was killed after a checkpoint is continued, with the figures of one that was not."""
    whole = judged(Workspace(shutil.copytree(here.root, tmp_path / "whole")), small)
    with computing(small.train.compute) as compute, job_of(here, small, compute) as job:
        seeded = job.seeded(SEEDS[0])
        state = seeded.folder(here.seed_trainings) / "state.safetensors"
        fit_until_killed(5, job.features, seeded.settings, state, None, compute)
    capsys.readouterr()
    assert without_times(judged(here, small)) == without_times(whole)
    assert capsys.readouterr().out.count("resuming at epoch") == 1


def test_the_words_say_what_the_figures_mean(here: Workspace, small: Params) -> None:
    """Sentences hold the figures in plain digits."""
    report = judged(here, small)
    luck = report["luck"]["auc"]
    luck["seeds"] = {"value": 0.0008, "interval": (0.0005, 0.0019)}
    luck["lasting"] = {"value": 0.0003, "interval": (0.0, 0.000023)}
    luck |= {"users": 0.0052, "users_of_difference": 0.0013, "between_two": 0.0024}
    words = " ".join(in_words("auc", report))
    assert "another seed moves it by about ±0.0008 (0.0005 to 0.0019)" in words
    assert "it would still move it by ±0.0003 (0 to 0.000023)" in words
    assert "Other test users would move it by about ±0.0052" in words
    assert "which leaves ±0.0013" in words
    assert "less than 0.0024 apart in 90 % of cases" in words


def test_too_few_users_leave_the_spreads_undefined(tmp_path: Path, small: Params, capsys) -> None:
    """With ten users there are metrics, but no standard errors to compare seeds with."""
    here = Workspace(tmp_path)
    write_features(here.features, users=10)
    train(here, small)
    evaluate(here, small)
    report = judged(here, small)
    assert report["luck"]["auc"]["users"] is None
    assert report["luck"]["auc"]["seeds"]["value"] is not None
    assert "AUC: undefined; it needs 20 test users" in capsys.readouterr().out


def test_a_candidate_of_other_parameters_is_refused(here: Workspace, small: Params) -> None:
    """A difference would mix the seed with the parameters, so the message names what differs."""
    other = replace(small, train=changed(small.train, learning_rate=0.5))
    with pytest.raises(
        InputError, match=r"train\.learning\.learning_rate was 0\.01, is 0\.5; run `dvc repro evaluate`"
    ):
        judge_seeds(here, other, 2)


def test_a_candidate_of_other_features_is_refused(here: Workspace, small: Params) -> None:
    """The candidate's predictions must be about the rows that the other seeds score."""
    write_json(here.evaluation, read_json(here.evaluation) | {"inputs": {"features": "0" * 64, "model": "0" * 64}})
    with pytest.raises(InputError, match=r"about another model or other features .* run `dvc repro evaluate`"):
        judge_seeds(here, small, 2)


def test_without_a_candidate_the_exit_code_is_2(tmp_path: Path, small: Params, capsys) -> None:
    """The message about a workspace without a model names the missing file and what to run."""
    here = Workspace(tmp_path)
    write_features(here.features)
    assert exit_code(here, "judge", lambda: judge_seeds(here, small, 2), here.seeds) == 2
    assert "models/din/config.json: not found; run `dvc repro train`" in capsys.readouterr().err


@pytest.mark.parametrize(("seed", "expected"), [(1, [2, 3, 4]), (3, [1, 2, 4]), (4, [1, 2, 3]), (0, [1, 2, 3])])
def test_the_smallest_other_seeds_are_tried(seed: int, expected: list[int]) -> None:
    """Candidates with different seeds share most of their other seeds, so trainings can be used again."""
    assert other_seeds(seed, 3) == expected


@pytest.mark.slow
def test_kill_9_of_the_command(here: Workspace, small: Params) -> None:
    """The command ends with the same figures after a kill in its second training, and trains the first only once."""
    with here.params.open("w", encoding="utf-8") as file:
        YAML(typ="safe").dump(to_json(small), file)
    command = [sys.executable, "-m", "din.cli", "judge", "--seeds", "3"]
    process = subprocess.Popen(command, cwd=here.root, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("training 2 of 3"):
            break
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    done = subprocess.run(command, cwd=here.root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    again = documents.read(SeedReport, here.seeds)
    shutil.rmtree(here.seed_trainings)
    assert without_times(judged(here, small, count=3)) == without_times(again)
    assert "epoch 1," not in done.stdout.split("training 2 of 3")[0]

"""How the blend is fitted, and what it may read. Alone: `pytest tests/din/train/test_blend.py`."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from din.base import documents
from din.base.workspace import Workspace
from din.contracts.facts import Evaluation
from din.features.day_rows import days_of, microseconds
from din.features.reader import Features
from din.metrics.ranking import auc
from din.model import artifact
from din.model.blend import Blend
from din.params.reading import Params
from din.params.train import Train
from din.schema import ITEM_ID
from din.train import blend as blending
from din.train.advance import learn_day
from din.train.blend import Weights, fit_blend, statistics
from din.train.compute import CPU_ALONE
from din.train.evaluate import evaluate, validation_model
from din.train.learn import learn
from din.train.learner import Learner
from din.train.predict import predict
from din.train.refit import refit
from din.train.run import train
from tests.factories.features import labelled, rewrite, temporal, write_features
from tests.helpers.settings import changed
from tests.helpers.states import same


@pytest.fixture(scope="module")
def blended(params: Params, small: Train) -> Params:
    return replace(params, train=changed(small, blend=True, epochs=1))


def known_rows(features: Features) -> list[tuple[int, int, int]]:
    """Return user, item id and rating of each behaviour before its user's first judged row, one after the other."""
    rows = []
    ids = features.items[ITEM_ID].values
    for number in range(features.manifest.shards):
        behaviours = features.shard(number, "train").behaviours
        users = features.user_rows(number, "behaviours").tolist()
        trained = set(features.user_rows(number, "train").tolist())
        judged: dict[int, int] = {}
        for split in ("valid", "test"):
            impressions = features.shard(number, split).impressions
            for user, end in zip(impressions.user.tolist(), impressions.history_end.tolist(), strict=True):
                judged[user] = min(judged.get(user, len(users)), end)
        for place, user in enumerate(users):
            if user in trained and place < judged.get(user, len(users)):
                rating = int(behaviours.fields["rating"].values[place])
                rows.append((user, int(ids[behaviours.item[place]]), rating))
    return rows


def test_statistics_equal_slow_counts(features: Features) -> None:
    """Counts are those of training rows, and behaviours are those before the first judged row of a training user."""
    blend = statistics(features)
    shown, clicks = np.zeros((2, features.rows[ITEM_ID]))
    for shard in features.shards("train"):
        for item, label in zip(shard.impressions.item, shard.impressions.label, strict=True):
            shown[features.items[ITEM_ID].values[item]] += 1
            clicks[features.items[ITEM_ID].values[item]] += label
    shown[0] = clicks[0] = 0
    ctr = (clicks + 20 * clicks.sum() / shown.sum()) / (shown + 20)
    expected = np.stack([np.log1p(shown), np.log1p(clicks), np.log(ctr / (1 - ctr))], 1)
    np.testing.assert_allclose(blend.counts.numpy(), expected, rtol=1e-5)
    known = known_rows(features)
    ratings = [rating or 3 for _, _, rating in known]  # the values are 1 to 5, and the unknown one counts as their mean
    mean = np.mean(ratings)
    for item in range(features.rows[ITEM_ID]):
        of_item = [rating for (_, other, _), rating in zip(known, ratings, strict=True) if other == item]
        assert blend.means[item].item() == pytest.approx(
            mean + sum(r - mean for r in of_item) / (len(of_item) + 5), rel=1e-5
        )
    beside = {(u, i): {other for v, other, _ in known if v == u} - {i, 0} for u, i, _ in known}
    alone = [i for i in range(1, features.rows[ITEM_ID]) if not any(beside[u, j] for u, j in beside if j == i)]
    lengths = blend.vectors.norm(dim=1)
    assert not lengths[[0, *alone]].any()
    assert lengths.sum().item() == pytest.approx(features.rows[ITEM_ID] - 1 - len(alone), rel=1e-5)


def test_no_statistic_reads_a_judged_row(features: Features) -> None:
    """Other labels and candidates of held-out rows, and other behaviours from a judged row on, change nothing."""
    before = statistics(features).state_dict()
    random = np.random.default_rng(4)
    places = [blending._known(features, number, None) for number in range(features.manifest.shards)]
    assert any(0 < known.sum() < len(known) for known in places)
    for split in ("valid", "test"):
        rewrite(features, split, lambda rows: labelled(rows, random.integers(0, 2, len(rows))))
    for number, known in enumerate(places):
        path = features.root / "shards" / f"{number:05d}" / "behaviours.parquet"
        rows = pq.read_table(path)
        item = np.where(known, rows["item"].to_numpy(), random.integers(0, features.manifest.items, len(rows)))
        at = rows.schema.get_field_index("item")
        pq.write_table(rows.set_column(at, "item", pa.array(item.astype(np.int32))), path)
    assert same(statistics(Features(features.root)).state_dict(), before)


def test_no_statistic_reads_a_user_without_training_rows(features: Features) -> None:
    """A user of the validation or the test split alone adds no behaviour."""
    other = int(features.user_rows(0, "train").max())

    def given_away(rows: pa.Table) -> pa.Table:
        user = np.full(len(rows), other, np.int32)
        return rows.set_column(rows.schema.get_field_index("user"), "user", pa.array(user))

    rewrite(features, "train", given_away)
    known = blending._known(features, 0, None)
    assert not known[features.user_rows(0, "behaviours") != other].any()


def after(features: Features, time: int) -> Features:
    """Change all labels and behaviours of training after a time."""

    def relabelled(rows: pa.Table) -> pa.Table:
        return labelled(rows, (rows["label"].to_numpy() != 0) | (rows["timestamp"].to_numpy() > time))

    rewrite(features, "train", relabelled)
    for number in range(features.manifest.shards):
        path = features.root / "shards" / f"{number:05d}" / "behaviours.parquet"
        rows = pq.read_table(path)
        item = np.where(rows["timestamp"].to_numpy() > time, 1, rows["item"].to_numpy()).astype(np.int32)
        pq.write_table(rows.set_column(rows.schema.get_field_index("item"), "item", pa.array(item)), path)
    return Features(features.root)


@pytest.mark.parametrize("seconds", [60e-6, -20 * 3600])
def test_statistics_until_a_time_leave_later_rows_out(seconds: float, features: Features) -> None:
    """A continued champion's statistics hold what it has learned, and none of the new days."""
    until = datetime.fromtimestamp(seconds, UTC)
    whole, cut = statistics(features), statistics(features, until)
    later = after(features, microseconds(until))
    assert same(statistics(later, until).state_dict(), cut.state_dict())
    assert not same(statistics(later).state_dict(), whole.state_dict())


def test_weights_read_validation_rows_alone(tmp_path: Path, small: Train) -> None:
    """Other labels of test rows change no weight, and other labels of validation rows do."""
    features = write_features(tmp_path)
    trained = learn(features, changed(small, epochs=1)).judged.trained

    def weights() -> dict[str, torch.Tensor]:
        fitted = fit_blend(trained, Features(tmp_path), CPU_ALONE)
        assert fitted is not None
        return fitted.blend.weights()

    before = weights()
    for split, is_read in (("test", False), ("valid", True)):
        rewrite(features, split, lambda rows: labelled(rows, rows["label"].to_numpy() == 0))
        assert same(weights(), before) != is_read


class TestWeights:
    """The ridge regression."""

    @staticmethod
    def fitted(columns: np.ndarray, label: np.ndarray, rows_per_user: float = 10.0, offset: float = 0.0) -> np.ndarray:
        weights = Weights.fitted(columns, label, rows_per_user, offset)
        return weights.parts(columns).sum(1) + weights.constant

    def test_noise_leaves_the_model_alone(self) -> None:
        """Where nothing is to be gained, the blended logit stays near the model's."""
        random = np.random.default_rng(1)
        columns = random.normal(size=(3000, 6))
        label = (random.random(3000) < 1 / (1 + np.exp(-columns[:, 0]))).astype(float)
        assert abs(self.fitted(columns, label) - columns[:, 0]).mean() < 0.15

    def test_bends_fit_what_no_line_can(self) -> None:
        """Items that are seldom or often shown may both be clicked less."""
        random = np.random.default_rng(2)
        columns = random.normal(size=(4000, 2))
        label = (random.random(4000) < 1 / (1 + np.exp(3 * abs(columns[:, 1]) - 2))).astype(float)
        assert auc(label, columns[:, 0]) < 0.55
        assert auc(label, self.fitted(columns, label)) > 0.8

    def test_the_offset_is_that_of_the_rows(self) -> None:
        """Rows without nine of ten negatives give the logits of the traffic."""
        random = np.random.default_rng(3)
        columns = np.concatenate([random.normal(size=(20_000, 1)) - 3, random.normal(size=(20_000, 1))], 1)
        label = (random.random(20_000) < 1 / (1 + np.exp(-columns[:, 0]))).astype(float)
        kept = (label == 1) | (random.random(20_000) < 0.1)
        blended = self.fitted(columns[kept], label[kept], offset=-np.log(0.1))
        assert abs(blended - columns[kept, 0]).mean() < 0.15

    def test_a_constant_column_counts_for_nothing(self) -> None:
        """If all histories are alike, those of service may differ, and must not be judged by rounding."""
        random = np.random.default_rng(5)
        columns = np.concatenate([random.normal(size=(500, 1)), np.full((500, 1), 0.1)], 1)
        weights = Weights.fitted(columns, random.integers(0, 2, 500).astype(float), 10.0, 0.0)
        assert abs(weights.parts(np.array([[0.0, 9.0]]))[0, 1]) < 1e-6


@pytest.mark.parametrize("by_time", [False, True])
def test_a_blend_from_training_to_the_shipped_model(by_time: bool, tmp_path: Path, blended: Params) -> None:
    """It is saved, judged apart, never on the rows that it was fitted on, and shipped."""
    here = Workspace(tmp_path)
    features = temporal(here.features) if by_time else write_features(here.features)
    train(here, blended)
    evaluate(here, blended)
    refit(here, blended)
    report = documents.read(Evaluation, here.evaluation, "")
    assert report.blend is not None
    model = validation_model(here)
    plain = predict(model.trained, model.features, "valid", blend=False)
    assert report.valid is not None
    assert report.valid.auc == plain.metrics.auc
    judged = artifact.load(artifact.known(features, here.model), here.model)
    shipped = artifact.load(artifact.known(features, here.shipped), here.shipped)
    assert isinstance(judged.model.blend, Blend)
    assert isinstance(shipped.model.blend, Blend)
    assert same(shipped.model.blend.state_dict(), judged.model.blend.state_dict())
    rows = pq.read_table(here.crossfit / "predictions.parquet")
    again = predict(shipped, artifact.known(features, here.shipped), "test")
    np.testing.assert_allclose(rows["shipped"].to_numpy(), again.probabilities, rtol=1e-6)


def test_late_ids_are_blended_as_unknown(tmp_path: Path, blended: Params) -> None:
    """The table grows by the ids of a new day, and the blend stays as it is."""
    features = temporal(tmp_path)
    learned = learn(features, blended.train)
    learner = Learner(learned.judged.features, blended.train)
    learner.attach(learned.judged.trained.model.blend)
    day = days_of(features, "test")[-1]
    grown, _ = learn_day(learner, day)
    assert grown.model.blend is not None
    assert learned.judged.trained.model.blend is not None
    assert same(grown.model.blend.state_dict(), learned.judged.trained.model.blend.state_dict())


def test_few_users_get_no_blend(tmp_path: Path, blended: Params, capsys: pytest.CaptureFixture[str]) -> None:
    """A regression on a handful of users would do harm."""
    learned = learn(write_features(tmp_path, users=12), blended.train)
    assert learned.judged.trained.model.blend is None
    assert "no blend: 12 validation users, fewer than 20" in capsys.readouterr().out


def test_without_passes_held_out_days_are_not_read(tmp_path: Path, blended: Params) -> None:
    """A blend would learn days that the record of learned days does not name."""
    learned = learn(temporal(tmp_path), changed(blended.train, advance=False))
    assert learned.judged.trained.model.blend is None

"""A champion that continues over new days. Alone: `pytest tests/din/train/test_champion_start.py`."""

import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from din.base.artifacts import read_json, write_json
from din.base.errors import InputError
from din.base.workspace import Workspace
from din.bundle.bundle_writer import seal, write_values
from din.features.day_rows import days_of
from din.features.reader import Features
from din.model import artifact
from din.params.reading import Params
from din.params.train import Train
from din.train.advance import advance
from din.train.blend import statistics
from din.train.champion_start import ChampionStart
from din.train.compute import CPU_ALONE
from din.train.crossfit import cross_fit
from din.train.evaluate import evaluate
from din.train.fit import fit
from din.train.learn import Snapshot, learn
from din.train.refit import refit
from din.train.run import train
from tests.factories import documents_of
from tests.factories.features import DAY_US, TEST_DAYS, TRAIN_DAYS, VALID_DAYS, day_of, moment, temporal
from tests.factories.run import edit
from tests.helpers.settings import changed
from tests.helpers.states import same

VERSION = "ab" * 32


@pytest.fixture(scope="module")
def small(small: Train) -> Train:
    """Return settings with random draws in every step."""
    return changed(small, dropout=0.3, unknown_rate=0.2)


@pytest.fixture(scope="module")
def made(small: Train, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with features that are split by time, and what a start reads of a bundle, made once."""
    root = tmp_path_factory.mktemp("made")
    write_bundle(root / "bundle", learn(temporal(root / "data" / "features"), small).judged, small)
    return root


def write_bundle(folder: Path, judged: Snapshot, small: Train) -> None:
    folder.mkdir()
    target = folder / artifact.IN_BUNDLE
    artifact.save(judged.trained, small, judged.features, target, judged.seen_until, judged.optimizers)
    write_values(folder, judged.features)
    times = {"seen_until": judged.seen_until.isoformat(), "until": judged.seen_until.date().isoformat()}
    split = documents_of.PROTOCOL | {"name": "temporal"}
    write_json(folder / "facts.json", documents_of.facts(protocol=split, **times))


@pytest.fixture
def features(made: Path, tmp_path: Path) -> Features:
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    return Features(tmp_path / "data" / "features")


@pytest.fixture
def champion(features: Features, tmp_path: Path) -> ChampionStart:
    """A bundle whose model has learned the validation day of `features`, and no test day."""
    return ChampionStart(VERSION, tmp_path / "bundle")


def going_on(settings: Train) -> Train:
    return changed(settings, start="champion", champion=VERSION)


def registered(champion: ChampionStart, root: Path, params: Params) -> str:
    """Move the champion's bundle to the registry of a workspace, and return its version."""
    version = seal(champion.directory)
    bundle = root / "registry" / params.model_name / "bundles" / version
    bundle.parent.mkdir(parents=True)
    champion.directory.rename(bundle)
    return version


def test_going_on_is_one_pass_without_a_break(features: Features, small: Train, champion: ChampionStart) -> None:
    """From the bundle, the test days make the same bits as in a pass that was never interrupted."""
    learned = learn(features, going_on(small), start=champion)
    assert (learned.before, learned.days, learned.progress.epoch) == (None, [], 0)
    fitted, _ = fit(features, small)
    judged = advance(fitted, "valid").learner
    assert torch.equal(learned.judged.trained.table, judged.table)
    expected = advance(judged, "test").learner.state()
    found = advance(champion.continued(features, going_on(small), CPU_ALONE), "test").learner.state()
    assert same(found, expected)


def test_days_of_every_split_are_learned_if_the_champion_has_not(
    features: Features, small: Train, champion: ChampionStart
) -> None:
    """A champion of three days ago learns training rows it has not seen, then the validation rows."""
    facts = champion.directory / "facts.json"
    earlier = f"{day_of(18_991)}T00:00:00+00:00"
    write_json(facts, read_json(facts) | {"seen_until": earlier, "until": str(day_of(18_990))})
    learned = learn(features, going_on(small), start=champion)
    assert [day.rows.day for day in learned.days] == [day_of(18_991), day_of(18_992), *map(day_of, VALID_DAYS)]
    assert learned.before is not None
    assert learned.before.seen_until == features.train_until


def test_the_clicks_of_a_lesson_do_not_tell_where_its_items_start(
    features: Features, small: Train, champion: ChampionStart, tmp_path: Path
) -> None:
    """A champion of three days ago meets items of training days. Their bias is 0, not that of rows still to learn."""
    values = tmp_path / "bundle" / "vocab" / "item_id.parquet"
    known = pq.read_table(values)
    pq.write_table(known.slice(0, len(known) - 3), values)
    learner = champion.continued(features, going_on(changed(small, initial_item_bias="ctr")), CPU_ALONE)
    start = learner.layout.offsets["item_id"]
    biases = learner.table[start : start + len(known), 0]
    assert biases[:-3].any() and not biases[-3:].any()


def test_a_blend_goes_on_with_the_items_of_today(features: Features, small: Train, tmp_path: Path) -> None:
    """The weights stay, and the statistics hold what the champion has learned of today's log."""
    blended = changed(small, blend=True)
    judged = learn(features, blended).judged
    write_bundle(tmp_path / "blended", judged, blended)
    until = moment(TRAIN_DAYS[-1] * DAY_US)
    edit(tmp_path / "blended" / "facts.json", lambda facts: facts.update(seen_until=until.isoformat()))
    start = ChampionStart(VERSION, tmp_path / "blended")
    learner = start.continued(features, going_on(blended), CPU_ALONE)
    there, here = judged.trained.model.blend, learner.model.blend
    assert there is not None
    assert here is not None
    assert same(here.weights(), there.weights())
    learned_features = features.at(until.date())
    learned_rows = statistics(learned_features, until).state_dict()
    assert same({name: here.get_buffer(name) for name in learned_rows}, learned_rows)
    assert not same(statistics(learned_features).state_dict(), learned_rows)
    learned = learn(features, going_on(blended), start=start)
    assert learned.blend is None
    assert learned.judged.trained.model.blend is not None
    edit(tmp_path / "blended" / CONFIG, lambda config: config["blend"]["columns"].remove("popularity"))
    with pytest.raises(InputError, match=r"blends .*impressions, clicks, behaviours.*train once from scratch"):
        start.continued(features, going_on(blended), CPU_ALONE)


def test_a_model_that_goes_on_is_judged_on_new_rows_alone(
    features: Features, small: Train, params: Params, champion: ChampionStart, tmp_path: Path, monkeypatch
) -> None:
    """Stages leave out rows that the champion has learned: all validation rows, and the first test day."""
    here = Workspace(tmp_path)
    facts = champion.directory / "facts.json"
    seen = f"{day_of(TEST_DAYS[1])}T00:00:00+00:00"
    write_json(facts, read_json(facts) | {"seen_until": seen})
    version = registered(champion, tmp_path, params)
    pinned = replace(params, train=changed(small, start="champion", champion=version[:12]))
    train(here, pinned)
    evaluate(here, pinned)
    report = read_json(here.evaluation)
    assert report["valid"] is None and report["floors"]["lr"] is None and report["advance"] is None
    assert pq.read_metadata(here.predictions / "valid.parquet").num_rows == 0
    days = pq.read_table(here.predictions / "test.parquet")["timestamp"].to_numpy() // DAY_US
    assert set(days) == {TEST_DAYS[1]}
    refit(here, pinned)
    assert [day["day"] for day in read_json(here.refit)["days"]] == [str(day_of(TEST_DAYS[1]))]
    assert read_json(here.model / "config.json")["train"]["champion"] == version


def test_a_lesson_is_judged_from_the_champion_on(
    features: Features, small: Train, params: Params, champion: ChampionStart, tmp_path: Path
) -> None:
    """Where the judged model has learned days since, their users are judged by models that have not learned them."""
    here = Workspace(tmp_path)
    edit(champion.directory / "facts.json", lambda facts: facts.update(seen_until=features.train_until.isoformat()))
    edit(champion.directory / CONFIG, lambda config: config.update(seen_until=features.train_until.isoformat()))
    version = registered(champion, tmp_path, params)
    pinned = replace(params, train=changed(small, start="champion", champion=version))
    train(here, pinned)
    evaluate(here, pinned)
    refit(here, pinned)
    start = ChampionStart(version, tmp_path / "registry" / params.model_name / "bundles" / version)
    days = [day for split in ("valid", "test") for day in days_of(features, split)]
    expected = cross_fit(partial(start.continued, features, pinned.train, CPU_ALONE), days)
    rows = pq.read_table(here.crossfit / "predictions.parquet")
    for name, of in (("prediction", "unseen"), ("taught", "taught")):
        probabilities = [getattr(expected[split], of).probabilities for split in ("valid", "test")]
        np.testing.assert_allclose(rows[name].to_numpy(), np.concatenate(probabilities), atol=1e-6)
    assert read_json(here.refit)["crossfit"]["after"] == features.train_until.isoformat()


CONFIG, FACTS = f"{artifact.IN_BUNDLE}/config.json", "facts.json"
AFTER_ALL = f"{day_of(TEST_DAYS[1] + 1)}T00:00:00+00:00"
OTHER_RELEASE = "is missing.*another release made this bundle.*from scratch"


@pytest.mark.parametrize(
    ("path", "key", "value", "message"),
    [
        (CONFIG, "train.learning.optimizer", "sgd", "optimizer: sgd, and now it is adam; .*from scratch"),
        (CONFIG, "train.learning.optimizer", None, "train.learning.optimizer: absent, and now it is adam"),
        (CONFIG, "train.model.activation", "relu", "another architecture: activation relu there, dice here"),
        (CONFIG, "train.model.depth", "2", "another architecture: depth 2 there, absent here"),
        (CONFIG, "known_until", None, f"'known_until' {OTHER_RELEASE}"),
        (FACTS, "seen_until", None, f"'seen_until' {OTHER_RELEASE}"),
        (FACTS, "seen_until", AFTER_ALL, "nothing is left to judge it on; fetch a newer day"),
        (FACTS, "protocol.name", "by_user", "needs the split temporal.* by_user in the bundle"),
    ],
)
def test_a_champion_that_cannot_go_on_is_refused(
    path: str, key: str, value: str | None, message: str, features: Features, small: Train, champion: ChampionStart
) -> None:
    """An optimizer, an architecture or an age that differs, or an age that an older release did not note."""
    champion.check_newer(features)
    document = read_json(champion.directory / path)
    *parents, last = key.split(".")
    block = document
    for parent in parents:
        block = block[parent]
    block[last] = value
    if value is None:
        del block[last]
    write_json(champion.directory / path, document)
    with pytest.raises(InputError, match=message):
        champion.check_newer(features)
        learn(features, going_on(small), start=champion)


def test_a_champion_of_an_earlier_release_goes_on(
    features: Features, small: Train, champion: ChampionStart, capsys: pytest.CaptureFixture[str]
) -> None:
    """A key of the architecture that it does not have yet has its default there."""
    path = champion.directory / CONFIG
    document = read_json(path)
    del document["train"]["model"]["ages"]
    write_json(path, document)
    learn(features, going_on(small), start=champion)
    assert "continuing" in capsys.readouterr().out
    with pytest.raises(InputError, match="another architecture: ages False there, True here"):
        learn(features, going_on(changed(small, ages=True)), start=champion)


@pytest.mark.parametrize(
    ("pinned", "protocol", "message"),
    [
        (None, "temporal", "run `din pin`"),
        ("none", "by_user", "needs the split temporal.* by_user in this log"),
        (VERSION, "by_user", "needs the split temporal.* by_user in this log"),
    ],
)
def test_a_champion_is_pinned_and_goes_on_by_time_alone(
    pinned: str | None, protocol: str, message: str, features: Features, small: Train, params: Params, tmp_path: Path
) -> None:
    """Nobody guesses which one is meant, and under a split by users it must not learn users that are held out."""
    path = features.root / "manifest.json"
    write_json(path, read_json(path) | {"protocol": protocol})
    with pytest.raises(InputError, match=message):
        train(Workspace(tmp_path), replace(params, train=changed(small, start="champion", champion=pinned)))


def test_without_a_champion_a_run_learns_by_epochs(features: Features, small: Train, params: Params, tmp_path) -> None:
    """The pin `none` is the first day of a namespace."""
    here = Workspace(tmp_path)
    train(here, replace(params, train=changed(small, start="champion", champion="none")))
    summary = read_json(here.training)
    assert (summary["epochs"], summary["champion"]) == (2, "none")

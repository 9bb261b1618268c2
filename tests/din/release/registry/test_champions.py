"""The rules about champions: which one a run continues, which is the anchor, and whose lessons were rolled back."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from din.base.errors import InputError
from din.params.train import Train
from din.release.registry.champions import anchors, pin, predecessor, removed_lesson, rolled_back
from din.release.registry.records import Override
from din.release.registry.registry import Registry
from tests.factories import documents_of
from tests.factories.run import crown, find, going_on, judge, write_bundle
from tests.helpers.settings import changed


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(str(tmp_path / "registry"), "ads")


@pytest.fixture
def train(params) -> Train:
    return changed(params.train, start="champion")


@pytest.fixture
def promoted(registry: Registry, tmp_path: Path) -> Callable[..., str]:
    """Return a function that makes a model the champion, and returns its bundle's version."""

    def promote(auc: float = 0.7, day: int = 1, start: str | None = None, seed: int = 17) -> str:
        evaluation = documents_of.evaluation(test=dict(documents_of.METRICS, auc=auc))
        split = documents_of.PROTOCOL | {"seed": seed}
        facts = documents_of.facts(evaluation=evaluation, until=f"2024-10-{day:02d}", protocol=split)
        if start:
            facts["params"]["train"] = {"start": "champion", "champion": start}
        version = write_bundle(tmp_path / "bundle", facts, auc)
        registry.append(registry.put_bundle(tmp_path / "bundle"), registry.champion(), by="ann", reason="why")
        return version

    return promote


def test_anchor_is_the_best_of_90_days(registry, promoted):
    """The anchor has the best recorded metric, without older or rolled-back champions and without today's.

    Today's may have a higher one, since its day may have been an easier one.
    """
    _, best, _ = (promoted(auc) for auc in (0.9, 0.8, 0.95))
    registry.rollback(best, by="ann", reason="why")
    for auc in (0.6, 0.7):
        promoted(auc)
    months = (1, 3, 3, 3, 4, 5)
    records = zip(registry.history(), months, strict=True)
    log = [replace(record, at=f"2026-{month:02d}-01T00:00:00+00:00") for record, month in records]
    candidate = registry.facts(log[-1].version)
    assert anchors(registry, log, "auc", candidate) == [log[3], log[4]]
    assert anchors(registry, log[:4], "auc", candidate) == [log[0]]  # within 90 days of record 4
    assert anchors(registry, log[:1], "auc", candidate) == []
    assert anchors(registry, log[:3], "auc", candidate) == [log[0], log[1]]


def test_a_champion_of_another_split_is_no_anchor(registry, promoted):
    """It may have learned the candidate's test rows, so each candidate of 90 days would need an override."""
    versions = [promoted(auc, seed=seed) for auc, seed in ((0.9, 17), (0.8, 99), (0.7, 99))]
    of_the_first, of_the_last = (registry.facts(versions[place]) for place in (0, -1))
    log = registry.history()
    assert anchors(registry, log, "auc", of_the_last) == [log[1]]
    assert anchors(registry, log, "auc", of_the_first) == [log[0]]
    assert anchors(registry, log[1:], "auc", of_the_first) == []


def test_a_lost_bundle_is_no_anchor(registry, promoted):
    """The next best champion is."""
    versions = [promoted(auc) for auc in (0.9, 0.8, 0.7)]
    registry.objects.delete(f"bundles/{versions[0]}/facts.json")
    log = registry.history()
    assert anchors(registry, log, "auc", registry.facts(versions[2])) == [log[1]]


def test_an_override_begins_anew(registry, promoted):
    """The champions before it can't be evaluated, so no later candidate is compared with them."""
    version = [promoted(auc) for auc in (0.9, 0.8, 0.85, 0.7)][-1]
    log = registry.history()
    log[2] = replace(log[2], override=Override(gates=["champion_today"], compared=False))
    assert anchors(registry, log, "auc", registry.facts(version)) == [log[2]]
    assert (predecessor(log[:2]), predecessor(log[:3]), predecessor(log)) == (log[0], None, log[2])


@pytest.fixture
def versions(promoted) -> list[str]:
    """Three champions, whose logs end on the 10th, 11th and 12th."""
    return [promoted(day / 100, day) for day in (10, 11, 12)]


def test_a_run_continues_the_newest_champion_before_its_day(versions, registry, train) -> None:
    """A rerun or a backfill starts where the first run of its day started; before the first champion, from scratch."""
    found = [pin(registry, train, date(2024, 10, day)) for day in (10, 11, 12, 13, 30)]
    assert found == ["none", *versions, versions[2]]
    registry.rollback(versions[1], by="ann", reason="bad")
    assert pin(registry, train, date(2024, 10, 13)) == versions[1]


def test_one_day_of_the_week_starts_from_scratch(versions, registry, train) -> None:
    """The challenger of the week is trained on the whole window."""
    weekly = changed(train, scratch_day="sunday")
    assert [pin(registry, weekly, date(2024, 10, day)) for day in (13, 14)] == ["none", versions[2]]


def test_a_run_from_scratch_has_nothing_to_pin(registry, params) -> None:
    """The message names the parameter."""
    with pytest.raises(InputError, match=r"train\.start is scratch"):
        pin(registry, params.train, date(2024, 10, 13))


@pytest.fixture
def lessons(promoted, registry) -> dict[str, str]:
    """Champions A, B from A, C from B and D from scratch, of which B is rolled back last, by a way that spares C."""
    found: dict[str, str] = {}
    for number, (name, start) in enumerate({"A": None, "B": "A", "C": "B", "D": None}.items()):
        found[name] = promoted(0.7 + number / 100, 10 + number, start and found[start])
    registry.rollback(found["B"], by="ann", reason="D was no better")
    registry.rollback(found["A"], by="ann", reason="B learned wrong prices")
    return found


def test_the_heir_of_a_lesson_that_was_rolled_back_is_passed_over(lessons, promoted, registry, train) -> None:
    """C was not rolled back, but it has learned B's lesson. So a later day, and a backfill, start from A."""
    assert pin(registry, train, date(2024, 10, 30)) == lessons["A"]
    lesson = removed_lesson(registry, registry.history(), lessons["C"])
    assert lesson and lesson.record.reason == "D was no better"  # which went back beyond C
    assert removed_lesson(registry, registry.history(), lessons["A"]) is None
    newest = promoted(0.9, 20)
    for version in (lessons["B"], newest):
        registry.rollback(version, by="ann", reason="B is bad after all")
    assert pin(registry, train, date(2024, 10, 15)) == lessons["A"]


def test_a_person_may_bring_a_lesson_back(lessons, promoted, registry, train) -> None:
    """C and what continues it count as sound again, also after a later rollback of another bundle."""
    registry.rollback(lessons["C"], by="ann", reason="the prices were right")
    assert pin(registry, train, date(2024, 10, 30)) == lessons["C"]
    versions = [promoted(auc, start=lessons["C"]) for auc in (0.5, 0.6, 0.65)]
    registry.rollback(versions[1], by="ann", reason="the third is bad")
    assert removed_lesson(registry, registry.history(), versions[0]) is None
    assert removed_lesson(registry, registry.history(), versions[2]) is not None


def test_a_bundle_that_is_pinned_by_hand_brings_no_lesson_back(workspace, run, quick) -> None:
    """The gate refuses what continues a bundle that was rolled back, and not what continues the one before it."""
    registry = Registry.of(workspace, quick)
    versions = [crown(registry, run)]
    run.become(0.3)
    versions.append(crown(registry, run))
    registry.rollback(1, by="ann", reason="wrong prices")
    run.noise = 0.1
    kept, removed = (find(judge(workspace, going_on(run, quick, one)), "not_rolled_back") for one in versions)
    assert (kept["verdict"], removed["verdict"]) == ("open", "closed")
    assert versions[1][:12] in removed["reason"] and "wrong prices" in removed["reason"]


def test_a_rollback_removes_all_that_it_goes_back_beyond(promoted, registry, train) -> None:
    """The second learned a leak, and the third continues it. Going back to the first removes both."""
    versions = [promoted(0.7 + number / 100, 10 + number) for number in range(3)]
    registry.rollback(versions[0], by="ann", reason="a leak")
    assert rolled_back(registry.history()).keys() == set(versions[1:])
    assert pin(registry, train, date(2024, 10, 30)) == versions[0]
    registry.rollback(versions[1], by="ann", reason="it was none")
    assert rolled_back(registry.history()).keys() == {versions[0], versions[2]}

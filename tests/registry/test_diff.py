"""`din registry show --against`, for two promotions of a miniature run."""

import json
from pathlib import Path

import pytest

from din.artifacts import write_json
from din.errors import InputError
from din.registry.diff import show_diff
from din.registry.promoted import Promoted
from din.registry.registry import Registry
from tests.factories import documents_of
from tests.factories.run import Run


@pytest.fixture
def two(run: Run, registry: Registry) -> Registry:
    """Return a registry with two promotions that differ in model, parameter and machine."""
    here = run.here
    here.params.write_text("train:\n  learning: {seed: 1, epochs: 2}\n")
    here.pipeline.write_text("stages: {}\n")
    run.promote()
    here.params.write_text("train:\n  learning: {seed: 2, epochs: 2}\n")
    run.noise = 0.1
    run.finish()
    write_json(here.machine_of("train"), documents_of.machine(threads=4))
    run.promote()
    return registry


def test_every_difference_has_a_row(two: Registry, capsys: pytest.CaptureFixture[str]) -> None:
    """Parameters, machines, gates and metrics that differ are listed with both values, and equal parts are named."""
    capsys.readouterr()
    show_diff(two.uri, two.model_name, "1", "2")
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["train.learning.seed", "1", "2"] in lines
    assert ["train.threads", "1", "4"] in lines
    assert ["data:", "equal"] in lines
    assert not any(words[:1] == ["train.learning.epochs"] for words in lines)
    (auc,) = [words for words in lines if words[:1] == ["auc"]]
    facts = [two.facts(record.version).evaluation.test.auc for record in two.history()]
    assert auc[1:3] == [f"{value:.4f}" for value in facts]
    assert any(words[:1] == ["champion"] for words in lines)  # the first run had none


def test_differences_as_json(two: Registry, capsys: pytest.CaptureFixture[str]) -> None:
    """A table is an object of pairs; a version's beginning names a promotion as its number does."""
    capsys.readouterr()
    show_diff(two.uri, two.model_name, "1", two.history()[1].version[:10], as_json=True)
    tables = json.loads(capsys.readouterr().out)
    assert tables["parameters"] == {"train.learning.seed": [1, 2]}
    assert tables["data"] == {}


def test_a_rollback_means_the_promotion_of_its_version(two: Registry) -> None:
    """A rollback has no run of its own, and a name that fits no version or several is refused with the records."""
    two.rollback(1, by="ann", reason="worse")
    assert Promoted.find(two, "3").record.number == 1
    with pytest.raises(InputError, match=r"'4' names 0 versions, expected one; records: 1 \("):
        Promoted.find(two, "4")
    with pytest.raises(InputError, match="'' names 2 versions"):
        Promoted.find(two, "")


def test_a_changed_file_of_a_run_is_refused(two: Registry) -> None:
    """The files that a comparison reads are verified against the hashes in the record."""
    record = two.history()[0]
    (name,) = [name for name in record.files if name.endswith("/params.yaml")]
    path = Path(two.uri) / two.model_name / "runs" / str(record.run_id) / name
    path.write_text("train: {}\n")
    with pytest.raises(InputError, match=r"params.yaml: damaged, its hash is not the recorded one"):
        show_diff(two.uri, two.model_name, "1", "2")

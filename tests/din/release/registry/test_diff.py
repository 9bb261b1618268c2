"""`din registry show --against`, for two promotions of a miniature run."""

import json
from pathlib import Path

import pytest

from din.base.artifacts import write_json
from din.base.errors import InputError
from din.release.registry.diff import show_diff
from din.release.registry.promoted import Promoted
from din.release.registry.registry import Registry
from tests.factories import documents_of
from tests.factories.run import Run


@pytest.fixture
def two(run: Run, registry: Registry, capsys: pytest.CaptureFixture[str]) -> Registry:
    """Return a registry with two promotions that differ in model, parameter and machine."""
    run.here.pipeline.write_text("stages: {}\n")
    for seed, noise, threads in ((1, 0.2, 1), (2, 0.1, 4)):
        run.here.params.write_text(f"train:\n  learning: {{seed: {seed}, epochs: 2}}\n")
        run.facts["packages"] = {"onnx": f"1.{seed}"}
        run.become(noise)
        write_json(run.here.machine_of("train"), documents_of.machine(threads=threads))
        run.promote()
    capsys.readouterr()
    return registry


def test_every_difference_has_a_row(two: Registry, capsys: pytest.CaptureFixture[str]) -> None:
    """Both values of all that differs are printed, and equal parts are named; JSON has the same."""
    show_diff(two.uri, two.model_name, "1", "2")
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["train.learning.seed", "1", "2"] in lines
    assert ["train.threads", "1", "4"] in lines
    assert ["package", "onnx", "1.1", "1.2"] in lines
    assert ["data:", "equal"] in lines
    assert not any(words[:1] == ["train.learning.epochs"] for words in lines)
    (auc,) = [words for words in lines if words[:1] == ["auc"]]
    one, other = (two.facts(record.version).evaluation.test.auc or 0 for record in two.history())
    assert auc[1:3] == [f"{one:.4f}", f"{other:.4f}"] and float(auc[3]) == pytest.approx(other - one, abs=1e-5)
    assert any(words[:1] == ["champion"] for words in lines)  # the first run had none
    show_diff(two.uri, two.model_name, "1", two.history()[1].version[:10], as_json=True)
    tables = json.loads(capsys.readouterr().out)
    assert tables["parameters"] == {"train.learning.seed": [1, 2]}
    assert tables["data"] == {}


def test_parameters_of_another_form_are_refused(run: Run, registry: Registry) -> None:
    """A record may hold anything under the right hash."""
    run.here.pipeline.write_text("stages: {}\n")
    run.here.params.write_text("- 1\n")
    run.promote()
    with pytest.raises(InputError, match=r"params.yaml of record 1: .*should be an object"):
        show_diff(registry.uri, registry.model_name, "1", "1")


def test_a_name_means_one_promotion_and_its_files_are_verified(two: Registry) -> None:
    """A rollback has no run of its own. A name that fits no version or several is refused with the records."""
    two.rollback(1, by="ann", reason="worse")
    assert Promoted.find(two, "3").record.number == 1
    for name, says in (("4", "no record 4"), ("", r"'' names 2 versions, expected one; records: 1 \(")):
        with pytest.raises(InputError, match=says):
            Promoted.find(two, name)
    (path,) = (Path(two.uri) / two.model_name / "runs" / str(two.record(1).run_id)).rglob("params.yaml")
    path.write_text("train: {}\n")
    with pytest.raises(InputError, match=r"params.yaml: damaged, its hash is not the recorded one"):
        show_diff(two.uri, two.model_name, "1", "2")

"""The harness of studies: what is kept, and what begins a case anew."""

import argparse
import math
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks import harness
from benchmarks.harness import StudyCase, parsed, positive, results


@dataclass(frozen=True)
class Point:
    """A document with everything that documents hold."""

    name: str
    pair: tuple[int, float]
    by: dict[str, list[float]]


def point(kept: Path, name: str, number: int) -> Point:
    """Return a document, and leave a mark beside it."""
    with kept.with_suffix(".calls").open("a") as file:
        file.write("x")
    return Point(name, (number, math.inf), {"a": [0.1, number / 3]})


def calls(folder: Path) -> list[str]:
    return sorted(path.read_text() for path in folder.glob("*.calls"))


@pytest.mark.parametrize("jobs", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_a_finished_case_is_not_run_again(tmp_path: Path, jobs: int) -> None:
    """Documents come back as they were, in order, and only the missing case of two runs."""
    cases = [StudyCase(f"a {number}, b/c", point, ("a", number)) for number in range(2)]
    (first,) = results(tmp_path, cases[1:], jobs)
    assert results(tmp_path, cases, jobs) == [point(tmp_path / "other", "a", 0), first]
    assert calls(tmp_path) == ["x", "x", "x"]


def test_other_arguments_and_other_code_begin_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of the two makes another document, under the same name."""
    results(tmp_path, [StudyCase("one", point, ("a", 1))])
    results(tmp_path, [StudyCase("one", point, ("a", 2))])
    monkeypatch.setattr(harness, "_code_of", lambda module: {f"{module}.py": "changed"})
    results(tmp_path, [StudyCase("one", point, ("a", 2))])
    assert len(list(tmp_path.glob("one-*.json"))) == 3


def test_a_module_that_is_run_is_digested_like_one_that_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """`python -m` names the module `__main__`, which has no code of its own."""
    imported = StudyCase("one", positive).path(Path())
    monkeypatch.setattr(positive, "__module__", "__main__")
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", find_spec("benchmarks.harness"))
    assert StudyCase("one", positive).path(Path()) == imported


def test_help_lists_the_full_sizes(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Options have the names of the command line, and a switch has no value."""
    monkeypatch.setattr(sys, "argv", ["study", "--help"])
    with pytest.raises(SystemExit):
        parsed(argparse.ArgumentParser(), {"seeds": (1, 2), "full_epoch": True})
    listed = " ".join(capsys.readouterr().out.split())
    assert "--full the sizes --seeds 1 2, --full-epoch, which take much longer" in listed

"""The quick mutants are killed, each row names one place, and every gate has a row. All mutants: `make mutants`."""

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from din.base.git import git
from din.release.gates import GATES
from tests.mutants.mutant import ROOT, Mutant, copied, why_alive, workers
from tests.mutants.table import MUTANTS


@pytest.fixture(scope="module")
def pool() -> Iterator[ProcessPoolExecutor]:
    with workers(1) as pool:
        yield pool


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copied(tmp_path_factory.mktemp("mutants") / "tree")


@pytest.mark.parametrize("mutant", [mutant for mutant in MUTANTS if mutant.quick], ids=str)
def test_a_quick_mutant_is_killed(mutant: Mutant, tree: Path, pool: ProcessPoolExecutor) -> None:
    """The mutant's test fails, and passes again once the line is restored: the suite runs it on unchanged code."""
    assert why_alive(mutant, tree, pool) is None


@pytest.mark.parametrize("mutant", MUTANTS, ids=str)
def test_a_row_names_one_place(mutant: Mutant) -> None:
    """The file holds the text once, the change is Python, and the test exists."""
    changed = mutant.changed((ROOT / mutant.file).read_text(encoding="utf-8"))
    compile(changed, mutant.file, "exec")
    file, _, test = mutant.test.partition("::")
    assert f"def {test.partition('[')[0]}" in (ROOT / file).read_text(encoding="utf-8")


def test_a_row_that_went_stale_is_named() -> None:
    """The message says which row to renew, and why."""
    stale = replace(MUTANTS[0], guards="refit", text="no such line")
    with pytest.raises(ValueError, match=r"renew the row 'refit'.* 'no such line' 0 times, expected once"):
        stale.changed((ROOT / stale.file).read_text(encoding="utf-8"))


def test_a_copy_holds_the_code_alone(tmp_path: Path) -> None:
    """Edits count before they are committed. Pages, ignored files and removed ones are left out."""
    before, after = tmp_path / "before", tmp_path / "after"
    git(tmp_path, "init", "--quiet", str(before))
    for name in ("edited.py", "removed.py", "docs/page.md"):
        (before / name).parent.mkdir(exist_ok=True)
        (before / name).write_text("first")
    git(before, "add", "--all")
    (before / "removed.py").unlink()
    for name in ("edited.py", "new.py", "data/log.csv"):
        (before / name).parent.mkdir(exist_ok=True)
        (before / name).write_text("second")
    (before / ".gitignore").write_text("/data/")
    copied(after, before)
    assert {path.name: path.read_text() for path in after.rglob("*.*")} == {
        ".gitignore": "/data/",
        "edited.py": "second",
        "new.py": "second",
    }


def test_every_gate_has_a_mutant() -> None:
    """A gate without a row of its own would be guarded by nobody knows what."""
    built_in = {name for name in GATES if GATES[name].thing.__module__.startswith("din.")}
    assert built_in <= {mutant.guards for mutant in MUTANTS if mutant.part == "gates"}


def test_a_mutant_that_lives_or_breaks_is_told(tree: Path, pool: ProcessPoolExecutor) -> None:
    """A change that does no harm is alive, and one that is no program, or that breaks a fixture, kills nothing."""
    test = "tests/din/metrics/test_ranking.py::test_nan_score_makes_the_metric_nan"
    line = "per_user = user_auc(labels, scores, users)"
    for change, why in ((f"{line}  # harmless", "passes"), (f"{line[:-1]}", "could not run"), ("nobody", "NameError")):
        mutant = replace(MUTANTS[0], file="din/metrics/ranking.py", text=line, change=change, test=test)
        assert why in (why_alive(mutant, tree, pool) or "killed")

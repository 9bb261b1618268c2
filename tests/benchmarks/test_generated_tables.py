"""Every generated table has an origin, and a change of its code is noticed."""

import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.figures import STALE, TABLES, Table
from din import code

ROOT = Path(__file__).parent.parent.parent
BEGIN, END = "<!-- begin: bench -->\n", "<!-- end -->\n"


@pytest.fixture
def table(tmp_path: Path) -> Table:
    """The benchmark's table, on a page of its own."""
    (tmp_path / "page.md").write_text(f"above\n{BEGIN}old\n{END}below\n", encoding="utf-8")
    return replace(TABLES["bench"], page=str(tmp_path / "page.md"))


def test_every_table_of_the_pages_is_known() -> None:
    """Each mark of a page belongs to a table, each table has modules and an origin, and a stale one says so."""
    marks = {
        (f"docs/{path.name}", name)
        for path in (ROOT / "docs").glob("*.md")
        for name in re.findall(r"<!-- begin: (.*) -->", path.read_text(encoding="utf-8"))
    }
    assert marks == {(table.page, name) for name, table in TABLES.items()}
    for table in TABLES.values():
        modules = {run for run in table.runs if " " not in run}
        assert modules == modules & code.closure(modules, ()) != set()
        parts = table.parts()
        assert parts.origin is not None, table.name
        assert parts.stale == (parts.origin["code"] != table.code()), f"{table.page}: run `make figures`"


def test_a_new_table_replaces_the_old_one_and_names_its_origin(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page names command, commit, date, machine and code, without paths of this machine; all else stays."""
    monkeypatch.setattr("sys.argv", ["benchmarks", "--results", "/far/away.json", "--write"])
    for _ in range(2):
        table.writer()("| new |\n")
        text = table.path.read_text(encoding="utf-8")
        assert text.startswith(
            "above\n<!-- begin: bench -->\n`python -m benchmarks --results away.json --write`, commit "
        )
        assert text.endswith(f", code {table.code()}.\n\n| new |\n{END}below\n")
        assert not table.mark()
        assert table.path.read_text(encoding="utf-8") == text


def test_a_stale_table_says_so_until_it_is_measured_again(table: Table) -> None:
    """One line below the origin says that the code has changed; it comes once, and goes with the reason."""
    table.writer()("| new |")
    fresh = table.path.read_text(encoding="utf-8")
    table.path.write_text(fresh.replace(table.code(), "unknown"), encoding="utf-8")
    for _ in range(2):
        assert table.mark()
        assert table.path.read_text(encoding="utf-8").count(f"code unknown.\n\n{STALE}\n\n| new |\n") == 1
    table.path.write_text(table.path.read_text(encoding="utf-8").replace("unknown", table.code()), encoding="utf-8")
    assert not table.mark()
    assert table.path.read_text(encoding="utf-8") == fresh


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of all tracked files, in which the benchmark's table is fresh."""
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in tracked.splitlines():
        if (ROOT / name).exists():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, tmp_path / name)
    bench = TABLES["bench"]
    found = bench.parts().origin
    assert found is not None
    page = tmp_path / bench.page
    page.write_text(page.read_text(encoding="utf-8").replace(found["code"], bench.code()), encoding="utf-8")
    return tmp_path


def figures(checkout: Path) -> dict[str, str]:
    """Run `make figures` there, and return the state of each table."""
    line = [sys.executable, "-m", "benchmarks.figures"]
    done = subprocess.run(line, cwd=checkout, capture_output=True, text=True, timeout=120, check=True)
    return {cells[0]: cells[2] for cells in map(str.split, done.stdout.splitlines()[1:])}


def test_a_change_of_code_is_noticed(checkout: Path) -> None:
    """A change of what training runs makes the benchmark's table stale, on its page too; a comment does not."""
    page = checkout / TABLES["bench"].page
    learner = checkout / "din/train/learner.py"
    source = learner.read_text(encoding="utf-8")
    learner.write_text(f"{source}\n# a comment\n", encoding="utf-8")
    assert figures(checkout)["bench"] == "fresh"
    assert STALE not in page.read_text(encoding="utf-8")
    learner.write_text(source.replace("seen += inputs.impressions", "seen += 2 * inputs.impressions"), encoding="utf-8")
    states = figures(checkout)
    assert states.keys() == TABLES.keys()
    assert states["bench"] == "stale"
    assert STALE in page.read_text(encoding="utf-8")

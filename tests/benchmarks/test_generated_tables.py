"""Every generated table has a place and an origin, and a new one replaces it alone."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import generated_tables
from benchmarks.generated_tables import CHANGED, TABLES, GeneratedTable
from din.base.git import git

ROOT = Path(__file__).parent.parent.parent
BEGIN, END = "<!-- begin: bench -->\n", "<!-- end -->\n"


@pytest.fixture
def table(tmp_path: Path) -> GeneratedTable:
    """The benchmark's table, on a page of its own."""
    (tmp_path / "page.md").write_text(f"above\n{BEGIN}old\n{END}below\n", encoding="utf-8")
    return replace(TABLES["bench"], page=str(tmp_path / "page.md"))


def test_every_table_of_the_pages_is_known() -> None:
    """Each mark of a page belongs to a table, and each table has an origin."""
    marks = {
        (f"docs/{path.name}", name)
        for path in (ROOT / "docs").glob("*.md")
        for name in re.findall(r"<!-- begin: (.*) -->", path.read_text(encoding="utf-8"))
    }
    assert marks == {(table.page, name) for name, table in TABLES.items()}
    assert [name for name, table in TABLES.items() if table.parts().origin is None] == []


def test_a_commit_with_changes_is_named_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Downloaded files and changed pages are no change of the code."""
    for file in ("code.py", "docs/page.md"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text("before")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", "--all")
    git(tmp_path, "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "--quiet", "--message", "first")
    monkeypatch.setattr(generated_tables, "ROOT", tmp_path)
    for file, is_changed in (("downloaded.csv", False), ("docs/page.md", False), ("code.py", True)):
        (tmp_path / file).write_text("after")
        assert generated_tables.commit().endswith(CHANGED) == is_changed


def test_a_new_table_replaces_the_old_one_and_names_its_origin(
    table: GeneratedTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page names command, commit, date and machine, but no absolute path and no number of jobs. All else stays."""
    monkeypatch.setattr("sys.argv", ["benchmarks", "--results", "/far/away.json", "--jobs", "2", "--write"])
    for _ in range(2):
        table.writer()("| new |\n")
        text = table.path.read_text(encoding="utf-8")
        assert text.startswith(f"above\n{BEGIN}`python -m benchmarks --results away.json --write`, commit ")
        assert text.endswith(f" cores.\n\n| new |\n{END}below\n")
        origin, tables = table.parts()[1:3]
        assert origin is not None and origin["command"] == "python -m benchmarks --results away.json --write"
        assert tables == "| new |"

"""Every generated table has an origin, and a change of its code is noticed."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.generated_tables import STALE, TABLES, GeneratedTable
from din import code

ROOT = Path(__file__).parent.parent.parent
BEGIN, END = "<!-- begin: bench -->\n", "<!-- end -->\n"


@pytest.fixture
def table(tmp_path: Path) -> GeneratedTable:
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


def test_a_new_table_replaces_the_old_one_and_names_its_origin(
    table: GeneratedTable, monkeypatch: pytest.MonkeyPatch
) -> None:
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


def test_a_stale_table_says_so_until_it_is_measured_again(table: GeneratedTable) -> None:
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

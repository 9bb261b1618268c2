"""The documentation as a site."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    """The README and every page but the log are in it, every link resolves, and nothing is loaded from elsewhere."""
    env = os.environ | {"PYTHONPATH": str(ROOT), "NO_MKDOCS_2_WARNING": "1"}
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    pages = {path.stem for path in (ROOT / "docs").glob("*.md")} | {"index", "parameters", "reports"}
    assert {path.stem for path in tmp_path.glob("*.html")} - {"404"} == pages - {"log"}
    html = (tmp_path / "start.html").read_text()
    assert 'src="http' not in html and '<link rel="stylesheet" href="http' not in html
    texts = [path.read_text() for path in tmp_path.rglob("*.html")]
    assert not [text for text in texts if re.search(r'href="(\.\./)?log\.html', text)]

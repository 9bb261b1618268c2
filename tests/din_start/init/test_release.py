"""The requirement of a new repository, for each way to install the package."""

import json
from importlib.metadata import Distribution
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from din_start.init.render import requirement

COMMIT = "0" * 40


@pytest.mark.parametrize(
    ("noted", "expected"),
    [
        (None, "din-ctr[tune]==1.2.3"),
        ({"url": "file:///srv/din", "dir_info": {"editable": True}}, "din-ctr[tune] @ file:///srv/din"),
        (
            {"url": "https://example.org/din.git", "vcs_info": {"vcs": "git", "commit_id": COMMIT}},
            f"din-ctr[tune] @ git+https://example.org/din.git@{COMMIT}",
        ),
    ],
    ids=["from an index", "from a folder", "from a commit"],
)
def test_pip_can_install_the_same_again(noted: dict[str, Any] | None, expected: str, tmp_path: Path) -> None:
    """The line names the version or the address, and is one that pip reads."""
    folder = tmp_path / "din_ctr-1.2.3.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: din-ctr\nVersion: 1.2.3\n")
    if noted is not None:
        (folder / "direct_url.json").write_text(json.dumps(noted))
    found = requirement(Distribution.at(folder))
    assert found == expected
    assert Requirement(found).extras == {"tune"}

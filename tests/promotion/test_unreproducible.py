"""Promotions that can't be reproduced, and the messages that say why."""

import subprocess
from pathlib import Path

import pytest

from din.errors import InputError
from din.promotion.reproduce import reproduce
from din.registry.registry import Registry
from tests.factories.run import Run


def test_what_no_repository_holds_can_not_be_reproduced(run: Run, registry: Registry, tmp_path: Path) -> None:
    """A run outside a repository has no commit, and the message says so."""
    run.promote()
    with pytest.raises(InputError, match="record 1: names no commit"):
        reproduce(registry.uri, registry.model_name, "1", str(tmp_path))


def test_a_commit_that_the_repository_lacks(run: Run, registry: Registry, tmp_path: Path) -> None:
    """The message names the commit and the repository, in one line, and so does one about changed stages."""
    here = run.here
    here.params.write_text("promote: {registry: registry}\n")
    here.pipeline.write_text("stages: {}\n")
    git = ["git", "-C", str(here.root), "-c", "user.name=test", "-c", "user.email=test@localhost"]
    for arguments in (["init", "-q"], ["add", "dvc.yaml"], ["commit", "-qm", "test"]):
        subprocess.run([*git, *arguments], check=True)
    here.pipeline.write_text("stages: {more: {}}\n")
    run.promote()
    other = tmp_path / "other"
    subprocess.run(["git", "init", "-q", str(other)], check=True)
    with pytest.raises(
        InputError, match=r"other: can't check out commit [0-9a-f]{40} of record 1; name a rep"
    ) as error:
        reproduce(registry.uri, registry.model_name, "1", str(other))
    assert "\n" not in str(error.value)
    with pytest.raises(InputError, match=r"record 1: its dvc.yaml is not that of commit .*uncommitted changes"):
        reproduce(registry.uri, registry.model_name, "1", str(here.root))
    with pytest.raises(InputError, match="holds files"):
        reproduce(registry.uri, registry.model_name, "1", str(here.root), keep=here.root)

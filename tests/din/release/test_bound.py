"""A verdict that is bound to all it depends on is not judged again; after any change, it is."""

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import pytest

from din.base.errors import GateClosed
from din.base.workspace import Workspace
from din.params.reading import Params
from din.release.gates.gate import gate
from din.release.promote import promote
from din.release.registry.registry import Registry
from tests.factories.run import Run, challenge, score


def broken(*_: object) -> NoReturn:
    """Close the gates that need scores of an earlier champion."""
    raise ValueError("it can't score any more")


@pytest.fixture
def extended(quick: Params, workspace: Workspace) -> Params:
    """Return parameters that name a plugin."""
    (workspace.root / "gates.py").write_text("")
    return replace(quick, plugins=("gates.py",))


@pytest.fixture
def judged(run: Run, extended: Params, registry: Registry) -> Run:
    """A candidate with an open gate, beside a champion."""
    challenge(registry, run)
    gate(run.here, extended, score)
    return run


def promote_without_judging(run: Run, extended: Params) -> int:
    return promote(run.here, extended, "ann", "a test", score=broken).record.number


def test_a_bound_verdict_promotes_without_being_judged_again(judged: Run, extended: Params) -> None:
    """Judging again would fail here, since nothing can be scored."""
    assert promote_without_judging(judged, extended) == 2


def _look(here: Workspace) -> Path:
    (look,) = (here.root / "registry").rglob("looks/*/*.parquet")
    return look


def _add_package(here: Workspace) -> None:
    (here.root / "scipy-99.dist-info").mkdir()
    sys.path.append(str(here.root))


CHANGES: dict[str, Callable[[Workspace], object]] = {
    "no hash": lambda here: here.bound.unlink(),
    "a hash that is cut off": lambda here: os.truncate(here.bound, 10),
    "another hash": lambda here: here.bound.write_bytes(here.bound.read_bytes()[::-1]),
    "a report that says the same": lambda here: here.gate.write_bytes(here.gate.read_bytes() + b"\n"),
    "a plugin": lambda here: (here.root / "gates.py").write_text("X = 1"),
    "a package": _add_package,
    "a comparison that is gone": lambda here: _look(here).unlink(),
    "a comparison that was rewritten": lambda here: os.utime(_look(here), (0, 0)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_after_the_gate_is_judged_again(
    change: str, judged: Run, extended: Params, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The report itself does not reveal these changes; `tests/din/base/test_artifacts.py` has the others."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    CHANGES[change](judged.here)
    with pytest.raises(GateClosed, match="judged again"):
        promote_without_judging(judged, extended)
    assert registry.newest() == 1


def test_a_lost_log_is_judged_again(run: Run, extended: Params, registry: Registry) -> None:
    """Without a champion, a bundle that nobody is promoting means that the log was lost since the gate judged."""
    gate(run.here, extended, score)
    run.become(0.3)
    registry.put_bundle(run.here.bundle)
    run.become(0.2)
    with pytest.raises(GateClosed, match="judged again"):
        promote(run.here, extended, "ann", "a test", score=score)


def test_a_closed_gate_does_not_open_by_an_older_verdict(judged: Run, extended: Params, registry: Registry) -> None:
    """Neither the older report nor its hash promotes what has been refused since, for a reason that no hash shows."""
    open_report = judged.here.gate.read_bytes()
    with pytest.raises(GateClosed):
        gate(judged.here, extended, broken)
    assert not judged.here.bound.exists()
    judged.here.gate.write_bytes(open_report)
    with pytest.raises(GateClosed, match="judged again"):
        promote_without_judging(judged, extended)
    assert registry.newest() == 1

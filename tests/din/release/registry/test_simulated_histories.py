"""The registry under deterministic simulation, and bugs to plant in it, which the simulation must find.

`make simulate` plays many histories and plants every bug; `make test` plays some and plants those that are found soon.
"""

import inspect
import os
import textwrap
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import pytest

from din.release.registry import records, registry
from din.release.registry.objects import Objects
from din.release.registry.registry import Registry
from tests.din.release.registry.simulation import play

HISTORIES = int(os.environ.get("HISTORIES", "200"))
PART = 500
MOST = 5_000
"""The number of histories within which each bug must be found."""
APPEND = "self.append(version, previous, by=by, reason=reason, run_id=run_id, override=override, files=files)"
EARLY = f"files = self.put_run(run_id, evidence)\n    return {APPEND}\n    "
MANIFEST = 'self.objects.put(f"bundles/{version}/{MANIFEST}", directory / MANIFEST)'
STORED = 'stored = self.objects.keys(f"bundles/{version}")'
EVIDENCE = "kept |= {run_key(r.run_id) for r in history if r.run_id}"
NUMBER = "number = previous.number + 1 if previous else 1"
OTHER_PREVIOUS = f"previous = log.entries[-1].record if log.entries else None\n    {NUMBER}"
LISTED = 'number = len(self.objects.keys("promotions")) + 1'
EXISTS = "if not self.exists(key):\n            raise\n        return False"
NONCE = "written.nonce != record.nonce"
CLAIM = 'self.objects.put(f"{CLAIMS}/{owner}/promotion", b"")'
AGE = "max(keys.values()) < before"
REMOVED = "a record names what was removed"

Edit = tuple[Callable[..., Any], str, str, str]
"""A function, a text of its source, the text in its place, and the rule that a history breaks."""
QUICK: dict[str, Edit] = {
    "the record is appended first": (Registry.promote, "if self.put_bundle(", f"{EARLY}if self.put_bundle(", "missing"),
    "the manifest is stored first": (Registry.put_bundle, STORED, f"{MANIFEST}\n    {STORED}", "missing"),
    "a record is put, not created": (Objects.create, ', mode="create"', "", "overwritten"),
    "the record before is not sealed": (Registry.append, "    if parent:\n", "    if False:\n", "unsealed"),
    "append ignores which champion was compared": (Registry.append, NUMBER, OTHER_PREVIOUS, "it follows a champion"),
    "gc keeps no evidence": (Registry.gc, EVIDENCE, "pass", REMOVED),
    "gc removes the manifest last": (Registry._remove, "not key.endswith", "key.endswith", "half a bundle"),
    "gc leaves its claim": (Registry._remove, "self.objects.delete(claim)", "pass", "rerun"),
}
RARE: dict[str, Edit] = {
    "a conflict is not read back": (Objects.create, EXISTS, "return False", "it has no seal"),
    "nonces are not compared": (records.append, NONCE, "False", "lost"),
    "the own record counts as another writer's": (records.append, NONCE, "True", "exit code"),
    "the number is that of a listing": (Registry.append, NUMBER, LISTED, "chain"),
    "a promotion writes no claim": (Registry._claim, CLAIM, "pass", "exit code"),
    "a promotion ignores the claim of gc": (Registry._claim, "if removals:", "if False:", "missing"),
    "gc ignores the grace period": (Registry.gc, AGE, "True", "missing"),
    "gc goes by the oldest object": (Registry.gc, AGE, AGE.replace("max", "min"), "exit code"),
    "gc never forgets the claims of a killed gc": (Registry.gc, "_is_removal(key) and", "False and", "rerun"),
    "gc does not look again before it removes": (Registry._remove, "if unchanged:", "if True:", REMOVED),
    "gc writes no claim": (Registry._remove, 'self.objects.put(claim, b"")', "pass", "missing"),
    "removing a missing object is an error": (Objects.delete, "FileNotFoundError", "ZeroDivisionError", "exit code"),
}


@contextmanager
def planted(function: Callable[..., Any], old: str, new: str) -> Iterator[None]:
    """Change the source of a function for a while."""
    play(0)  # candidates are made by sound code
    source = textwrap.dedent(inspect.getsource(function))
    assert source.count(old) == 1, f"{old!r} appears {source.count(old)} times"
    module = inspect.getmodule(function)
    made: dict[str, Any] = {}
    exec(compile(source.replace(old, new), "<planted>", "exec"), vars(module), made)
    owner = function.__qualname__.rpartition(".")[0]
    with ExitStack() as patches:
        for place in [getattr(module, owner)] if owner else [records, registry]:
            patches.enter_context(mock.patch.object(place, function.__name__, made[function.__name__]))
        yield


@pytest.mark.parametrize("first", range(0, HISTORIES, PART))
def test_no_history_breaks_a_rule(first: int) -> None:
    """Print the steps of a history that does."""
    for seed in range(first, min(first + PART, HISTORIES)):
        history = play(seed)
        steps = "\n".join(" ".join(map(str, step)) for step in history.trace)
        assert not history.violation, f"{steps}\nseed {seed}: {history.violation}"


def test_a_seed_is_one_history() -> None:
    """A history that is played again has the same steps."""
    assert [play(seed).trace for seed in range(5)] == [play(seed).trace for seed in range(5)]


@pytest.mark.parametrize("bug", [*QUICK, *(pytest.param(bug, marks=pytest.mark.slow) for bug in RARE)])
def test_a_planted_bug_is_found(bug: str) -> None:
    """One of the first five thousand histories breaks the rule that the bug concerns."""
    *edit, rule = (QUICK | RARE)[bug]
    with planted(*edit):
        assert any((play(seed).violation or "").startswith(f"AssertionError: {rule}") for seed in range(MOST))

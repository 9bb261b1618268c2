"""A finished miniature run whose gate is open, with another run and a folder outside, for planting faults."""

import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stages import HERE, exit_code

from din.artifacts import hash_files, write_json
from din.errors import GateClosed
from din.gates.gate import gate
from din.params import Params
from din.promotion.promote import promote
from tests.factories.run import Run, score

RUN, OTHER, OUTSIDE, CODE = Path("run"), Path("other"), Path("outside"), Path("code")
BUNDLE, FACTS, MANIFEST = Path("models/bundle"), Path("models/bundle/facts.json"), Path("models/bundle/manifest.json")
EVALUATION, PARITY = Path("reports/evaluation.json"), Path("reports/parity.json")


@dataclass
class Site:
    """A finished run as the current directory.

    Attributes:
        params: the current parameters; a fault may change them.
        other: the directory of another finished run, with another model.
        outside: a folder that no command may touch.
        code: the folder of the miniature packages.
    """

    params: Params
    other: Path
    outside: Path
    code: Path

    def change(self, block: str, **settings: Any) -> None:
        """Change parameters of one block."""
        self.params = replace(self.params, **{block: replace(getattr(self.params, block), **settings)})

    def judge(self) -> int:
        """Run the stage `gate` and return its exit code."""
        return exit_code(HERE, "gate", lambda: gate(HERE, self.params, score))

    def promote(self) -> int:
        """Run `din promote` and return its exit code."""
        return exit_code(HERE, "promote", lambda: promote(HERE, self.params, "ann", "a test", score=score))


def build(root: Path, params: Params) -> None:
    """Make miniature packages, two runs with open gates below a root, and a folder outside."""
    (root / CODE / "din").mkdir(parents=True)
    (root / CODE / "din/__init__.py").write_text("")
    for place, noise in ((RUN, 0.2), (OTHER, 0.1)):
        (root / place).mkdir()
        os.chdir(root / place)
        run = Run(HERE, params)
        run.noise = noise
        run.finish()
        gate(HERE, params, score)
    (root / OUTSIDE).mkdir()
    (root / OUTSIDE / "precious.json").write_text("{}")
    shutil.copytree(root / RUN / BUNDLE, root / OUTSIDE / "bundle")


def seal() -> None:
    """Make the bundle's manifest agree with its files again."""
    MANIFEST.unlink(missing_ok=True)
    write_json(MANIFEST, {"files": hash_files(BUNDLE)})


def judge_closed(site: Site) -> None:
    """Run the gate of a candidate that must not pass, for its report."""
    try:
        gate(HERE, site.params, score)
    except GateClosed:
        assert HERE.gate.exists()
    else:
        raise AssertionError("the gate is open")

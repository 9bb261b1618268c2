"""Print how much an owner has to read and know: lines, imports, parameters, commands, pages.

    make house

It exits with 1 if a figure is above its ceiling. A commit that raises a ceiling says in its body what for.
"""

import json
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from din.base.printing import print_table
from din.params.blocks import leaves
from din.params.reading import Params
from din.plugins import PACKAGES

ROOT = Path(__file__).parents[1]
ROOMS = (*PACKAGES, "dags", "benchmarks", "tests")
_POOL = ("din/model/model.py", "din/model/embedding_mlp.py", "din/model/din.py", "din/model/attention.py")
"""The files to read before writing a `pool()`, together with din/ops/histories.py."""
CEILINGS = {
    "lines of din": 26_250,
    "lines of all but benchmarks and tests": 48_050,
    "lines of benchmarks": 8_300,
    "lines of tests": 34_500,
    "lines of the tests' helpers": 4_950,
    "lines that `import din.train.fit` loads": 7_200,
    "lines that `import din.bundle.scorer` loads": 4_600,
    "lines to read to write a `pool()`": 580,
    "lines of the model path and the loop": 1_800,
    "parameters": 129,
    "commands": 28,
    "terms of the glossary": 30,
    "pages": 26,
}
_LOADED = """
import importlib, json, sys
importlib.import_module(sys.argv[1])
files = {getattr(module, "__file__", None) for name, module in sys.modules.items() if name.split(".")[0] == "din"}
print(json.dumps(sorted(filter(None, files))))
"""


def figures() -> dict[str, int]:
    """Return each figure by its name in `CEILINGS`."""
    rooms = lines_of_rooms()
    helpers = [path for path in tracked("tests") if not path.name.startswith("test_")]
    loop = [*tracked("din/model"), *(ROOT / "din/train" / name for name in ("fit.py", "learner.py", "loader.py"))]
    glossary = (ROOT / "docs/concepts.md").read_text(encoding="utf-8")
    return {
        "lines of din": rooms["din"],
        "lines of all but benchmarks and tests": sum(rooms.values()) - rooms["benchmarks"] - rooms["tests"],
        "lines of benchmarks": rooms["benchmarks"],
        "lines of tests": rooms["tests"],
        "lines of the tests' helpers": lines(helpers),
        "lines that `import din.train.fit` loads": lines(loaded_by("din.train.fit")),
        "lines that `import din.bundle.scorer` loads": lines(loaded_by("din.bundle.scorer")),
        "lines to read to write a `pool()`": lines(ROOT / name for name in (*_POOL, "din/ops/histories.py")),
        "lines of the model path and the loop": lines(loop),
        "parameters": len(list(leaves(Params))),
        "commands": commands(),
        "terms of the glossary": len(re.findall(r"^\| (?!---)", glossary, re.MULTILINE)) - glossary.count("\n|---"),
        "pages": len(list((ROOT / "docs").glob("*.md"))),
    }


def lines_of_rooms() -> dict[str, int]:
    """Return the lines of the tracked Python files of each room."""
    return {room: lines(tracked(room)) for room in ROOMS}


def tracked(folder: str) -> list[Path]:
    """Return the Python files of a folder that git tracks."""
    done = subprocess.run(["git", "ls-files", f"{folder}/*.py"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / name for name in done.stdout.split() if (ROOT / name).exists()]


def lines(files: Iterable[Path]) -> int:
    """Return the number of lines of files."""
    return sum(len(path.read_bytes().splitlines()) for path in files)


def loaded_by(module: str) -> list[Path]:
    """Return the files of `din` that a process has loaded after an import of one module."""
    done = subprocess.run([sys.executable, "-c", _LOADED, module], cwd=ROOT, capture_output=True, text=True, check=True)
    return [Path(name) for name in json.loads(done.stdout)]


def commands() -> int:
    """Return the number of `din` commands, those of groups included."""
    from typer.main import get_command

    from din.cli import app

    parsers = getattr(get_command(app), "commands").values()  # noqa: B009  # the type of a command line has no such name
    return sum(len(getattr(parser, "commands", ())) or 1 for parser in parsers)


def main() -> None:
    """Print the figures beside their ceilings, and the lines of each room."""
    measured = figures()
    rows = [[name, now, CEILINGS[name]] for name, now in measured.items()]
    print_table("To read and to know", ["figure", "now", "ceiling"], rows)
    print_table("Lines of Python", ["room", "lines"], [[room, count] for room, count in lines_of_rooms().items()])
    high = [name for name, now in measured.items() if now > CEILINGS[name]]
    sys.exit(f"above their ceilings: {', '.join(high)}" if high else None)


if __name__ == "__main__":
    main()

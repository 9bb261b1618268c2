"""The code blocks of the pages: a reader can copy them."""

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from command_lines import parsed

from din import stage
from din.errors import InputError
from din.params.overlays import edit
from din.params.reading import plain
from din.workspace import Workspace

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.M | re.S)
INDENTED = re.compile(r"(?<=\n\n)((?:    .*\n)+)")
PART = re.compile(r"\s+(?:&&|\|)\s+|;\s+")


@dataclass(frozen=True)
class Block:
    """A block of code, with the page and the line where it begins."""

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def blocks() -> Iterator[Block]:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for found in (*BLOCK.finditer(text), *INDENTED.finditer(text)):
            *language, content = found.groups()
            yield Block(page, text.count("\n", 0, found.start()) + 1, "".join(language), content)


BLOCKS = list(blocks())


def of(*languages: str) -> list[Block]:
    return [block for block in BLOCKS if block.language in languages]


def commands(text: str) -> Iterator[str]:
    """Yield each command of a block, without what precedes it on its line."""
    for line in text.splitlines():
        code, _, _ = line.partition(" # ")
        for part in PART.split(code.removeprefix("$ ").strip()):
            if re.match(r"(din|dvc|make|python) \S", part):
                yield part


COMMANDS = [(str(block), line) for block in of("", "bash") for line in commands(block.text)]


@pytest.mark.parametrize(("place", "line"), COMMANDS)
def test_a_command_exists(place: str, line: str) -> None:
    """Parsers accept it; a target of make, a module and a stage exist."""
    program, *words = line.split()
    if program == "make":
        assert f"\n{words[0]}:" in (ROOT / "Makefile").read_text(encoding="utf-8")
    elif program == "din" or words[:2] == ["-m", "validation"]:
        parsed(line)
    elif program == "python":
        assert words[0] != "-m" or find_spec(words[1])
    elif words[0] == "repro":
        assert set(words[1:]) <= set(stage.stages_of(Workspace(ROOT)))


@pytest.mark.parametrize("block", of("yaml"), ids=str)
def test_parameters_are_valid(block: Block) -> None:
    """A block of whole parameters is accepted by `din params apply`, and any other is YAML."""
    shipped = (ROOT / "params.yaml").read_text(encoding="utf-8")
    overlay: Any = plain(block.text, block)
    if isinstance(overlay, dict) and set(overlay) <= set(plain(shipped, "params.yaml")):
        edit(shipped, overlay, block)


@pytest.mark.parametrize("block", of("python"), ids=str)
def test_python_imports_what_exists(block: Block) -> None:
    """It is Python, and every name that it imports exists."""
    for node in ast.walk(ast.parse(block.text)):
        if isinstance(node, ast.ImportFrom):
            assert node.module
            assert all(hasattr(import_module(node.module), one.name) for one in node.names)


@pytest.mark.parametrize("block", of("json"), ids=str)
def test_json_is_json(block: Block) -> None:
    """A request can be copied."""
    json.loads(block.text)


FAULTS = {
    "din repor": "repor",
    "din report --every": "--every",
    "make tests": "tests",
    "dvc repro trane": "trane",
    "python -m benchmarks.monht": "monht",
}


@pytest.mark.parametrize("line", FAULTS)
def test_an_unknown_word_of_a_command_is_found(line: str) -> None:
    """A command, an option, a target, a stage and a module that do not exist are named."""
    (command,) = commands(f"$ {line}  # as it was\n")
    with pytest.raises(Exception, match=FAULTS[line]):
        test_a_command_exists("a page", command)


def test_an_unknown_parameter_is_found() -> None:
    """A key at the wrong place is refused."""
    with pytest.raises(InputError, match="epochs"):
        test_parameters_are_valid(Block(ROOT, 1, "yaml", "train: {epochs: 3}"))

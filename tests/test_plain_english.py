"""The prose of the repository, without the phrases that make text read as if translated."""

import ast
import io
import re
import subprocess
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

OPENING = re.compile(r"^(Of|As|Those|The same|Its|Whether|Where)\b(?![^.]*\?)")
WHAT_SENTENCE = re.compile(r"(?:^|[.!:] )What\b[^.?!]*(?:[.!]|$)")
ANYWHERE = (
    re.compile(r"\bthose of\b", re.IGNORECASE),
    re.compile(r"(?<!\bthere )\bis no (?!longer\b|more\b|less\b)\w+", re.IGNORECASE),
    re.compile(r"\bstands\b", re.IGNORECASE),
    re.compile(r"\bso many\b", re.IGNORECASE),
    re.compile(r"\bgives up\b", re.IGNORECASE),
    re.compile(r"\bis (not taken|told|said)\b", re.IGNORECASE),
    re.compile(r"(?:^|[\s(+−±<>=≥≤–-])\.(?!0\b)\d+\b"),  # a decimal without its leading zero
)
POSSESSIVE = re.compile(r"_s(_|$)")


@dataclass(frozen=True)
class Passage:
    """A docstring, a comment, a message or a paragraph, as one line of text."""

    path: str
    line: int
    kind: str
    text: str

    def faults(self) -> list[str]:
        """Return one line for each phrase to be rewritten, with its place."""
        patterns = [*ANYWHERE]
        if self.kind == "docstring":
            patterns.append(OPENING)
        if self.kind in ("docstring", "paragraph"):
            patterns.append(WHAT_SENTENCE)
        found = [match for pattern in patterns if (match := pattern.search(self.text))]
        return [f"{self.path}:{self.line} {self.kind}: {match.group()!r} in {self.text[:100]!r}" for match in found]


def python_passages(path: str, source: str) -> Iterator[Passage]:
    """Yield the docstrings and comments of a module, and outside the tests its messages and other strings."""
    tree = ast.parse(source)
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = set()
    for node in ast.walk(tree):
        if isinstance(node, documented) and ast.get_docstring(node):
            expression = node.body[0]
            assert isinstance(expression, ast.Expr)
            docstrings.add(expression.value)
            yield Passage(path, expression.lineno, "docstring", one_line(ast.get_docstring(node)))
    if not path.startswith("tests/"):
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in docstrings:
                yield Passage(path, node.lineno, "string", one_line(node.value))
    yield from comments(path, source)


def comments(path: str, source: str) -> Iterator[Passage]:
    """Yield the comments of a module; those on consecutive lines are one passage."""
    start = end = 0
    words: list[str] = []
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT:
            continue
        if words and token.start[0] > end + 1:
            yield Passage(path, start, "comment", " ".join(words))
            words = []
        if not words:
            start = token.start[0]
        end = token.start[0]
        words.append(token.string.lstrip("# "))
    if words:
        yield Passage(path, start, "comment", " ".join(words))


def c_passages(path: str, source: str) -> Iterator[Passage]:
    """Yield the comments of a C file."""
    for match in re.finditer(r"/\*.*?\*/|(?://[^\n]*\n\s*)+", source, re.DOTALL):
        text = re.sub(r"^\s*(//|/?\*+/?)", "", match.group(), flags=re.MULTILINE)
        yield Passage(path, source.count("\n", 0, match.start()) + 1, "comment", one_line(text))


def markdown_passages(path: str, source: str) -> Iterator[Passage]:
    """Yield the paragraphs, list items and table rows of a page, without its code."""
    text = re.sub(
        r"^```.*?^```", lambda match: "\n" * match.group().count("\n"), source, flags=re.DOTALL | re.MULTILINE
    )
    line = 1
    for block in re.split(r"(\n\s*\n|\n(?=\s*(?:[-*|#]|\d+\.) ?))", text):
        if block.strip():
            words = re.sub(r"`[^`]*`|\]\([^)]*\)", "`code`", block.strip()).lstrip("#-*|0123456789. ")
            yield Passage(path, line, "paragraph", one_line(words))
        line += block.count("\n")


READERS = {".py": python_passages, ".c": c_passages, ".h": c_passages, ".md": markdown_passages}


def one_line(text: str | None) -> str:
    """Return the text with every run of white space as one space."""
    return " ".join((text or "").split())


@cache
def tracked(*patterns: str) -> list[str]:
    """Return the tracked files that match some patterns and exist."""
    done = subprocess.run(["git", "ls-files", *patterns], cwd=ROOT, capture_output=True, text=True, check=True)
    return [name for name in done.stdout.splitlines() if (ROOT / name).exists()]


@cache
def passages() -> list[Passage]:
    """Return all passages of the repository."""
    names = tracked("*.py", "*.c", "*.h", "README.md", "CONTRIBUTING.md", "docs/*.md")
    return [
        passage
        for name in names
        if name != "tests/test_plain_english.py"  # it quotes the phrases
        for passage in READERS[Path(name).suffix](name, (ROOT / name).read_text(encoding="utf-8"))
    ]


def defined_tests(path: str) -> Iterator[ast.FunctionDef]:
    """Yield the tests of a module."""
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            yield node


def test_prose_has_no_phrase_to_rewrite() -> None:
    """Docstrings, comments, messages and pages hold none of the phrases that `Passage.faults` finds."""
    found = [fault for passage in passages() for fault in passage.faults()]
    assert found == []


def test_every_test_has_a_name_and_a_docstring_that_read_well() -> None:
    """A test has a docstring of one line, and no possessive `_s` in its name."""
    found = []
    for path in tracked("tests/*.py"):
        for function in defined_tests(path):
            docstring = ast.get_docstring(function)
            if docstring is None or "\n" in docstring or POSSESSIVE.search(function.name):
                found.append(f"{path}:{function.lineno} {function.name}")
    assert found == []


PLANTED = {
    "module.py": [
        '"""Of one line a row."""',
        '"""Whether it is gone."""',
        '"""Rows. What is left stays."""',
        "# the rows and\n# those of others",
        'raise ValueError(f"{name} is no column of {path}")',
        "def f():\n    '''Its weights.'''",
    ],
    "tests/module.py": ["x = 1  # after so many steps", '"""An AUC of .75."""'],
    "source.c": ["/* The sum stands\n * here. */", "// it gives up\nint x;"],
    "page.md": ["# Page\n\nA record is not\ntaken.", "- What fails is repeated.", "| a | is no number |"],
}
SOUND = {
    "module.py": [
        '"""Return what is left."""',
        '"""What is left? Nothing."""',
        '"""The value is no longer read; it is no more than 3, and there is no other."""',
        "x = 1  # understands; 0.5, v1.5 and module.7 are fine",
    ],
    "tests/module.py": ["x = 'so many'"],
    "source.c": ["int stands; /* It is a sum. */"],
    "page.md": ["# What is it?\n\nA `those of` in code.\n\n```\nso many\n```"],
}


def faults_of(path: str, source: str) -> list[str]:
    return [fault for passage in READERS[Path(path).suffix](path, source) for fault in passage.faults()]


@pytest.mark.parametrize(("path", "source"), [(path, source) for path in PLANTED for source in PLANTED[path]])
def test_a_planted_phrase_is_found(path: str, source: str) -> None:
    """The check finds each planted phrase once."""
    assert len(faults_of(path, source)) == 1


@pytest.mark.parametrize(("path", "source"), [(path, source) for path in SOUND for source in SOUND[path]])
def test_plain_prose_passes(path: str, source: str) -> None:
    """Questions, code, and words that only contain a pattern raise no false alarm."""
    assert faults_of(path, source) == []

"""Render the files of a repository: the template's, with the guessed parameters and their reasons in params.yaml.

The template is din/init/template. Its dvc.yaml is this repository's own (a link in a checkout, a copy in an installed
package), and params.yaml is written from the defaults, so there is one pipeline and one list of parameters.
"""

import json
from collections.abc import Sequence
from importlib.metadata import Distribution, distribution
from itertools import chain
from pathlib import Path
from textwrap import wrap
from typing import Any

from ruamel.yaml import YAML

from din.init.split import Set
from din.params.defaults import defaults
from din.params.overlays import edit, nested
from din.params.schema import schema

TEMPLATE = Path(__file__).parent / "template"
PARAMS = "params.yaml"
FILES = {
    "dvc.yaml": "stages.yaml",
    "dags/din_pipeline.py": "dag.py",
    "README.md": "README.md",
    "requirements.txt": "requirements.txt",
    ".github/workflows/ctr.yml": "workflow.yml",
    ".airflowignore": "airflowignore",
    ".dvc/config": "dvc-config",
    ".dvcignore": "dvcignore",
    ".gitignore": "gitignore",
}
"""The template's files, each with its name there, where git, DVC and Airflow must not heed it."""
SCHEMA = "params.schema.json"
_WIDTH = 118


def render(sets: Sequence[Set]) -> dict[str, str]:
    """Return the text of every file by its path.

    Raises:
        InputError: a parameter is unknown, or two contradict each other.
    """
    files = {PARAMS: parameters(sets)}
    files |= {path: (TEMPLATE / name).read_text(encoding="utf-8") for path, name in FILES.items()}
    files[SCHEMA] = json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"
    values = {one.key: one.value for one in sets}
    installed = distribution("din-ctr")
    words = {
        "@@version@@": installed.version,
        "@@requirement@@": requirement(installed),
        "@@model@@": str(values["promote.model_name"]),
        "@@events@@": str(values["fetch.table.events"]),
    }
    for name in ("README.md", "requirements.txt"):
        for mark, word in words.items():
            files[name] = files[name].replace(mark, word)
    return files


def requirement(installed: Distribution) -> str:
    """Return the line of requirements.txt: the version, or the address that this copy of the package came from.

    pip notes the address of what it did not take from an index. Source:
    https://packaging.python.org/en/latest/specifications/direct-url
    """
    name = f"{installed.name}[train]"
    noted = installed.read_text("direct_url.json")
    if noted is None:
        return f"{name}=={installed.version}"
    origin = json.loads(noted)
    url = origin["url"]
    if "vcs_info" in origin:
        url = f"{origin['vcs_info']['vcs']}+{url}@{origin['vcs_info']['commit_id']}"
    return f"{name} @ {url}"


def parameters(sets: Sequence[Set]) -> str:
    """Return the text of params.yaml with some values, and above each the reason for it."""
    edited = edit(defaults(SCHEMA), nested({one.key: one.value for one in sets}), "the guess").text
    lines = edited.splitlines()
    keys = YAML().load(edited)
    for one in sorted(sets, key=lambda one: -_place(keys, one.key)[0]):
        line, column = _place(keys, one.key)
        lines[line:line] = [" " * column + comment for comment in _comments(one.lines, _WIDTH - column)]
    return "\n".join(lines) + "\n"


def _place(keys: Any, key: str) -> tuple[int, int]:
    """Return the line and the column of a dotted key."""
    *parents, name = key.split(".")
    for parent in parents:
        keys = keys[parent]
    return keys.lc.key(name)


def _comments(reason: list[str], width: int) -> list[str]:
    """Return a reason as lines of comments."""
    head = "# guessed: "
    wrapped = [wrap(text, width - len(head), subsequent_indent=" ", break_on_hyphens=False) for text in reason]
    return [f"{head if number == 0 else '#':{len(head)}}{line}" for number, line in enumerate(chain(*wrapped))]

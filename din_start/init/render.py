"""Render the files of a repository: the template's, with the guessed parameters and their reasons in params.yaml.

The template is din_start/init/template. Its dvc.yaml is this repository's own (a link in a checkout, a copy in an
installed package), and params.yaml is written from the defaults, so there is one pipeline and one list of parameters.
"""

import json
from collections.abc import Mapping
from functools import reduce
from importlib.metadata import Distribution, distribution
from itertools import chain
from operator import getitem
from pathlib import Path
from string import Template
from textwrap import wrap

from ruamel.yaml import YAML

from din.params.overlays import edit, nested
from din_start.init.choice import Choice
from din_start.params.defaults import defaults
from din_start.params.json_schema import schema

TEMPLATE = Path(__file__).parent / "template"
PARAMS = "params.yaml"
FILES = {
    "dvc.yaml": "stages.yaml",
    "dags/din_pipeline.py": "dag.py",
    "README.md": "README.md",
    "requirements.txt": "requirements.txt",
    "requirements-dev.txt": "requirements-dev.txt",
    "Makefile": "Makefile",
    "ruff.toml": "lint.toml",
    "plugins/README.md": "plugins.md",
    "tests/test_plugins.py": "tests.py",
    ".github/workflows/ctr.yml": "workflow.yml",
    ".airflowignore": "airflowignore",
    ".dvc/config": "dvc-config",
    ".dvcignore": "dvcignore",
    ".gitignore": "gitignore",
}
"""The template's files, each with its name there, where git, DVC, Airflow and Ruff must not heed it."""
SCHEMA = "params.schema.json"
_WIDTH = 118


def render(guessed: Mapping[str, Choice]) -> dict[str, str]:
    """Return the text of every file by its path.

    Raises:
        InputError: a parameter is unknown, or two contradict each other.
    """
    files = {path: (TEMPLATE / name).read_text(encoding="utf-8") for path, name in FILES.items()}
    installed = distribution("din-ctr")
    words = {
        "version": installed.version,
        "requirement": requirement(installed),
        "model": guessed["promote.model_name"].value,
        "events": guessed[key].value
        if (key := "fetch.table.events") in guessed
        else guessed["fetch.options"].value["path"],
    }
    for name in ("README.md", "requirements.txt"):
        files[name] = Template(files[name]).substitute(words)
    return files | {PARAMS: parameters(guessed), SCHEMA: json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"}


def requirement(installed: Distribution) -> str:
    """Return the line of requirements.txt: the version, or the address that this copy of the package came from.

    pip notes the address of what it did not take from an index. Source:
    https://packaging.python.org/en/latest/specifications/direct-url
    """
    name = f"{installed.name}[tune]"
    noted = installed.read_text("direct_url.json")
    if noted is None:
        return f"{name}=={installed.version}"
    origin = json.loads(noted)
    url = origin["url"]
    if "vcs_info" in origin:
        url = f"{origin['vcs_info']['vcs']}+{url}@{origin['vcs_info']['commit_id']}"
    return f"{name} @ {url}"


def parameters(guessed: Mapping[str, Choice]) -> str:
    """Return the text of params.yaml with some values, and above each the reason for it."""
    text = edit(defaults(SCHEMA), nested({key: choice.value for key, choice in guessed.items()}), "the guess").text
    loaded = YAML().load(text)
    places: dict[tuple[int, int], Choice] = {}
    for key, choice in guessed.items():
        *parents, name = key.split(".")
        places[reduce(getitem, parents, loaded).lc.key(name)] = choice
    lines = text.splitlines()
    for line, column in sorted(places, reverse=True):
        comments = _comments(places[line, column].lines, _WIDTH - column)
        lines[line:line] = [" " * column + comment for comment in comments]
    return "\n".join(lines) + "\n"


def _comments(reason: list[str], width: int) -> list[str]:
    """Return a reason as lines of comments."""
    head = "# guessed: "
    wrapped = [wrap(text, width - len(head), subsequent_indent=" ", break_on_hyphens=False) for text in reason]
    return [f"{head if number == 0 else '#':{len(head)}}{line}" for number, line in enumerate(chain(*wrapped))]

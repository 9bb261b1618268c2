"""The text of params.yaml: every key with its default, and its doc as a comment."""

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from din.base.errors import InputError
from din.params.blocks import Block, parameters
from din.params.overlays import COMMENT_COLUMN
from din.params.reading import Params, plain

SCHEMA_LINE = "# yaml-language-server: $schema="
_HEAD = """
# Every parameter of the pipeline, one block per stage. Every key is present: `dvc exp run -S train.learning.epochs=3`
# works for all.
"""


def defaults(schema: str = "docs/params.schema.json", params: Params | None = None) -> str:
    """Return the text of a parameter file that editors check against the JSON Schema at a path.

    Args:
        params: other values than the defaults.
    """
    return SCHEMA_LINE + schema + _HEAD + "".join(f"{line}\n" for line in _lines(params or Params(), ""))


def _lines(block: Block, indent: str) -> Iterator[str]:
    """Yield the lines of a block's keys, with an empty one before each of the outermost blocks."""
    for name, parameter in parameters(type(block)).items():
        value = getattr(block, name)
        if not indent:
            yield ""
        if isinstance(value, Block):
            yield commented(f"{indent}{name}:", parameter.doc)
            yield from _lines(value, f"{indent}  ")
        else:
            yield commented(f"{indent}{name}: {written(value)}", parameter.doc)


def commented(line: str, doc: str) -> str:
    """Return a line of params.yaml, with its comment, if it has one, at `COMMENT_COLUMN`."""
    return f"{line:{COMMENT_COLUMN - 1}} # {doc}" if doc else line


def written(value: Any) -> str:
    """Return a value as params.yaml has it: on one line, and text in quotes only if YAML would read something else."""
    match value:
        case str():
            return value if _is_plain(value) else json.dumps(value, ensure_ascii=False)
        case float():
            return f"{Decimal(repr(value)):f}"  # YAML 1.1 would read 1e-05 as text
        case tuple():
            return f"[{', '.join(map(written, value))}]"
        case dict():
            return f"{{{', '.join(f'{written(key)}: {written(part)}' for key, part in value.items())}}}"
        case _:
            return json.dumps(value)


def _is_plain(text: str) -> bool:
    """Return whether YAML reads the text as it is, also between brackets."""
    try:
        return plain(f"[{text}]", text) == [text]
    except InputError:
        return False

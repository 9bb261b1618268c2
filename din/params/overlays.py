"""Overlays: files with only the parameters that differ from params.yaml, nested in the same way.

    train:
      embedding_std: 0.01

A block is merged, and so is an optional one that is set, such as `fetch.simulate.daily`. Any other value replaces the
old one as a whole, so a mapping such as `featurize.fields` is never merged. Unknown keys are refused before anything
changes, and the result must be valid as a whole.
"""

import json
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from datetime import date
from functools import reduce
from io import StringIO
from operator import getitem
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from din.base import documents
from din.base.errors import InputError, shown
from din.base.git import absolute
from din.params.blocks import parameters, parse
from din.params.reading import Params, path_keys, plain, read_text

COMMENT_COLUMN = 34
"""The column in which the comments of params.yaml begin."""


@dataclass(frozen=True)
class Change:
    """A parameter that an overlay changes."""

    key: str
    old: Any
    new: Any

    def __str__(self) -> str:
        return f"{self.key}: {_json(self.old)} → {_json(self.new)}"


@dataclass(frozen=True)
class Edit:
    """The text of a parameter file after an overlay, its parameters, and the changes that the overlay made."""

    text: str
    params: Params
    changes: tuple[Change, ...]


def read_overlay(path: Path) -> Mapping[str, Any]:
    """Read an overlay's file.

    Raises:
        InputError: the file is missing, too large or not YAML, or it holds an unknown key.
    """
    text = read_text(path, "expected an overlay, e.g. docs/examples/kuairand-pure.yaml")
    documents.check_plain(plain(text, path), str(path))
    overlay = _editor().load(text)
    dict(_values(Params, overlay, {}, path))
    return overlay


def edit(text: str, overlay: Mapping[str, Any], where: object) -> Edit:
    """Write an overlay into the text of a parameter file, keeping its comments.

    Args:
        text: a valid parameter file.
        overlay: nested values.
        where: the source of the overlay, for errors.

    Raises:
        InputError: the overlay holds an unknown key or a value of a wrong type, or it leads to a conflict.
    """
    editor = _editor()
    params = editor.load(text)
    changes = []
    for key, value in _values(Params, overlay, params, where):
        block, name = _find(params, key)
        old = block.get(name)  # an optional block may lack it
        if _json(old) != _json(value):
            changes.append(Change(key, deepcopy(old), value))
            _set(block, name, value)
    written = StringIO()
    editor.dump(params, written)
    parsed = parse(Params, plain(written.getvalue(), where), where)
    return Edit(written.getvalue(), parsed, tuple(changes))


def overlaid(params: Mapping[str, Any], overlay: Mapping[str, Any], where: object) -> dict[str, Any]:
    """Return plain parameters with an overlay's values. Types are not checked; see `parse`.

    Raises:
        InputError: the overlay holds an unknown key.
    """
    changed = deepcopy(dict(params))
    for key, value in _values(Params, overlay, params, where):
        block, name = _find(changed, key)
        block[name] = value
    return changed


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values by dotted key as nested mappings.

    Raises:
        InputError: a key has both a value and keys below it.
    """
    result: dict[str, Any] = {}
    for key, value in values.items():
        *parents, name = key.split(".")
        block = result
        for parent in parents:
            block = block.setdefault(parent, {})
            if not isinstance(block, dict):
                raise InputError(f"{shown(parent)} is {shown(block)}, but {shown(key)} is given too; drop one of them")
        block[name] = value
    return result


def make_paths_absolute(params: Any, repository: str) -> None:
    """Make the relative paths in plain parameters absolute, in place, so that they mean the same in any folder.

    Args:
        params: nested values. A block that is missing or not a mapping is skipped.
        repository: the folder in which relative paths start, resolved. If it is a URL, paths are left unchanged.
    """
    for key in path_keys():
        *parents, name = key.split(".")
        block = params
        for parent in parents:
            block = block.get(parent) if isinstance(block, dict) else None
        if isinstance(block, dict) and block.get(name):
            block[name] = ",".join(absolute(part.strip(), repository) for part in str(block[name]).split(","))


def _values(
    block: type[Any], overlay: Any, old: Mapping[str, Any], where: object, prefix: str = ""
) -> Iterator[tuple[str, Any]]:
    """Yield dotted keys with the values that an overlay gives them in a block, whose values are `old`."""
    place = prefix.removesuffix(".") or "the overlay"
    if not isinstance(overlay, Mapping):
        raise InputError(f"{where}: {place} is {shown(overlay)}; expected keys with values")
    keys = parameters(block)
    for name, value in overlay.items():
        if name not in keys:
            raise InputError(f"{where}: key {shown(name)} is unknown in {place}; valid keys: {', '.join(keys)}")
        before = old.get(name) or {}
        below = keys[name].block
        if before and isinstance(value, Mapping):
            below = below or keys[name].optional_block
        if below:
            yield from _values(below, value, before, where, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _find(params: Any, key: str) -> tuple[Any, str]:
    *parents, name = key.split(".")
    return reduce(getitem, parents, params), name


def _set(block: CommentedMap, name: str, value: Any) -> None:
    """Set a key and keep its comment, in its column if there is room."""
    block[name] = None  # otherwise ruamel would quote a text like the old one
    block[name] = _styled(value)
    for token in block.ca.items.get(name, ()):
        if hasattr(token, "column"):
            token.column = COMMENT_COLUMN


def _styled(value: Any) -> Any:
    """Copy a value without its comments.

    Lists are written on one line, and mappings as in the overlay. Text is quoted if it holds control characters, or a
    colon, which has another meaning between braces. DVC reads days as text only.
    """
    if isinstance(value, Mapping):
        copied = CommentedMap((_styled(key), _styled(part)) for key, part in value.items())
        if not isinstance(value, CommentedMap) or value.fa.flow_style():
            copied.fa.set_flow_style()
        return copied
    if isinstance(value, list | tuple):
        copied = CommentedSeq(map(_styled, value))
        copied.fa.set_flow_style()
        return copied
    if isinstance(value, date):
        return DoubleQuotedScalarString(value.isoformat())
    if isinstance(value, str) and (not value.isprintable() or ":" in value):
        return DoubleQuotedScalarString(value)
    return value


def _editor() -> YAML:
    """Return a reader and writer that keeps comments, quotes and the order of keys."""
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096
    yaml.representer.add_representer(
        type(None), lambda representer, _: representer.represent_scalar("tag:yaml.org,2002:null", "null")
    )
    return yaml


def _json(value: Any) -> str:
    return json.dumps(value, default=str, ensure_ascii=False)

"""Pages for the documentation: every parameter with its type, default and meaning, and every key of the reports."""

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import TypeAdapter

from din.model import MODELS
from din.params.blocks import leaves
from din.params.reading import Params
from din.params.search import Between, OneOf, Search
from din_start.params.defaults import written
from din_start.params.json_schema import schema


def reference() -> str:
    """Return the page in Markdown, with a section for each block and a table of its keys."""
    built = schema()
    lines = [
        "# Parameters",
        "",
        "`params.yaml` holds all of them, one block per stage. An unknown key, or a value of a wrong type, is an error",
        "that names the valid ones (exit code 2). `din params apply` writes several at once, and",
        "`dvc exp run -S train.learning.epochs=3` tries one.",
    ]
    for name, values in vars(Params()).items():
        property_ = built["properties"][name]
        if "$ref" in property_:
            lines += _block(built, property_, values, name)
        else:
            lines += ["", f"## {name}", "", f"{_type(property_)}: {property_['description']}"]
    lines += ["", "## What `din tune` tries", "", "| key | values | models |", "|---|---|---|"]
    searches = {key: parameter.search for key, parameter in leaves(Params).items() if parameter.search}
    lines += [f"| `{key}` | {in_words(search)} | {_models(key)} |" for key, search in searches.items()]
    return "\n".join(lines) + "\n"


def in_words(search: Search) -> str:
    """Return the values that a search tries, as text."""
    match search:
        case Between():
            return f"{written(search.low)} to {written(search.high)}{', logarithmic' if search.log else ''}"
        case OneOf():
            return ", ".join(map(written, search.values))
        case _:
            raise NotImplementedError(search)


def _models(key: str) -> str:
    """Return the names of the models that read a key, or "all"."""
    readers = [name for name in MODELS if MODELS.reads(name, key.removeprefix("train."))]
    return "all" if readers == [*MODELS] else ", ".join(readers)


def schema_page(documents: Mapping[str, Any]) -> str:
    """Return a page in Markdown with the keys of JSON documents.

    Args:
        documents: maps their paths to their types.
    """
    lines = [
        "# Reports",
        "",
        "Stages write their results as JSON. Every document is read strictly: an unknown or missing key is an error.",
    ]
    for path, kind in documents.items():
        built = TypeAdapter(kind).json_schema()
        lines += ["", f"## {path}", "", *_keys(built), ""]
        for name, part in built.get("$defs", {}).items():
            lines += ["", f"**{name}**. {part.get('description', '').partition(chr(10))[0]}", "", *_keys(part)]
    return "\n".join(lines) + "\n"


def _keys(part: dict[str, Any]) -> Iterator[str]:
    """Yield the table of a document's keys, or the type of a part that has none."""
    if "properties" not in part:
        yield _type(part)
        return
    yield from ("| key | type |", "|---|---|")
    for name, property_ in part["properties"].items():
        yield f"| `{name}` | {_type(property_)} |"


def _block(built: dict[str, Any], property_: dict[str, Any], values: Any, key: str) -> Iterator[str]:
    block = _resolved(built, property_)
    yield from ("", f"## {key}", "", block["description"], "")
    rows = []
    below = []
    for name, child in block["properties"].items():
        if "properties" in _resolved(built, child):
            below.append(name)
        else:
            cells = (f"`{name}`", _type(child), f"`{written(getattr(values, name))}`", child.get("description", ""))
            rows.append(" | ".join(cell.replace("|", "\\|") for cell in cells))
    if rows:
        yield from ("| key | type | default | meaning |", "|---|---|---|---|", *(f"| {row} |" for row in rows))
    for name in below:
        yield from _block(built, block["properties"][name], getattr(values, name), f"{key}.{name}")


def _resolved(built: dict[str, Any], property_: dict[str, Any]) -> dict[str, Any]:
    return built["$defs"][property_["$ref"].rpartition("/")[2]] if "$ref" in property_ else property_


def _type(property_: dict[str, Any]) -> str:
    if "$ref" in property_:
        return property_["$ref"].rpartition("/")[2]
    if "enum" in property_:
        return ", ".join(f"`{written(value)}`" for value in property_["enum"])
    if "const" in property_:
        return f"`{property_['const']}`"
    if "anyOf" in property_:
        return " or ".join(dict.fromkeys(_type(variant) for variant in property_["anyOf"]))
    words: dict[str, str] = {"object": "mapping", "array": "list", "string": "text", "integer": "whole number"}
    kind: str = property_.get("type", "value")
    name = words.get(kind, kind)
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    bounds = [f"{sign} {property_[bound]:g}" for bound, sign in signs.items() if bound in property_]
    return " ".join([name, *([", ".join(bounds)] if bounds else [])])

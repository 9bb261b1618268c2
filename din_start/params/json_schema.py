"""A JSON Schema of params.yaml, for editors: types, bounds and choices of each key, and its doc as description.

The schema does not express conflicts between keys, which `load` finds. `python -m din_start.params.json_schema` writes
that of the repository here, with the options of its plugins.
"""

import json
import sys
from collections.abc import Iterable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema
from typing_extensions import override

from din.cli.run import answering, params_here
from din.data import SOURCES
from din.model import MODELS
from din.neighbours import PREFIX
from din.params.blocks import Block, parameters
from din.params.reading import Params
from din.plugins import GROUP
from din.release.gates import GATES
from din.seams import Seam


def schema(plugins: Iterable[str] = ()) -> dict[str, Any]:
    """Return the schema, which requires every key.

    Args:
        plugins: the modules whose sources, models and gates have their options in it.
    """
    built = TypeAdapter(Params).json_schema(schema_generator=_OfTheFile)
    _describe(built, built, Params)
    parts = built["$defs"]
    for module in plugins:
        for block, key, seam in (("Fetch", "source", SOURCES), ("ModelParams", "name", MODELS)):
            for name, options in _options(built, seam, module).items():
                is_chosen = {"if": {"properties": {key: {"const": name}}}, "then": {"properties": {"options": options}}}
                parts[block].setdefault("allOf", []).append(is_chosen)
        parts["Gate"]["properties"]["options"].setdefault("properties", {}).update(_options(built, GATES, module))
    return {"$schema": GenerateJsonSchema.schema_dialect, **built}


class _OfTheFile(GenerateJsonSchema):
    """A generator that requires all keys, and leaves out their defaults and titles, which would repeat their names."""

    @override
    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    @override
    def dataclass_schema(self, schema: Any) -> dict[str, Any]:
        """Allow mappings that are not blocks to omit keys, which then have their defaults."""
        built = super().dataclass_schema(schema)
        if not issubclass(schema["cls"], Block):
            built["required"] = [
                field["name"] for field in schema["schema"]["fields"] if field["schema"]["type"] != "default"
            ]
        return built

    @override
    def field_is_required(self, field: Any, total: bool) -> bool:
        return True

    @override
    def default_schema(self, schema: Any) -> dict[str, Any]:
        return self.generate_inner(schema["schema"])


def _describe(built: dict[str, Any], written: dict[str, Any], block: type[Block]) -> None:
    """Add the doc of each key of a block, and of the blocks below it, to their schemas."""
    for name, parameter in parameters(block).items():
        if parameter.doc:
            written["properties"][name]["description"] = parameter.doc
        if parameter.block:
            _describe(built, built["$defs"][parameter.block.__name__], parameter.block)


def _options(built: dict[str, Any], seam: Seam[Any], module: str) -> dict[str, Any]:
    """Return the schemas of the options of what a module registered, by its names. Their parts are added to `built`."""
    schemas = {}
    for name in seam.of_module(module):
        if options := seam[name].options:
            part = TypeAdapter(options).json_schema(schema_generator=_OfTheFile)
            built["$defs"] |= part.pop("$defs", {})
            for key, parameter in parameters(options).items():
                if parameter.doc:
                    part["properties"][key]["description"] = parameter.doc
            schemas[name] = part
    return schemas


if __name__ == "__main__":
    with answering("train"):
        params_here()
    modules = [name for name in sys.modules if name.startswith(PREFIX)]
    modules += [entry.module for entry in entry_points(group=GROUP)]
    text = json.dumps(schema(modules), indent=2, ensure_ascii=False) + "\n"
    Path("params.schema.json").write_text(text, encoding="utf-8")

"""A JSON Schema of params.yaml, for editors: types, bounds and choices of each key, and its comment as description.

The schema does not express conflicts between keys, which `load` finds.
"""

from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap

from din.params.reading import Params


def schema(text: str) -> dict[str, Any]:
    """Return the schema, with descriptions from the comments of a parameter file's text."""
    built = TypeAdapter(Params).json_schema(schema_generator=_WithoutTitles)
    _describe(built, built, YAML().load(text))
    return {"$schema": GenerateJsonSchema.schema_dialect, **built}


class _WithoutTitles(GenerateJsonSchema):
    """A generator that leaves out titles, which would repeat the names of keys."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def _describe(built: dict[str, Any], block: dict[str, Any], values: CommentedMap) -> None:
    """Add the comment of each key of a block, and of the blocks below it."""
    for name, property_ in block["properties"].items():
        comment = _comment(values, name)
        if comment:
            property_["description"] = comment
        if "$ref" in property_:
            _describe(built, built["$defs"][property_["$ref"].rpartition("/")[2]], values[name])


def _comment(block: CommentedMap, name: str) -> str:
    """Return the comment on the line of a key, or nothing."""
    tokens = [token for token in block.ca.items.get(name, ()) if hasattr(token, "value")]  # lists are lines above keys
    line = tokens[0].value.partition("\n")[0] if tokens else ""
    return line.removeprefix("#").strip()

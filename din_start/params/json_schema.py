"""A JSON Schema of params.yaml, for editors: types, bounds and choices of each key, and its doc as description.

The schema does not express conflicts between keys, which `load` finds.
"""

from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema
from typing_extensions import override

from din.params.blocks import Block, parameters
from din.params.reading import Params


def schema() -> dict[str, Any]:
    """Return the schema, which requires every key."""
    built = TypeAdapter(Params).json_schema(schema_generator=_OfTheFile)
    _describe(built, built, Params)
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

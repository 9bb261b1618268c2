"""What every block of parameters has in common: the strict base class and the types of values."""

from typing import Annotated

from pydantic import Field, PositiveInt

from din import documents

Share = Annotated[float, Field(ge=0, le=1)]
Fraction = Annotated[float, Field(gt=0, lt=1)]
Scalar = str | int | float | bool | None
Values = Annotated[tuple[Scalar, ...], Field(min_length=1)]
Layers = Annotated[tuple[PositiveInt, ...], Field(min_length=1)]


class Block:
    """A block of params.yaml: a frozen dataclass without defaults, so that every key is present in the file."""

    __pydantic_config__ = documents.STRICT

"""Types for names that come from outside; a value of such a type is always valid.

    Digest      64 hex digits: a sha256
    Version     the digest of a bundle's manifest, which names the bundle
    Commit      the full id of a git commit
    ModelName   one path segment: a namespace of the registry
    RunId       one path segment: the folder of a run's files in the registry
    FileName    a relative path inside a bundle or a run's folder
    Line, Moment, Day     text for people, a time and a date, for use in documents

The first six are strings, so they print, compare and serialise as strings. Constructing one from invalid text raises
InputError. Paths and keys are built from these types only, so a name such as `..` or an absolute path never reaches a
file system.
"""

import re
from datetime import date, datetime
from typing import Annotated, Any, ClassVar, Self

from pydantic import AfterValidator, GetCoreSchemaHandler, StringConstraints
from pydantic_core import CoreSchema, core_schema

from din.base.errors import InputError, shown

_CONTROL = r"\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069"
"""Control characters, the two line separators, and marks that reverse text, for a character class of a pattern."""
_SEGMENT = r"\w[\w.-]{0,127}"


class Name(str):
    """Text that matches `form`, which subclasses define."""

    __slots__ = ()
    form: ClassVar[re.Pattern[str]]
    subject: ClassVar[str]
    expected: ClassVar[str]

    def __new__(cls, text: object) -> Self:
        """Check the text.

        Raises:
            InputError: the value is not text or does not match.
        """
        if not isinstance(text, str) or not cls.form.fullmatch(text):
            raise InputError(f"{cls.subject}: {shown(text)}; expected {cls.expected}")
        return super().__new__(cls, text)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Let a document declare values of this type."""
        return core_schema.no_info_after_validator_function(cls._parsed, core_schema.str_schema(strict=True))

    @classmethod
    def _parsed(cls, text: str) -> Self:
        try:
            return cls(text)
        except InputError:
            raise ValueError(f"expected {cls.expected}") from None


class Digest(Name):
    """A sha256 as 64 lower-case hex digits."""

    __slots__ = ()
    form = re.compile(r"[0-9a-f]{64}")
    subject = "a sha256"
    expected = "64 hex digits"


class Version(Digest):
    """The version of a bundle: the sha256 of its manifest."""

    __slots__ = ()
    subject = "a bundle's version"


class Commit(Name):
    """The full id of a git commit."""

    __slots__ = ()
    form = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
    subject = "a commit"
    expected = "its full id, 40 or 64 hex digits"


class ModelName(Name):
    """The name of a model, which is its namespace in the registry."""

    __slots__ = ()
    form = re.compile(_SEGMENT, re.ASCII)
    subject = "a model's name (promote.model_name, --model)"
    expected = "at most 128 letters, digits, '.', '_' and '-', a letter, digit or '_' first"


class RunId(Name):
    """The id of a run, which names its folder in the registry."""

    __slots__ = ()
    form = ModelName.form
    subject = "a run's id (DIN_RUN_ID)"
    expected = ModelName.expected

    @classmethod
    def of(cls, text: str) -> Self:
        """Turn a scheduler's id into a name: characters that a name can't hold, e.g. colons, become `-`.

        Raises:
            InputError: the id is empty, begins with a dot, or is too long.
        """
        return cls(re.sub(r"[^\w.-]+", "-", text, flags=re.ASCII).lstrip("-"))


class FileName(Name):
    """A relative POSIX path. No segment is empty, begins with a dot, or holds a backslash or control character.

    It does not end in `#` and a number, like unfinished writes in a local registry.
    """

    __slots__ = ()
    form = re.compile(
        rf"(?!.{{513}})(?!.*#\d+$)[^/\\{_CONTROL}.][^/\\{_CONTROL}]*(/[^/\\{_CONTROL}.][^/\\{_CONTROL}]*)*"
    )
    subject = "a file's name"
    expected = "a plain relative path of at most 512 characters, not ending in # and a number"


def _moment(text: str) -> str:
    if datetime.fromisoformat(text).tzinfo is None:
        raise ValueError("expected a time with its zone")
    return text


def _day(text: str) -> str:
    date.fromisoformat(text)
    return text


Line = Annotated[str, StringConstraints(max_length=1000, pattern=rf"^[^{_CONTROL}]*$")]
"""Text for people, on one line and without control characters."""
Moment = Annotated[str, AfterValidator(_moment)]
"""A time in ISO 8601, with its zone."""
Day = Annotated[str, AfterValidator(_day)]
"""A date as YYYY-MM-DD."""

"""Read the beginning of a log, and find out how its files are written.

The reader of `din fetch` reads the first rows of a few files, so what is seen here is what a fetch sees.
"""

import csv
import re
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property

import pyarrow as pa
import pyarrow.compute as pc

from din.errors import InputError, shown
from din.sources import files, readers, values
from din.sources.files import File
from din.sources.readers import COMMON, Dialect
from din.sources.rows import Rows, Store
from din.workspace import Workspace

_SNIFFED = 1 << 18  # bytes
csv.field_size_limit(_SNIFFED)  # by default, a cell of half that size is an error
_ROWS = 200_000
_FILES = 3
_DELIMITERS = (";", "\t", "|", ",")
_LIST_SEPARATORS = ("|", ";", ",")
_NUMBER_OR_DATE = r"[-+]?[\d.,:/ TZ-]*\d[\d.,:/ TZ-]*"
_GERMAN_NUMBER = r"^-?[0-9]+,[0-9]+$"
_BLANK = r"[ '\x{a0}\x{202f}]"
_CURRENCY = r"(\p{Sc}|EUR|USD|GBP|CHF|JPY|PLN|CZK|SEK|NOK|DKK|zł|Kč|kr\.?)"
_AMOUNT = (
    rf"^({_CURRENCY}{_BLANK}*-?[0-9][0-9.,]*|-?[0-9][0-9.,]*(,-)?{_BLANK}*{_CURRENCY}"
    rf"|-?[0-9]{{1,3}}((\.|{_BLANK})[0-9]{{3}})+,[0-9]+|-?[0-9]{{1,3}}((,|{_BLANK})[0-9]{{3}})+\.[0-9]+)$"
)
_PLAIN_NUMBER = r"^-?[0-9]+(\.[0-9]+)?$"
_MOST = 0.9  # share of the values, which a few others don't change
_MANY = 0.3  # share of the values that are lists, or numbers with a comma


@dataclass(frozen=True)
class Choice:
    """A value of a parameter, and the reason for it."""

    value: str
    reason: str


@dataclass(frozen=True)
class Column:
    """A column of the first rows: its name in the files, and its values in the type that a fetch would give them."""

    name: str
    values: pa.ChunkedArray

    @cached_property
    def distinct(self) -> int:
        """The number of different values."""
        return len(self.values.unique().drop_null()) if not self.is_nested else 0

    @cached_property
    def missing(self) -> int:
        """The number of missing values, NaN among them."""
        return pc.sum(pc.is_null(self.values, nan_is_null=True)).as_py()

    @property
    def rows(self) -> int:
        """The number of rows."""
        return len(self.values)

    @property
    def is_nested(self) -> bool:
        """True if the values are lists or objects."""
        return pa.types.is_nested(self.values.type)

    @property
    def is_text(self) -> bool:
        """True if the values are text."""
        return pa.types.is_string(self.values.type)

    @property
    def is_number(self) -> bool:
        """True if the values are numbers."""
        return pa.types.is_integer(self.values.type) or pa.types.is_floating(self.values.type)

    @property
    def is_whole(self) -> bool:
        """True if the values are numbers, and all of them are whole, even if they are written such as 17.0."""
        return self.is_number and pc.all(pc.equal(pc.floor(self.values), self.values)).as_py() is not False

    @property
    def is_time(self) -> bool:
        """True if the values are of a time type, as in Parquet."""
        return pa.types.is_temporal(self.values.type)

    @cached_property
    def examples(self) -> str:
        """A few different values, for people; the type of nested ones."""
        if self.is_nested:
            return str(self.values.type)
        return ", ".join(str(value)[:40] for value in self.values.slice(0, 1000).unique().drop_null().to_pylist()[:3])

    @property
    def is_amount(self) -> bool:
        """True if the values are numbers that no reader takes for numbers, such as 1.234,50 € or 1,234.50."""
        if not self.is_text:
            return False
        texts = self.values.drop_null().unique()
        others = texts.filter(pc.invert(pc.match_substring_regex(texts, _PLAIN_NUMBER)))
        return _share(pc.match_substring_regex(others, _AMOUNT)) > _MOST

    @property
    def separator(self) -> str | None:
        """The separator of the lists that a column of text holds, or None."""
        texts = self.values.drop_null().unique() if self.is_text and not self.is_amount else []
        for separator in _LIST_SEPARATORS if len(texts) else ():
            held = _share(pc.match_substring(texts, separator))
            spaced = _share(pc.match_substring(texts, f"{separator} "))
            parts = pc.split_pattern(texts, separator).flatten()
            if held > _MANY and spaced < held / 2 and len(parts.unique()) < len(texts):
                return separator
        return None


@dataclass(frozen=True)
class Look:
    """The first rows of a table.

    Attributes:
        files: all files of the table.
        dialect: how they are written, if they are text.
        headed: whether the first line names the columns.
        columns: by name, in the files' order.
    """

    files: tuple[File, ...]
    dialect: Dialect
    headed: bool
    columns: dict[str, Column]


def look(workspace: Workspace, patterns: str, key: str) -> Look:
    """Return the first rows of the files that match a list of paths and globs.

    Raises:
        InputError: nothing matches, or a file can't be read.
    """
    found = files.expand(workspace, patterns, key)
    is_text = files.format_of(found[0].path) == "CSV"
    dialect, headed = _sniff(found[0]) if is_text else (COMMON, True)
    store = Store(workspace.spill)

    def first_rows() -> Rows:
        return readers.read(found[:_FILES], lambda names, _: list(names), dialect, store, "head", most=_ROWS)

    rows = first_rows()
    if is_text and any(_has_commas(column) for column in rows.table.columns):
        dialect = replace(dialect, decimal=",")
        rows = first_rows()
    if rows.table.num_rows == 0:
        raise InputError(f"{rows.name}: no rows; expected a log with a row for each time that an item was shown")
    if len(rows.types) == 1:
        raise InputError(
            f"{rows.name}: its only column is {shown(next(iter(rows.types)))}; expected columns for user, item and "
            "time, separated by commas, semicolons, tabs or vertical bars: convert the file"
        )
    forms = values.forms(rows, {})
    kinds = {name: values.number(forms[name]) if is_text else kind for name, kind in rows.types.items()}
    typed = rows.select({name: values.cast(rows[name], rows.types[name], kind) for name, kind in kinds.items()}).table
    return Look(found, dialect, headed, {name: Column(name, typed[name]) for name in typed.column_names})


def _sniff(file: File) -> tuple[Dialect, bool]:
    """Return how a CSV file is written, and whether its first line is a header."""
    with files.unreadable(file.name), file.lines() as stream:
        content = stream.read(_SNIFFED)
    if not content:
        raise InputError(f"{file.name}: empty (0 bytes); expected a CSV file: export it again")
    encoding = _encoding(content, file.name)
    text = content.decode(encoding, errors="ignore")
    lines = [line for line in text.splitlines()[: None if len(content) < _SNIFFED else -1] if line.strip()][:1000]
    if not lines:
        raise InputError(
            f"{file.name}: no line of text that ends within {_SNIFFED:,} bytes; expected a CSV file with a row a line: "
            "export it again"
        )
    if sum("::" in line for line in lines) > len(lines) / 2:
        raise InputError(
            f"{file.name}: its cells end in ::, but one character is expected; fetch.source: movielens reads a release "
            "of MovieLens as it is (docs/public-logs.md); convert another file, e.g. with sed 's/::/\\t/g' old.dat > "
            "new.tsv"
        )
    delimiter = max(_DELIMITERS, key=lambda one: _columns(lines, one))
    first = next(csv.reader(lines, delimiter=delimiter))
    headed = not any(re.fullmatch(_NUMBER_OR_DATE, cell.strip()) for cell in first)
    names = () if headed else tuple(f"column_{number}" for number in range(1, len(first) + 1))
    usual = "\t" if file.suffix == "tsv" else ","
    return Dialect(None if delimiter == usual else delimiter, names, encoding), headed


def _encoding(content: bytes, name: str) -> str:
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "utf-16"
    whole = content[: content.rfind(b"\n") + 1 or None]
    for encoding in ("utf-8", "cp1252"):
        with suppress(UnicodeDecodeError):
            whole.decode(encoding)
            return encoding
    raise InputError(
        f"{name}: neither UTF-8 nor cp1252 text, so it is in another encoding or not a CSV file; convert it, e.g. with "
        "iconv -f latin1 -t UTF-8, or export it again"
    )


def _columns(lines: list[str], delimiter: str) -> float:
    """Return the number of columns that a delimiter gives, or less where it gives lines of different widths."""
    widths = Counter(len(row) for row in csv.reader(lines, delimiter=delimiter) if row)
    width, times = widths.most_common(1)[0]
    return width * (times / widths.total()) ** 4 if width > 1 else 0


def _has_commas(column: pa.ChunkedArray) -> bool:
    """Return whether a column holds numbers such as 12,50."""
    return _share(pc.match_substring_regex(column.slice(0, 10_000).drop_null(), _GERMAN_NUMBER)) > _MANY


def _share(true: pa.ChunkedArray) -> float:
    return pc.mean(true.cast(pa.int8())).as_py() or 0.0

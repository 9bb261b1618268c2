"""Read the beginning of a log, and find out how its files are written.

The reader of `din fetch` reads the first rows of a few files, so what is seen here is what a fetch sees.
"""

import csv
import io
import re
from collections import Counter
from collections.abc import Sequence
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
_GERMAN_NUMBER = r"^-?[0-9]+,[0-9]+$"
_BLANK = r"[ '\x{a0}\x{202f}]"
_CURRENCY = r"(\p{Sc}|EUR|USD|GBP|CHF|JPY|PLN|CZK|SEK|NOK|DKK|zł|Kč|kr\.?)"
_AMOUNT = (
    rf"^({_CURRENCY}{_BLANK}*-?[0-9][0-9.,]*|-?[0-9][0-9.,]*(,-)?{_BLANK}*{_CURRENCY}"
    rf"|-?[0-9]{{1,3}}((\.|{_BLANK})[0-9]{{3}})+,[0-9]+|-?[0-9]{{1,3}}((,|{_BLANK})[0-9]{{3}})+\.[0-9]+)$"
)
_MOST = 0.9  # share of the values, which a few others don't change
_MANY = 0.3  # share of the values that hold a separator, where they are lists


@dataclass(frozen=True)
class Column:
    """A column of the first rows.

    Attributes:
        name: as in the files.
        raw: the values as the reader returns them, text for CSV.
        values: the values in the type that a fetch would give them.
    """

    name: str
    raw: pa.ChunkedArray
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
    def is_whole(self) -> bool:
        """True if the values are whole numbers."""
        return pa.types.is_integer(self.values.type)

    @property
    def is_number(self) -> bool:
        """True if the values are numbers."""
        return self.is_whole or pa.types.is_floating(self.values.type)

    @property
    def is_integral(self) -> bool:
        """True if all numbers are whole, even if they are written such as 17.0."""
        return pc.all(pc.equal(pc.floor(self.values), self.values)).as_py() is not False

    @property
    def is_time(self) -> bool:
        """True if the values are of a time type, as in Parquet."""
        return pa.types.is_temporal(self.values.type)

    @cached_property
    def examples(self) -> str:
        """A few different values, for people."""
        return ", ".join(str(value)[:40] for value in self.raw.slice(0, 1000).unique().drop_null().to_pylist()[:3])


@dataclass(frozen=True)
class Look:
    """The first rows of a table.

    Attributes:
        patterns: the paths as they were given.
        files: all files of the table.
        dialect: how they are written, if they are text.
        headed: whether the first line names the columns.
        columns: by name, in the files' order.
    """

    patterns: str
    files: tuple[File, ...]
    dialect: Dialect
    headed: bool
    columns: dict[str, Column]

    def separator(self, name: str) -> str | None:
        """Return the separator of the lists that a text column holds, or None."""
        column = self.columns[name]
        if not column.is_text:
            return None
        values = column.raw.drop_null().unique()
        if are_amounts(values):
            return None
        for separator in ("|", ";", ","):
            held = pc.mean(pc.match_substring(values, separator).cast(pa.int8())).as_py() or 0
            spaced = pc.mean(pc.match_substring(values, f"{separator} ").cast(pa.int8())).as_py() or 0
            parts = pc.split_pattern(values, separator).flatten()
            if held > _MANY and spaced < held / 2 and len(parts.unique()) < len(values):
                return separator
        return None


def are_amounts(values: pa.Array | pa.ChunkedArray) -> bool:
    """Return whether texts are numbers that no reader takes for numbers, such as 1.234,50 € or 1,234.50."""
    return (pc.mean(pc.match_substring_regex(values, _AMOUNT).cast(pa.int8())).as_py() or 0) > _MOST


def look(workspace: Workspace, patterns: str, key: str) -> Look:
    """Return the first rows of the files that match a list of paths and globs.

    Raises:
        InputError: nothing matches, or a file can't be read.
    """
    found = files.expand(workspace, patterns, key)
    headed = True
    dialect = COMMON
    if files.format_of(found[0].path) == "CSV":
        dialect, headed = _sniff(found[0])
    text = files.format_of(found[0].path) == "CSV"
    store = Store(workspace.spill)
    rows = _first_rows(found, dialect, store)
    if text and _has_commas(rows.table):
        dialect = replace(dialect, decimal=",")
        rows = _first_rows(found, dialect, store)
    raw = rows.table
    typed = _typed(rows, text).table
    if raw.num_rows == 0:
        raise InputError(f"{rows.name}: no rows; expected a log with a row for each time that an item was shown")
    if len(raw.column_names) == 1:
        raise InputError(
            f"{rows.name}: its only column is {shown(raw.column_names[0])}; expected columns for user, item and "
            "time, separated by commas, semicolons, tabs or vertical bars: convert the file"
        )
    seen = {name: Column(name, raw[name], typed[name]) for name in raw.column_names}
    return Look(patterns, found, dialect, headed, seen)


def _first_rows(found: Sequence[File], dialect: Dialect, store: Store) -> Rows:
    return readers.read(found[:_FILES], lambda names, _: list(names), dialect, store, "head", most=_ROWS)


def _typed(rows: Rows, text: bool) -> Rows:
    """Return columns of text in the types that a fetch would give them."""
    forms = values.forms(rows, {})
    kinds = {name: values.number(forms[name]) if text else kind for name, kind in rows.types.items()}
    return rows.select({name: values.cast(rows[name], rows.types[name], kind) for name, kind in kinds.items()})


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
    first = next(csv.reader(io.StringIO("\n".join(lines)), delimiter=delimiter))
    headed = not any(re.fullmatch(r"[-+]?[\d.,:/ TZ-]*\d[\d.,:/ TZ-]*", cell.strip()) for cell in first if cell.strip())
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
    if not widths:
        return 0
    width, times = widths.most_common(1)[0]
    return width * (times / widths.total()) ** 4 if width > 1 else 0


def _has_commas(table: pa.Table) -> bool:
    """Return whether a column holds numbers such as 12,50."""
    for column in table.columns:
        values = column.slice(0, 10_000).drop_null()
        held = pc.match_substring_regex(values, _GERMAN_NUMBER)
        if len(values) and pc.mean(held.cast(pa.int8())).as_py() > _MANY:
            return True
    return False

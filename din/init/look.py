"""Read the beginning of a log, and find out how its files are written.

The reader of `din fetch` reads the first rows of a few files, so what is seen here is what a fetch sees.
"""

import csv
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import zip_longest
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from din.errors import InputError, shown
from din.sources import files, readers, values
from din.sources.files import File
from din.sources.rawlog import require_rows
from din.sources.readers import Dialect
from din.sources.rows import Store
from din.workspace import Workspace

UNNAMED = "column_"
"""The names of columns without a header begin so, and end in their numbers."""
_SNIFFED = 1 << 18  # bytes
csv.field_size_limit(_SNIFFED)  # by default, a cell of half that size is an error
_ROWS = 200_000
_FILES = 3
_DELIMITERS = (";", "\t", "|", ",")
_LIST_SEPARATORS = ("|", ";", ",")
_NUMBER_OR_DATE = r"[-+]?[\d.,:/ TZ-]*\d[\d.,:/ TZ-]*"
_AMOUNT = r"^\D{0,5}[0-9]+(\D[0-9]{3})*[.,]([0-9]{2}|-)\D{0,5}$"
_PLAIN_NUMBER = r"^-?[0-9]+(\.[0-9]+)?$"
_IMPRESSIONS = r"^\S+-[01]( \S+-[01])*$"
_MOST = 0.9  # share of the values, which a few others don't change
_MANY = 0.3  # share of the values that are lists, or numbers with a comma


@dataclass(frozen=True)
class Column:
    """A column of the first rows: its name in the files, and its values in the type that a fetch would give them."""

    name: str
    values: pa.ChunkedArray

    @cached_property
    def different(self) -> pa.Array:
        """The different values in the order of the rows, without a missing one; none if the values are nested."""
        return pa.array([], self.values.type) if self.kind == "nested" else self.values.unique().drop_null()

    @property
    def distinct(self) -> int:
        """The number of different values."""
        return len(self.different)

    @cached_property
    def missing(self) -> int:
        """The number of missing values, NaN among them."""
        return pc.sum(pc.is_null(self.values, nan_is_null=True)).as_py()

    @property
    def kind(self) -> Literal["text", "number", "time", "nested", "other"]:
        """The kind of the values, as their type says; nested ones are lists or objects."""
        kind = self.values.type
        if pa.types.is_integer(kind) or pa.types.is_floating(kind):
            return "number"
        if pa.types.is_temporal(kind):
            return "time"
        return "text" if pa.types.is_string(kind) else "nested" if pa.types.is_nested(kind) else "other"

    @property
    def is_whole(self) -> bool:
        """True if the values are numbers, and all of them are whole, even if they are written such as 17.0."""
        return self.kind == "number" and pc.all(pc.equal(pc.floor(self.values), self.values)).as_py() is not False

    @property
    def examples(self) -> str:
        """A few different values, for people; the type of nested ones."""
        if self.kind == "nested":
            return str(self.values.type)
        return ", ".join(str(value)[:40] for value in self.different[:3].to_pylist())

    @property
    def is_amount(self) -> bool:
        """True if the values are numbers that no reader takes for numbers, such as 1.234,50 € or 1,234.50."""
        if self.kind != "text":
            return False
        others = self.different.filter(pc.invert(pc.match_substring_regex(self.different, _PLAIN_NUMBER)))
        return _share(pc.match_substring_regex(others, _AMOUNT)) > _MOST

    @property
    def is_once(self) -> bool:
        """True if hardly any value repeats."""
        return self.distinct >= _MOST * len(self.values)

    @property
    def holds_lists(self) -> bool:
        """True if hardly any value repeats, but the parts do between blanks or other separators."""
        if self.kind != "text" or not self.is_once:
            return False
        parts = pc.split_pattern_regex(self.different, r"[\s,;|]+").flatten()
        return len(parts.unique()) < len(parts) / 2

    @property
    def parts(self) -> pa.Array:
        """All elements of the lists that the column holds, as text; none if it holds no lists of ids."""
        values = self.values.combine_chunks().drop_null()
        if separator := self.separator:
            values = pc.split_pattern(values, separator)
        elif not pa.types.is_list(values.type) or self.holds_objects:
            return pa.array([], pa.string())
        return pc.cast(values.flatten(), pa.string())

    @property
    def holds_objects(self) -> bool:
        """True if the values are objects, or lists of objects or lists, which are neither ids nor lists of ids."""
        kind = self.values.type
        return pa.types.is_nested(kind.value_type if pa.types.is_list(kind) else kind)

    @property
    def separator(self) -> str | None:
        """The separator of the lists that a column of text holds, or None."""
        for separator in _LIST_SEPARATORS if self.kind == "text" and not self.is_amount else ():
            held = _share(pc.match_substring(self.different, separator))
            spaced = _share(pc.match_substring(self.different, f"{separator} "))
            parts = pc.split_pattern(self.different, separator).flatten()
            if held > _MANY and spaced < held / 2 and len(parts.unique()) < self.distinct:
                return separator
        return " " if self._lists_codes else None

    @property
    def _lists_codes(self) -> bool:
        """True if the column holds lists of codes, such as N12 N7, with blanks between them; they differ in length."""
        if self.kind != "text" or _share(pc.match_substring(self.different, " ")) <= _MANY:
            return False
        lists = pc.split_pattern(self.different, " ")
        parts = lists.flatten()
        are_codes = _share(pc.match_substring_regex(parts, "[0-9]")) > _MOST
        return are_codes and len(pc.list_value_length(lists).unique()) > 2 and len(parts.unique()) < len(parts) / 2

    @property
    def lists_impressions(self) -> bool:
        """True if each cell lists items with their labels, such as N1-0 N2-1."""
        if self.kind != "text" or _share(pc.match_substring(self.different, " ")) <= _MANY:
            return False
        return pc.all(pc.match_substring_regex(self.different, _IMPRESSIONS)).as_py()


@dataclass(frozen=True)
class Look:
    """The first rows of a table.

    Attributes:
        files: all files of the table.
        dialect: how they are written, if they are text.
        columns: by name, in the files' order.
        explode: see `fetch.table.explode`; `columns` are those of the impressions.
        once: columns that only repeat because their rows list several impressions.
    """

    files: tuple[File, ...]
    dialect: Dialect
    columns: dict[str, Column]
    explode: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    once: frozenset[str] = frozenset()

    @property
    def headed(self) -> bool:
        """True if the first line names the columns."""
        return not self.dialect.names


def look(workspace: Workspace, patterns: str, key: str) -> Look:
    """Return the first rows of the files that match a list of paths and globs.

    Raises:
        InputError: nothing matches, or a file can't be read.
    """
    found = files.expand(workspace, patterns, key)
    is_text = files.format_of(found[0].path) == "CSV"
    dialect = _sniff(found[0]) if is_text else Dialect()
    store = Store(workspace.spill)
    rows = readers.read(found[:_FILES], lambda names, _: list(names), dialect, store, "head", most=_ROWS)
    require_rows(rows, key.removeprefix("--"))
    if len(rows.names) == 1:
        raise InputError(
            f"{rows.name}: its only column is {shown(rows.names[0])}; expected columns for user, item and time, "
            "separated by commas, semicolons, tabs or vertical bars: convert the file"
        )
    forms = values.forms(rows, {})
    kinds = {name: values.number(forms[name]) if is_text else kind for name, kind in rows.types.items()}
    typed = rows.select({name: values.cast(rows[name], rows.types[name], kind) for name, kind in kinds.items()}).table
    seen = Look(found, dialect, {name: Column(name, typed[name]) for name in typed.column_names})
    cell = next((column for column in seen.columns.values() if column.lists_impressions), None)
    return _by_impression(seen, cell) if cell else seen


def _by_impression(seen: Look, cell: Column) -> Look:
    """Return the columns with a row for each impression that a cell lists."""
    lists = pc.split_pattern(cell.values.combine_chunks(), " ")
    sizes = pc.list_value_length(lists).to_numpy(zero_copy_only=False)
    lists = lists[: max(1, int(np.searchsorted(np.nancumsum(sizes), _ROWS)))]
    rows, impressions = pc.list_parent_indices(lists), lists.flatten()
    item, click = (name if name not in seen.columns else f"{cell.name} {name}" for name in ("item", "click"))
    items = pc.replace_substring_regex(impressions, "-[01]$", "")
    clicks = pc.cast(pc.ends_with(impressions, "-1"), pa.int64())
    others = {name: column for name, column in seen.columns.items() if name != cell.name}
    once = frozenset(name for name, column in others.items() if column.distinct == len(column.values))
    columns = {name: Column(name, column.values.take(rows)) for name, column in others.items()}
    columns |= {name: Column(name, pa.chunked_array([made])) for name, made in ((item, items), (click, clicks))}
    return replace(seen, columns=columns, explode={cell.name: (item, click)}, once=once)


def _sniff(file: File) -> Dialect:
    """Return how a CSV file is written; without a header, its columns are named by their numbers."""
    with files.unreadable(file.name), file.lines() as stream:
        content = stream.read(_SNIFFED)
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
            f"{file.name}: its cells end in ::, but one character is expected; a release of MovieLens is read as it is "
            "by `din init` with its folder; convert another file, e.g. with sed 's/::/\\t/g' old.dat > new.tsv"
        )
    delimiter = max(_DELIMITERS, key=lambda one: _columns(lines, one))
    rows = [*csv.reader(lines, delimiter=delimiter)]
    headed = not any(re.fullmatch(_NUMBER_OR_DATE, cell.strip()) for cell in rows[0])
    names = () if headed else tuple(f"{UNNAMED}{number}" for number in range(1, len(rows[0]) + 1))
    has_commas = delimiter != "," and any(map(_are_with_commas, zip_longest(*rows, fillvalue="")))
    usual = "\t" if file.suffix == "tsv" else ","
    return Dialect(None if delimiter == usual else delimiter, names, encoding, "," if has_commas else ".")


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


def _are_with_commas(cells: Iterable[str]) -> bool:
    """Return whether many cells of a column are numbers such as 12,50."""
    numbers = [bool(re.fullmatch(readers.COMMA[0], cell)) for cell in cells if cell]
    return sum(numbers) > _MANY * len(numbers)


def _share(true: pa.Array) -> float:
    return pc.mean(true.cast(pa.int8())).as_py() or 0.0

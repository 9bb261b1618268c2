"""Read the beginning of a log, and find out how its files are written.

The reader of `din fetch` reads the first rows of a few files, so what is seen here is what a fetch sees.
"""

import codecs
import csv
import re
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import zip_longest
from pathlib import Path
from typing import Literal, get_args, get_type_hints

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from din.base.errors import InputError, listed, shown
from din.base.workspace import Workspace
from din.data import files, readers, values
from din.data.files import File
from din.data.rawlog import require_rows
from din.data.readers import Dialect
from din.data.rows import Store
from din.params.fetch import Csv
from din_start.init import words
from din_start.init.choice import Choice

ENCODINGS: tuple[str, ...] = get_args(get_type_hints(Csv)["encoding"])
_SNIFFED = 1 << 18  # bytes
csv.field_size_limit(_SNIFFED)  # by default, a cell of half that size is an error
_ROWS = 200_000
_FILES = 3
_DELIMITERS = (";", "\t", "|", ",")
_LIST_SEPARATORS = ("|", ";", ",")
_NUMBER_OR_DATE = r"[-+]?[\d.,:/ TZ-]*\d[\d.,:/ TZ-]*"
_BEGUN = r'(?:^|{0})"((?:[^"]|"")*+"(?={0}|$))?'
"""A cell that begins with a quote. The group matches if the cell also ends with one. Quotes inside are doubled."""
_AMOUNT = r"^\D{0,5}[0-9]+(\D[0-9]{3})*[.,]([0-9]{2}|-)\D{0,5}$"
_PLAIN_NUMBER = r"^-?[0-9]+(\.[0-9]+)?$"
_IMPRESSIONS = r"^\S+-[01]( \S+-[01])*$"
_RECBOLES_LISTS = (":token_seq", ":float_seq")
_COMPARED = 10_000  # rows
_WORD = re.compile(r"\w*[^\x00-\x7f][^\s,;|]{0,20}")
_WESTERN = "äöüÄÖÜßéèêëàâáçñíóúôûîïåÅæÆÉ€£§°–—‘’“”„…«»©®™¿¡"
_FOREIGN = re.compile(rf"[^\x00-\x7f]{{3}}|[^\x00-\x7f{_WESTERN}]|[^\W\d_][£¡]|£[^\W\d_]")
"""Text that is probably not cp1252: three special characters in a row, an uncommon one, or a sign inside a word."""
_MOST = 0.9  # share of the values, which a few others don't change
_MANY = 0.3  # share of the values that are lists, or numbers with a comma


@dataclass(frozen=True)
class Column:
    """A column of the first rows: its name in the files, and its values in the type that a fetch would give them."""

    name: str
    values: pa.ChunkedArray

    @cached_property
    def different(self) -> pa.Array:
        """The different values in the order of the rows, without a missing one or NaN; none if they are nested."""
        if self.kind == "nested":
            return pa.array([], self.values.type)
        unique = self.values.unique()
        return unique.filter(pc.invert(pc.is_null(unique, nan_is_null=True)))

    @property
    def ids(self) -> pa.Array:
        """The different values as text, to compare them with those of another table; none if they are nested."""
        return pa.array([], pa.string()) if self.kind == "nested" else self.different.cast("string")

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
        """True if the values are numbers, and all of them are whole, even if they are written like 17.0."""
        if pa.types.is_floating(self.values.type):
            return pc.all(pc.equal(pc.floor(self.values), self.values)).as_py() is not False
        return self.kind == "number"

    @property
    def examples(self) -> str:
        """A few different values, for people; the type of nested ones."""
        if self.kind == "nested":
            return str(self.values.type)
        return ", ".join(str(value)[:40] for value in self.different[:3].to_pylist())

    @cached_property
    def is_amount(self) -> bool:
        """True if the values are numbers that no reader takes for numbers, such as 1.234,50 € or 1,234.50."""
        if self.kind != "text":
            return False
        others = self.different.filter(pc.invert(pc.match_substring_regex(self.different, _PLAIN_NUMBER)))
        return _share(pc.match_substring_regex(others, _AMOUNT)) > _MOST

    def share_of(self, pattern: str) -> float:
        """Return the share of the different values that match a pattern; 0 if they are not text."""
        return _share(pc.match_substring_regex(self.different, pattern)) if self.kind == "text" else 0.0

    @property
    def is_once(self) -> bool:
        """True if hardly any value repeats."""
        return self.distinct >= _MOST * len(self.values)

    @cached_property
    def holds_lists(self) -> bool:
        """True if hardly any value repeats, but the parts do between blanks or other separators."""
        if self.kind != "text" or not self.is_once:
            return False
        parts = pc.split_pattern_regex(self.different, r"[\s,;|]+").flatten()
        return len(parts.unique()) < len(parts) / 2

    @cached_property
    def parts(self) -> pa.Array:
        """All elements of the lists that the column holds, as text; none if it holds no lists of ids."""
        if self.separator or (pa.types.is_list(self.values.type) and not self.holds_objects):
            return self.split(self.separator).flatten()
        return pa.array([], pa.string())

    def split(self, separator: str | None) -> pa.Array:
        """Return the values as lists of text; of one element each if they are no lists and there is no separator."""
        values = self.values.combine_chunks()
        if not pa.types.is_list(values.type):
            values = pc.split_pattern(self._bare(values.cast(pa.string())), separator or "\0")
        return values.cast(pa.list_(pa.string()))

    @cached_property
    def _listed(self) -> pa.Array:
        """The different values, without brackets."""
        return self._bare(self.different)

    def _bare(self, texts: pa.Array) -> pa.Array:
        """Return texts with lists such as [12, 7] written as 12,7, if the column holds such lists."""
        return pc.replace_substring_regex(texts, r"^\[|\]$|['\" ]", "") if self._is_bracketed else texts

    @cached_property
    def _is_bracketed(self) -> bool:
        return self.share_of(r"^\[[^{]*\]$") > _MOST

    @property
    def holds_objects(self) -> bool:
        """True if the values are objects, or lists of objects or lists, which are neither ids nor lists of ids."""
        kind = self.values.type
        return pa.types.is_nested(kind.value_type if pa.types.is_list(kind) else kind)

    @cached_property
    def separator(self) -> str | None:
        """The separator of the lists that a column of text holds, or None."""
        if self.kind == "text" and self.name.endswith(_RECBOLES_LISTS):
            return " "
        for separator in _LIST_SEPARATORS if self.kind == "text" and not self.is_amount else ():
            held = _share(pc.match_substring(self._listed, separator))
            spaced = _share(pc.match_substring(self._listed, f"{separator} "))
            parts = pc.split_pattern(self._listed, separator).flatten()
            repeats = self._is_bracketed or len(parts.unique()) < self.distinct
            if held > _MANY and spaced < held / 2 and repeats:
                return separator
        return " " if self._lists_codes else None

    @property
    def _lists_codes(self) -> bool:
        """True if the column holds lists of codes, such as N12 N7, with blanks between them; they differ in length."""
        if self.kind != "text" or _share(pc.match_substring(self._listed, " ")) <= _MANY:
            return False
        lists = pc.split_pattern(self._listed, " ")
        parts = lists.flatten()
        are_codes = _share(pc.match_substring_regex(parts, "[0-9]")) > _MOST
        return are_codes and len(pc.list_value_length(lists).unique()) > 2 and len(parts.unique()) < len(parts) / 2

    @property
    def lists_impressions(self) -> bool:
        """True if each cell lists items with their labels, such as N1-0 N2-1; some list several."""
        return self.share_of(_IMPRESSIONS) == 1 and self.share_of(" ") > 0


@dataclass(frozen=True)
class Look:
    """The first rows of a table.

    Attributes:
        paths: the paths and globs of its files.
        files: all files of the table.
        dialect: how they are written, if they are text.
        columns: by name, in the files' order.
        explode: `fetch.table.explode`; `columns` are those of the impressions. None: each row is one.
        separators: of the lists from which the impressions come.
        once: columns that only repeat because their rows list several impressions.
        needs_quotes: the files have quotes around cells.
        reason: why these files are this table.
    """

    paths: str
    files: tuple[File, ...]
    dialect: Dialect
    columns: dict[str, Column]
    explode: Choice | None = None
    separators: Mapping[str, str] = field(default_factory=dict)
    once: frozenset[str] = frozenset()
    needs_quotes: bool = False
    reason: str = "you named it"

    @property
    def is_ascii(self) -> bool:
        """True if all text is ASCII."""
        texts = [column.different for column in self.columns.values() if column.kind == "text"]
        return all(
            pc.all(pc.string_is_ascii(text)).as_py() is not False for text in [*texts, pa.array([*self.columns])]
        )

    @property
    def headed(self) -> bool:
        """True if the first line names the columns."""
        return not self.dialect.names


def look(workspace: Workspace, patterns: str, key: str, encoding: str | None = None) -> Look:
    """Return the first rows of the files that match a list of paths and globs.

    Args:
        workspace: where relative paths start.
        patterns: the paths and globs.
        key: what names them, for messages.
        encoding: that of text files, if a person named it.

    Raises:
        InputError: nothing matches, a file can't be read or is an output, or its encoding isn't known.
    """
    if encoding not in (None, *ENCODINGS):
        raise InputError(f"--encoding {shown(encoding)}: expected one of {listed(ENCODINGS)}")
    matched = files.expand(workspace, patterns, key)
    if outputs := [file.name for file in matched if is_output(workspace, file)]:
        raise InputError(
            f"{outputs[0]}: lies in a folder that the pipeline writes and DVC empties; move the log to another folder"
        )
    is_text = files.format_of(matched[0].path) == "CSV"
    dialect, needs_quotes = _sniff(matched[0], encoding) if is_text else (Dialect(), False)
    store = Store(workspace.spill)
    rows = readers.read(matched[:_FILES], _named, dialect, store, "head", most=_ROWS)
    require_rows(rows, key.removeprefix("--"))
    if len(rows.names) == 1:
        raise InputError(
            f"{rows.name}: its only column is {shown(rows.names[0])}; expected columns for user, item and time, "
            "separated by commas, semicolons, tabs, vertical bars or blanks: convert the file"
        )
    forms = values.forms(rows, {})
    kinds = {name: values.number(forms[name]) if is_text else kind for name, kind in rows.types.items()}
    typed = rows.select({name: values.cast(rows[name], rows.types[name], kind) for name, kind in kinds.items()}).table
    columns = {name: Column(name, typed[name]) for name in typed.column_names}
    seen = Look(patterns, matched, dialect, columns, needs_quotes=needs_quotes)
    for cell in seen.columns.values():
        clicked = _clicks_of(cell, seen.columns.values())
        if clicked or cell.lists_impressions:
            return _by_impression(seen, cell, clicked)
    return seen


def is_output(workspace: Workspace, file: File) -> bool:
    """Return whether a file lies where a pipeline writes: that of the workspace, or one that `din init` made."""
    if "://" in file.name:
        return False
    path = Path(file.path).resolve()
    roots = [workspace.root, *(folder for folder in path.parents if (folder / ".din-init").exists())]
    return any(path.is_relative_to(out.resolve()) for root in roots for out in Workspace(root).outs)


def _named(names: Sequence[str], _: str) -> list[str]:
    """Return the columns with a name; pandas writes its index without one."""
    return [name for name in names if name.strip()]


def _clicks_of(cell: Column, columns: Iterable[Column]) -> Column | None:
    """Return the column that lists the clicked ones of the items that each cell lists, or None."""
    others = [column for column in columns if column is not cell and not column.holds_objects]
    named = [column for column in others if words.means(column.name, "click")]
    if not named or not len(cell.parts):
        return None
    listed_items = cell.split(cell.separator)[:_COMPARED].to_pylist()
    for column in named:
        clicked = [{*(few or ())} - {""} for few in column.split(cell.separator)[:_COMPARED].to_pylist()]
        if any(clicked) and all(few <= {*(many or ())} for few, many in zip(clicked, listed_items, strict=True)):
            return column
    return None


def _by_impression(seen: Look, cell: Column, clicked: Column | None) -> Look:
    """Return the columns with a row for each impression that a cell lists; `clicked` lists the clicked ones."""
    separator = cell.separator if clicked else " "
    lists = cell.split(separator)
    sizes = pc.list_value_length(lists).to_numpy(zero_copy_only=False)
    lists = lists[: max(1, int(np.searchsorted(np.nancumsum(sizes), _ROWS)))]
    rows, items = pc.list_parent_indices(lists), lists.flatten()
    item, click = (name if name not in seen.columns else f"{cell.name} {name}" for name in ("item", "click"))
    separators: dict[str, str] = {}
    if clicked:
        click = clicked.name
        of_row = [{*(few or ())} for few in clicked.split(separator)[: len(lists)].to_pylist()]
        clicks = pa.array(
            [int(element in of_row[row]) for row, element in zip(rows.to_pylist(), items.to_pylist(), strict=True)]
        )
        why = f"{cell.name} lists items, and {click} the clicked ones"
        separators = dict.fromkeys((cell.name, click), separator) if separator else {}
    else:
        clicks = pc.cast(pc.ends_with(items, "-1"), pa.int64())
        items = pc.replace_substring_regex(items, "-[01]$", "")
        why = f"{cell.name} lists items and whether they were clicked, such as N1-0 N2-1"
    others = {name: column for name, column in seen.columns.items() if name not in (cell.name, click)}
    once = frozenset(name for name, column in others.items() if column.distinct == len(column.values))
    columns = {name: Column(name, column.values.take(rows)) for name, column in others.items()}
    columns |= {name: Column(name, pa.chunked_array([made])) for name, made in ((item, items), (click, clicks))}
    explode = Choice({cell.name: [item, click]}, why)
    return replace(seen, columns=columns, explode=explode, separators=separators, once=once)


def _sniff(file: File, encoding: str | None) -> tuple[Dialect, bool]:
    """Return how a CSV file is written, and whether it has quotes around cells.

    Without a header, the columns are named by their numbers.
    """
    with files.unreadable(file.name), file.lines() as stream:
        content = stream.read(files.CHUNK)
        files.require_plain(file)
    encoding = encoding or _encoding(content[:_SNIFFED], file.name)
    every = _lines(content, files.CHUNK, encoding)
    lines = _lines(content[:_SNIFFED], _SNIFFED, encoding)[:1000]
    if not lines:
        raise InputError(
            f"{file.name}: no line of text that ends within {_SNIFFED:,} bytes; expected a CSV file with a row a line: "
            "export it again"
        )
    if lines[0].startswith("sep="):
        raise InputError(
            f"{file.name}: its first line, {lines[0]}, is meant for Excel; remove it, e.g. with tail -n +2 "
            f"{shlex.quote(file.name)} > new.csv"
        )
    if sum("::" in line for line in lines) > len(lines) / 2:
        raise InputError(
            f"{file.name}: its cells end in ::, but one character is expected; a release of MovieLens is read as it is "
            "by `din init` with its folder; convert another file, e.g. with sed 's/::/\\t/g' old.dat > new.tsv"
        )
    widths = {character: _columns(lines, character) for character in (*_DELIMITERS, " ")}
    # A tab never separates the parts of a list, and a blank may separate words.
    delimiter = max(_DELIMITERS, key=lambda character: (character == "\t" and widths["\t"] > 1, widths[character]))
    if widths[delimiter] < 1 < widths[" "]:
        delimiter = " "
    begun = re.findall(_BEGUN.format(re.escape(delimiter)), "\n".join(every), re.MULTILINE)
    widens = _columns(lines, delimiter) > _columns(lines, delimiter, csv.QUOTE_NONE)
    needs_quotes = widens or sum(map(bool, begun)) > _MOST * len(begun)
    quote = '"' if needs_quotes or not begun else None
    rows = [*csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_MINIMAL if quote else csv.QUOTE_NONE)]
    columns = [*zip_longest(*rows, fillvalue="")]
    is_headed = _is_headed(columns)
    names = () if is_headed else tuple(f"{readers.UNNAMED}{number}" for number in range(1, len(rows[0]) + 1))
    cells = dict(zip(names or rows[0], [column[1:] if is_headed else column for column in columns], strict=False))
    lists = tuple(name for name, column in cells.items() if _are_lists(column))
    with_commas = any(_are_with_commas(column) for name, column in cells.items() if name not in lists)
    decimal = "," if delimiter != "," and with_commas else "."
    usual = "\t" if file.suffix == "tsv" else ","
    written = None if delimiter == usual else delimiter
    return Dialect(written, names, encoding, decimal, lists, quote), needs_quotes


def _lines(content: bytes, most: int, encoding: str) -> list[str]:
    """Return the lines with text, without the last one if the content is cut off at `most` bytes."""
    lines = content.decode(encoding, errors="ignore").removeprefix("\ufeff").splitlines()
    return [line for line in lines[: None if len(content) < most else -1] if line.strip()]


def _encoding(content: bytes, name: str) -> str:
    """Return the encoding of text: UTF-8, UTF-16 with its mark, or cp1252 if all but single Western letters are ASCII.

    Raises:
        InputError: it may be one of several others. The message shows a word as each of them reads it.
    """
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "utf-16"
    whole = content if len(content) < _SNIFFED else content[: content.rfind(b"\n") + 1 or None]
    try:
        whole.decode()
        return "utf-8"
    except UnicodeDecodeError as error:
        line = whole.count(b"\n", 0, error.start) + 1
        place = f"line {line}, bytes {whole[error.start : error.start + 4].hex(' ')}"
    if content.startswith(codecs.BOM_UTF8):
        raise InputError(
            f"{name}: begins with the mark of UTF-8, but is not UTF-8 text; remove the mark, e.g. with tail -c +4 "
            f"{shlex.quote(name)} > new.csv, or export it again"
        )
    with suppress(UnicodeDecodeError):
        if not _FOREIGN.search(whole.decode("cp1252")):
            return "cp1252"
    raise InputError(
        f"{name}: not UTF-8 text ({place}); expected --encoding with the one that reads this right: "
        f"{_samples(whole, ENCODINGS)}; if none does, export it again"
    )


def _samples(content: bytes, encodings: Iterable[str]) -> str:
    """Return a word of the text as each encoding decodes it, if it can. UTF-16 is left out, because it has a mark."""
    samples = []
    for encoding in encodings:
        with suppress(UnicodeDecodeError):
            word = _WORD.search(content.decode(encoding))
            if word and word[0].isprintable() and encoding != "utf-16":
                samples.append(f"{encoding} ({word[0]})")
    return listed(samples) or "none"


def _is_headed(columns: Sequence[tuple[str, ...]]) -> bool:
    """Return whether the first line names the columns.

    No name is a number or a date. A name above numbers outvotes a name like its values, such as group1 above group2.
    """
    if any(_is_number(first) for first, *_ in columns):
        return False
    above_numbers = any(first and sum(map(_is_number, others)) > _MOST * len(others) for first, *others in columns)
    return above_numbers or not any(_begins_with_id(*cells) for cells in columns)


def _begins_with_id(first: str, *others: str) -> bool:
    """Return whether a column's first cell is a value, not a name: an id of the others' form, such as N12 above N7."""
    text = re.sub(r"\d", "", first)
    return text != first and sum(re.sub(r"\d", "", other) == text for other in others) > _MOST * len(others)


def _is_number(cell: str) -> bool:
    """Return whether a cell is a number or a date."""
    return bool(re.fullmatch(_NUMBER_OR_DATE, cell.strip()))


def _columns(lines: list[str], delimiter: str, quoting: Literal[0, 3] = csv.QUOTE_MINIMAL) -> float:
    """Return the number of columns that a delimiter gives, or less where it gives lines of different widths.

    The first line counts most: lists of one length have commas, but the names of the columns have not.
    """
    first, *others = [len(row) for row in csv.reader(lines, delimiter=delimiter, quoting=quoting) if row]
    widths = Counter([first, *others])
    width, times = widths.most_common(1)[0]
    like_first = 1 if first == width else 0.01
    return like_first * width * (times / widths.total()) ** 4 if width > 1 else 0


def _are_lists(cells: Iterable[str]) -> bool:
    """Return whether more than a stray cell of a column has several commas, as no number has."""
    filled = [cell.count(",") > 1 for cell in cells if cell]
    return sum(filled) > (1 - _MOST) * len(filled)


def _are_with_commas(cells: Iterable[str]) -> bool:
    """Return whether many cells of a column are numbers such as 12,50."""
    numbers = [bool(re.fullmatch(readers.COMMA[0], cell)) for cell in cells if cell]
    return sum(numbers) > _MANY * len(numbers)


def _share(true: pa.Array) -> float:
    return pc.mean(true.cast(pa.int8())).as_py() or 0.0

"""Read the files of a table: CSV, Parquet, and JSON in lines or in an array, local or through fsspec.

Only the requested columns are read, those of CSV as text. Types are decided later over all rows (`values.py`), never
from a sample. Files are read in batches into the engine, so memory does not grow with them. JSON-lines are parsed
twice, because their columns and types are known only at the end.
"""

import io
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pcsv
import pyarrow.json as pjson
import pyarrow.parquet as pq
from pydantic_core import from_json

from din.base.documents import DEPTH
from din.base.errors import InputError, listed, shown
from din.base.progress import track
from din.data.files import CHUNK, File, format_of, require_plain, unreadable
from din.data.rows import Rows, Store, numbered, quoted

Select = Callable[[Sequence[str], str], list[str]]


@dataclass(frozen=True)
class Dialect:
    """How text files are written."""

    delimiter: str | None = None  # None = a tab in .tsv, else a comma
    names: tuple[str, ...] = ()  # the columns of files without a header; () = the first line names them
    encoding: str = "utf-8"  # as Python names it
    decimal: str = "."  # or `,` in numbers such as 12,50
    lists: tuple[str, ...] = ()  # the columns of lists with commas, in which 12,50 is two numbers
    quote: str | None = '"'  # around cells that hold delimiters or line ends; None = quotes are part of the text
    skip: int = 0  # lines before the first row, or the header
    fields: pa.Schema | None = None  # the fields to read from JSON-lines, if their types are known

    def of(self, file: File) -> str:
        """Return the delimiter of a file."""
        return self.delimiter or ("\t" if file.suffix == "tsv" else ",")


COMMA = (r"^(-?[0-9]+),([0-9]+)$", r"\1.\2")
"""The form of a number such as 12,50, and its form with a point."""
UNNAMED = "column_"
"""The names of columns without a header begin so, and end in their numbers, from 1."""
_DELIMITER = "\x1f"  # replaces a delimiter of two characters, which Arrow does not read
_HEAD = 32 << 20
"""The size in bytes of a file's first rows at which `read` stops, if `most` limits their number."""
_WIDEST = 2_048
"""The most columns of a table."""
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*+"|["\[\]{},]', re.DOTALL)
"""The text and the signs that structure JSON. A lone quote begins text whose end is not there yet."""
_TOO_LONG = ("straddling", "Empty CSV file or block")  # Arrow's messages about a row and about the header


def read(
    files: Sequence[File],
    select: Select,
    dialect: Dialect,
    store: Store,
    table: str,
    most: int | None = None,
) -> Rows:
    """Read the selected columns of all files, in order, into a store, where they replace a table of the same name.

    Columns of CSV are text, with null for ''. Columns of other formats keep their types.

    Args:
        select: maps (column names, file name) to the columns to read, and raises if one is missing.
        dialect: how CSV files are written.
        store: holds the rows.
        table: the name of the table.
        most: the largest number of rows to read from each file; fewer are read if they are long. None = all.

    Raises:
        InputError: a file is empty, damaged or not UTF-8; a row has too many or too few values; a column's type
            differs between files.
    """
    chosen = [_chosen(file, select, dialect) for file in files]
    schema = unified([(file.name, file_schema) for file, file_schema in zip(files, chosen, strict=True)])
    path = store.file(table)
    stored = f"SELECT * FROM read_parquet({quoted(str(path))}, hive_partitioning = false)"
    rows = Rows(store.con, stored, tuple(schema.names), ())
    total = 0
    counts = []
    with _writer(path, numbered(schema.empty_table(), 0).schema, files[0].name) as writer:
        for file, file_schema in track([*zip(files, chosen, strict=True)], len(files), "reading", "file"):
            start = total
            held = 0
            for batch in _batches(file, file_schema, dialect, schema):
                batch = batch if most is None else batch.slice(0, start + most - total)
                writer.write_table(numbered(batch, total))
                total += batch.num_rows
                held += batch.nbytes
                if most is not None and (total - start == most or held >= _HEAD):
                    break
            counts.append((file.name, total - start))
    pa.default_memory_pool().release_unused()  # Arrow reads up to 32 blocks ahead; the engine needs that memory next
    return replace(rows, files=tuple(counts))


def _writer(path: Path, schema: pa.Schema, name: str) -> pq.ParquetWriter:
    try:
        return pq.ParquetWriter(path, schema, compression="lz4")
    except pa.ArrowNotImplementedError as error:  # e.g. an object without keys
        raise InputError(f"{name}: cannot be kept ({error}); leave that column out") from None


def first_line(file: File, dialect: Dialect) -> list[str]:
    """Return the cells of the first line of a CSV file."""
    with _reading(file), _csv(file, [], dialect) as reader:
        return reader.schema.names


def _batches(file: File, file_schema: pa.Schema, dialect: Dialect, schema: pa.Schema) -> Iterator[pa.Table]:
    """Yield the rows of a file, whose columns are `file_schema`, with all columns of a schema."""
    with _reading(file):
        for batch in _FORMATS[format_of(file.path)].batches(file, file_schema, dialect):
            yield _filled(batch, schema, file.name)


def unified(schemas: Sequence[tuple[str, pa.Schema]]) -> pa.Schema:
    """Return the columns of all schemas, which are given with the name of their file.

    Raises:
        InputError: a column's type differs.
    """
    common: dict[str, tuple[pa.Field, str]] = {}
    for name, schema in schemas:
        for field in schema:
            merged, earlier = common.setdefault(field.name, (field, name))
            if field.type == merged.type:
                continue
            try:
                both = pa.unify_schemas([pa.schema([merged]), pa.schema([field])], promote_options="permissive")
            except pa.ArrowTypeError:
                raise InputError(
                    f"{name}: column {shown(field.name)} is {field.type}, but {merged.type} in {earlier}; expected one "
                    "type in all files: values of different types never match, so store both the same way"
                ) from None
            common[field.name] = both.field(0), earlier if both.field(0).type == merged.type else name
    return pa.schema([field for field, _ in common.values()])


@contextmanager
def _reading(file: File) -> Iterator[None]:
    """Turn errors about a file's content into an InputError; see `unreadable`."""
    with unreadable(file.name):
        try:
            yield
        except (UnicodeDecodeError, pa.ArrowInvalid):
            require_plain(file)
            raise


def _chosen(file: File, select: Select, dialect: Dialect) -> pa.Schema:
    form = format_of(file.path)
    with _reading(file):
        if file.system.size(file.path) == 0:
            raise InputError(f"{file.name}: empty (0 bytes); expected a {form} file: export it again")
        schema = _FORMATS[form].schema(file, dialect)
        _require_columns(schema, file)
    return pa.schema([(name, _plain(schema.field(name).type)) for name in select(schema.names, file.name)])


def _require_columns(schema: pa.Schema, file: File) -> None:
    """Check that a file is no table on its side, such as one JSON object with a key per item.

    Raises:
        InputError: it has too many columns for the engine's memory.
    """
    if len(schema) > _WIDEST:
        raise InputError(
            f"{file.name}: {len(schema):,} columns or keys, beginning with {listed(schema.names[:3])}; expected at "
            f"most {_WIDEST:,}: write one row per user, item or impression"
        )


def _filled(batch: pa.RecordBatch, schema: pa.Schema, name: str) -> pa.Table:
    """Return a batch in the types of a schema, with nulls in the columns that it lacks.

    Raises:
        InputError: a whole number would be rounded, or has more than 64 bits. `name` is that of the file.
    """
    columns = {name: batch[name] for name in batch.schema.names}
    nulls = pa.nulls(batch.num_rows)

    def cast(field: pa.Field) -> pa.Array:
        column = columns.get(field.name, nulls)
        if column.type in (pa.float16(), pa.float32()):
            column = pc.cast(column, pa.string())  # the shortest text: a 32-bit 0.1 is 0.1, as requests say it
        try:
            return pc.cast(column, options=pc.CastOptions(field.type, allow_time_truncate=True))
        except pa.ArrowInvalid as error:
            if not (pa.types.is_integer(column.type) or pa.types.is_decimal(column.type)):
                raise
            raise InputError(
                f"{name}: column {shown(field.name)} is {column.type}, which {field.type} can't hold ({error}); store "
                "it as text in all files if it is an id, or else as floats"
            ) from None

    return pa.table([*map(cast, schema)], schema=schema)


def _csv_schema(file: File, dialect: Dialect) -> pa.Schema:
    with _csv(file, [], dialect) as reader:
        header = reader.schema.names
    if twice := sorted({name for name in header if name and header.count(name) > 1}):
        raise InputError(f"{file.name}: column {shown(twice[0])} appears twice in the header; rename one")
    if others := [other for other in (";", "\t", "|", ",") if len(header) == 1 and other in header[0]]:
        raise InputError(
            f"{file.name}: its only column is {shown(header[0])}; set csv.delimiter to {others[0]!r} in "
            "fetch.table, or in fetch.options.table of the source served"
        )
    return pa.schema([(name, pa.string()) for name in dict.fromkeys(header)])


def _csv_batches(file: File, schema: pa.Schema, dialect: Dialect) -> Iterator[pa.RecordBatch]:
    with _csv(file, schema.names, dialect) as reader:
        for batch in reader:
            yield _with_points(batch, dialect.lists) if dialect.decimal == "," else batch


@contextmanager
def _csv(file: File, names: Sequence[str], dialect: Dialect) -> Iterator[pcsv.CSVStreamingReader]:
    """Open a file for the columns `names` as text; without names, for all."""
    delimiter = dialect.of(file)
    long = len(delimiter) > 1
    parse = pcsv.ParseOptions(
        delimiter=_DELIMITER if long else delimiter,
        quote_char=dialect.quote or False,
        newlines_in_values=dialect.quote is not None,
    )
    options = pcsv.ReadOptions(
        use_threads=False,  # with threads, errors would not name the row
        block_size=CHUNK,
        column_names=dialect.names or None,
        skip_rows=dialect.skip,
        encoding=dialect.encoding,
    )
    convert = pcsv.ConvertOptions(
        include_columns=names,
        column_types=dict.fromkeys(names, pa.string()),
        null_values=[""],
        strings_can_be_null=True,
    )
    with _explained(file, dialect), file.open() as stream:
        single = pa.TransformInputStream(stream, _shortened(delimiter.encode())) if long else stream
        with pcsv.open_csv(single, options, parse, convert) as reader:
            yield reader


def _shortened(delimiter: bytes) -> Callable[[pa.Buffer], bytes]:
    """Return a function that replaces a delimiter of two equal characters in the next bytes of a stream."""
    held = b""

    def replace_in(chunk: pa.Buffer) -> bytes:
        nonlocal held
        text = (held + chunk.to_pybytes()).replace(delimiter, _DELIMITER.encode())
        held = delimiter[:1] if text.endswith(delimiter[:1]) else b""  # the other half may follow
        return text[: len(text) - len(held)]

    return replace_in


@contextmanager
def _explained(file: File, dialect: Dialect) -> Iterator[None]:
    """Name a row that is too long, which Arrow does not, and note that the header may be at fault."""
    try:
        yield
    except pa.ArrowInvalid as error:
        problem = str(error).splitlines()[0]
        long_row = any(words in problem for words in _TOO_LONG) and _too_long(file, dialect.quote)
        if not long_row:
            unread = pa.ArrowInvalid(problem.replace(_DELIMITER, dialect.of(file)))
            if "Row #2: Expected" in problem and not dialect.names:
                unread.add_note("or the first line if it is not the header")
            if dialect.quote and dialect.quote in problem and "columns, got" in problem:
                unread.add_note(
                    "or set csv.quote to null in fetch.table if quotes are part of the text, not around cells"
                )
            raise unread from None
        number, beginning = long_row
        number += bool(dialect.names)  # without a header, rows count from the first line
        place = f"row {number}" if number else "header"
        raise InputError(
            f"{file.name} {place} has more than {CHUNK >> 20} MB, beginning with {shown(beginning)}: is a quote left "
            "open there? Correct the row, or leave it out"
        ) from None


def _too_long(file: File, quote: str | None) -> tuple[int, str] | None:
    """Return the number of the first row of more than `CHUNK` bytes, and its beginning."""
    number = size = quotes = 0
    beginning = b""
    with file.lines() as lines:
        while line := lines.readline(CHUNK + 1):
            beginning = beginning or line[:40]
            size += len(line)
            quotes += line.count(quote.encode()) if quote else 0
            if size > CHUNK:
                return number, beginning.decode(errors="replace")
            if quotes % 2 == 0:
                number += 1
                size = quotes = 0
                beginning = b""
    return None


def _with_points(batch: pa.RecordBatch, lists: Sequence[str]) -> pa.RecordBatch:
    """Return text with a point for the comma of each cell that is a number such as 12,50, except in `lists`."""
    for at, name in enumerate(batch.schema.names):
        if name not in lists:
            batch = batch.set_column(at, name, pc.replace_substring_regex(batch[at], *COMMA))
    return batch


def _json_schema(file: File, dialect: Dialect) -> pa.Schema:
    """Return the columns of all lines. Text that looks like a time stays text."""
    if dialect.fields:
        return dialect.fields
    schemas = [schema for _, schema in _json(file, pjson.ParseOptions())]
    return schemas[-1] if schemas else pa.schema([])


def _json_batches(file: File, schema: pa.Schema, _: Dialect) -> Iterator[pa.RecordBatch]:
    options = pjson.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore")
    for table, _ in _json(file, options):
        yield from table.to_batches()


def _json(file: File, options: pjson.ParseOptions) -> Iterator[tuple[pa.Table, pa.Schema]]:
    """Yield the lines, or the objects of an array, in blocks, each with the schema of all of them so far.

    Raises:
        pa.ArrowInvalid: a line can't be parsed, or a value has another type than before. The message names the line.
    """
    schema = pa.schema([])
    number = 0

    def parsed(lines: bytes) -> tuple[pa.Table, pa.Schema]:
        _check_lines(lines)
        table = pjson.read_json(pa.BufferReader(lines), pjson.ReadOptions(block_size=2 * CHUNK), options)
        _require_columns(table.schema, file)
        table.validate(full=True)  # UTF-8
        block_schema = pa.schema([(field.name, _text_for_times(field.type)) for field in table.schema])
        return table, pa.unify_schemas([schema, block_schema], promote_options="permissive")

    with file.lines() as stream:
        is_array = stream.peek(CHUNK).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"[")
        place = "object" if is_array else "line"
        for block in _objects(stream) if is_array else _blocks(stream):
            try:
                table, schema = parsed(block)
            except (pa.ArrowInvalid, pa.ArrowTypeError):
                for at, line in enumerate(block.splitlines(), number + 1):
                    if not line.strip():
                        continue
                    try:
                        _, schema = parsed(line)
                    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
                        beginning = shown(line[:80].decode(errors="replace"))
                        expected = f"expected a JSON object with the types of the other {place}s"
                        raise pa.ArrowInvalid(f"{place} {at}: {error}, in {beginning}; {expected}") from None
                raise
            yield table, schema
            number += block.count(b"\n")


def _blocks(stream: io.BufferedReader) -> Iterator[bytes]:
    """Yield the lines in blocks."""
    while block := stream.read(CHUNK) + stream.readline(CHUNK):
        yield block


def _objects(stream: io.BufferedReader) -> Iterator[bytes]:
    """Yield the elements of a JSON array in blocks, each element on a line.

    Raises:
        pa.ArrowInvalid: an element has more than `CHUNK` bytes, or the file does not end where the array does.
    """
    text = stream.read(CHUNK).partition(b"[")[2]
    depth = 0
    while depth >= 0:
        depth = start = 0
        elements = []
        for token in _TOKEN.finditer(text):
            if token[0] == b'"':
                break  # its end is in the next chunk
            depth += {b"{": 1, b"[": 1, b"}": -1, b"]": -1}.get(token[0], 0)
            if depth < 0 or (depth == 0 and token[0] == b","):
                elements.append(text[start : token.start()].replace(b"\n", b" ").replace(b"\r", b" ") + b"\n")
                start = token.end()
            if depth < 0:
                break
        block = b"".join(elements)
        if block.strip():
            yield block
        text = text[start:]
        chunk = stream.read(CHUNK)
        if len(text) > CHUNK:
            raise pa.ArrowInvalid(f"an object has more than {CHUNK >> 20} MB, beginning with {shown(text[:40])}")
        if depth >= 0 and not chunk:
            raise pa.ArrowInvalid("the JSON array does not end")
        text += chunk
    if text.strip():
        raise pa.ArrowInvalid(f"{shown(text[:40])} follows the JSON array")


def _check_lines(lines: bytes) -> None:
    """Raise ArrowInvalid for a line at which Arrow would crash: a null, or one that is nested too deeply."""
    for line in lines.splitlines():
        if line.strip() == b"null":
            raise pa.ArrowInvalid("null is no object")
        if line.count(b"{") + line.count(b"[") <= DEPTH:
            continue
        try:
            from_json(line)
        except ValueError as error:
            if str(error).startswith("recursion limit exceeded"):
                raise pa.ArrowInvalid(f"nested deeper than {DEPTH} levels") from None


def _parquet_schema(file: File, _: Dialect) -> pa.Schema:
    with file.system.open(file.path, "rb") as raw:
        return pq.ParquetFile(raw).schema_arrow


def _parquet_batches(file: File, schema: pa.Schema, _: Dialect) -> Iterator[pa.RecordBatch]:
    with file.system.open(file.path, "rb") as raw:
        for batch in pq.ParquetFile(raw).iter_batches(columns=schema.names):
            batch.validate(full=True)  # UTF-8
            yield batch


class _Format(NamedTuple):
    """The functions that find the columns of a file, and that read some of them."""

    schema: Callable[[File, Dialect], pa.Schema]
    batches: Callable[[File, pa.Schema, Dialect], Iterator[pa.RecordBatch]]


_FORMATS = {
    "CSV": _Format(_csv_schema, _csv_batches),
    "Parquet": _Format(_parquet_schema, _parquet_batches),
    "JSON-lines": _Format(_json_schema, _json_batches),
}


def _plain(kind: pa.DataType) -> pa.DataType:
    """Return int64 for integers, float64 for other numbers, string for text, microseconds, and lists of these."""
    is_ = pa.types
    if is_.is_dictionary(kind):
        return _plain(kind.value_type)
    if is_.is_integer(kind) or is_.is_duration(kind) or (is_.is_decimal(kind) and kind.scale <= 0):
        return pa.int64()
    if is_.is_floating(kind) or is_.is_decimal(kind):
        return pa.float64()
    if is_.is_large_string(kind) or is_.is_string_view(kind) or is_.is_binary(kind) or is_.is_large_binary(kind):
        return pa.string()
    if is_.is_list(kind) or is_.is_large_list(kind) or is_.is_fixed_size_list(kind):
        return pa.list_(_plain(kind.value_type))
    if is_.is_timestamp(kind):
        return pa.timestamp("us")  # in UTC
    return kind


def _text_for_times(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_list(kind):
        return pa.list_(_text_for_times(kind.value_type))
    return pa.string() if pa.types.is_temporal(kind) else kind

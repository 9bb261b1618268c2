"""Amazon product reviews in the files of their publisher: `fetch.source: amazon-reviews`.

One category is read, from one of three editions:

    edition  reviews                                  metadata               the last category path
    2014     reviews_Electronics_5.json.gz            meta_….json.gz         the last of `categories`, a list of paths
    2018     Electronics_5.json.gz                    meta_….json.gz         `category`, one path
    2023     Electronics.jsonl.gz, or the 5-core      meta_….jsonl.gz        `categories`, one path
             Electronics.csv.gz (ids and ratings)

The edition is recognised by the first line of the reviews. The metadata of 2014 are Python literals, one per line, read
by `ast.literal_eval`. The item is the reviewed product: `asin`, or `parent_asin` in 2023, where variants of a product
are one item.

The protocol is the paper's (arXiv 1706.06978, 6.1, and `x[-1][-1]` in its code). Each review is a click, whatever its
rating. The split is leave_last_out, with one sampled negative. The category is the last name of the last path. Times
are whole days, so most of them tie, and the order of the file decides.

Rows are kept as given, including repeated reviews (the 5-core files of 2014 hold none). If an item is described twice,
the first description counts. Brand, all category names (`categories`) and the event's `rating` are kept for you to
declare.

Sources: https://jmcauley.ucsd.edu/data/amazon/ (2014), https://nijianmo.github.io/amazon/ (2018),
https://amazon-reviews-2023.github.io/ (2023).
"""

import ast
import re
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import pyarrow as pa

from din.base.errors import InputError
from din.data import SOURCES
from din.data.files import File, unreadable
from din.data.readers import Dialect
from din.data.rows import Rows
from din.params.fetch import Table
from din_logs.publisher import PublishedFiles, Publisher

_ASIN = re.compile(rb"\{'asin': '(\w+)'")  # nearly every line of the literal metadata begins like this
_MALFORMED = (ValueError, SyntaxError, TypeError, KeyError, AttributeError, MemoryError, RecursionError)
_TEXT = pa.string()
_PATH = pa.list_(_TEXT)


class _Edition(NamedTuple):
    """The names of the fields, and the unit of the times."""

    user: str
    item: str
    rating: str
    time: str
    unit: str
    path: str
    brand: str


_2018 = _Edition("reviewerID", "asin", "overall", "unixReviewTime", "s", "category", "brand")  # 2014's reviews too
_2023 = _Edition("user_id", "parent_asin", "rating", "timestamp", "ms", "categories", "store")


@SOURCES.register("amazon-reviews", PublishedFiles)
class AmazonReviews(Publisher):
    """The reviews of one category, found at `fetch.options.path`."""

    fields: ClassVar = {"item": {"category": "categorical"}}
    protocol = "leave_last_out"
    order = "sequence"
    whole_ids = False

    def found(self) -> dict[str, tuple[File, ...]]:
        """Return the reviews and the metadata, and note the edition of the reviews."""
        download = self.download()
        endings = (".json", ".jsonl")
        metadata = download.only(
            lambda name: name.startswith("meta_") and name.endswith(endings), "metadata, e.g. meta_Electronics.json"
        )
        reviews = download.only(
            lambda name: not name.startswith("meta_") and name.endswith((*endings, ".csv")),
            "reviews, e.g. reviews_Electronics_5.json, Electronics_5.json, Electronics.jsonl or Electronics.csv",
        )
        edition = self.edition = _2018 if b'"reviewerID"' in _first_line(reviews) else _2023
        self.params = Table(
            columns={
                "user_id": edition.user,
                "item_id": edition.item,
                "timestamp": edition.time,
                "rating": edition.rating,
            },
            label=f"{edition.item} != ''",  # each review is a click
            timestamp_unit=edition.unit,
            keep=("rating",),
            items_columns={"item_id": edition.item},
        )
        return {"events": (reviews,), "items": (metadata,)}

    def dialect(self, table: str) -> Dialect:
        """Return the fields to read from each line; others may hold anything."""
        edition = self.edition
        if table == "items":
            fields = {edition.item: _TEXT, edition.path: _PATH, edition.brand: _TEXT}
        else:
            numbers = {edition.rating: pa.float64(), edition.time: pa.int64()}
            fields = {edition.user: _TEXT, edition.item: _TEXT, **numbers}
        return Dialect(fields=pa.schema(fields))

    def _reviewed(self) -> str:
        return f"SELECT DISTINCT {self._reviews[self.edition.item]} FROM ({self._reviews.query})"

    def _read(self, table: str, table_files: Sequence[File]) -> Rows:
        if table == "events":
            self._reviews = super()._read(table, table_files)
            return self._reviews
        (file,) = table_files
        if _first_line(file).startswith(b"{'"):
            return self._literals(file)
        items = super()._read(table, table_files)
        items = items.where(f"{items[self.edition.item]} IN ({self._reviewed()})")
        path = f"list_filter(coalesce({items[self.edition.path]}, []), lambda x: x <> '')"
        columns = {
            self.edition.item: items[self.edition.item],
            "category": f"{path}[-1]",
            "categories": path,
            "brand": items[self.edition.brand],
        }
        return items.one_each("min", items[self.edition.item]).select(columns)  # the first of two descriptions counts

    def _literals(self, file: File) -> Rows:
        """Read the metadata of 2014. An item may have several paths, and each of their names is kept once.

        The first key of a line is the id of its item. Eight of nine lines belong to items without reviews, and are
        skipped unparsed.
        """
        reviewed = {item for (item,) in self._reviews.con.execute(self._reviewed()).fetchall()}
        rows: dict[str, tuple[Any, ...]] = {}
        with unreadable(file.name), file.lines() as lines:
            for number, line in enumerate(lines, 1):
                asin = _ASIN.match(line)
                if asin and asin[1].decode() not in reviewed:
                    continue
                try:
                    record = ast.literal_eval(line.decode())
                    paths = record.get("categories") or [[]]
                    names = list(dict.fromkeys(name for path in paths for name in path))
                    row = (record["asin"], paths[-1][-1] if paths[-1] else None, names, record.get("brand"))
                except _MALFORMED as error:
                    raise InputError(
                        f"{file.name} line {number}: {line[:80]!r} ({error}); expected a Python dict with 'asin' and "
                        "'categories', a list of paths: download the file again"
                    ) from None
                if row[0] in reviewed:
                    rows.setdefault(row[0], row)
        columns = zip(*rows.values(), strict=True) if rows else ([], [], [], [])
        kinds = {"asin": _TEXT, "category": _TEXT, "categories": _PATH, "brand": _TEXT}
        return Rows.of(file.name, dict(zip(kinds, map(pa.array, columns, kinds.values()), strict=True)))


def _first_line(file: File) -> bytes:
    with unreadable(file.name), file.lines() as lines:
        return next(lines, b"")

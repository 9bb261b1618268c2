"""Amazon product reviews in the files of their publisher: `fetch.source: amazon-reviews`.

One category is read, from one of three editions:

    edition  reviews                                  metadata               the last category path
    2014     reviews_Electronics_5.json.gz            meta_….json.gz         the last of `categories`, a list of paths
    2018     Electronics_5.json.gz                    meta_….json.gz         `category`, one path
    2023     Electronics.jsonl.gz, or the 5-core      meta_….jsonl.gz        `categories`, one path
             Electronics.csv.gz (ids and ratings)

The first line tells the edition. The metadata of 2014 are Python literals, one per line, read by `ast.literal_eval`.
The item is the reviewed product: `asin`, or `parent_asin` in 2023, where variants of a product are one item.

The protocol is the paper's (arXiv 1706.06978, 6.1, and `x[-1][-1]` in its code). Each review is a click, whatever its
rating. The split is leave_last_out, with one sampled negative. The category is the last name of the last path. Times
are days, so most of them tie, and file order decides.

Rows are kept as given, including repeated reviews (the 5-core files of 2014 hold none). If an item is described twice,
the first description counts. Brand, all category names (`categories`) and the event's `rating` are kept for you to
declare.

Sources: https://jmcauley.ucsd.edu/data/amazon/ (2014), https://nijianmo.github.io/amazon/ (2018),
https://amazon-reviews-2023.github.io/ (2023).
"""

import ast
import re
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from din.errors import InputError
from din.params import fetch as blocks
from din.schema import BEHAVIOUR, ITEM_ID, LABEL, SEQUENCE, TIMESTAMP, USER_ID
from din.sources import columns, files, times
from din.sources.download import Download
from din.sources.files import File, unreadable
from din.sources.rawlog import Part, RawLog
from din.sources.typed import FLOAT, INT, TEXT, read_csv, read_json
from din.workspace import Workspace

FIELDS = {"item": {"category": "categorical"}}
_ASIN = re.compile(rb"\{'asin': '(\w+)'")  # nearly every line of the literal metadata begins like this
_PATH = pa.list_(TEXT)


class _Edition(NamedTuple):
    user: str
    item: str
    rating: str
    time: str
    unit: str
    path: str
    brand: str


_2018 = _Edition("reviewerID", "asin", "overall", "unixReviewTime", "s", "category", "brand")  # 2014's reviews too
_2023 = _Edition("user_id", "parent_asin", "rating", "timestamp", "ms", "categories", "store")


class AmazonReviews:
    """The reviews of one category, found at `fetch.amazon_reviews.path`."""

    def __init__(self, workspace: Workspace, params: blocks.AmazonReviews) -> None:
        self.workspace = workspace
        self.params = params

    def identity(self) -> Any:
        """Return the digests of both files."""
        return files.digests(self.workspace, self._files())

    def read(self) -> RawLog:
        """Read the reviews and the metadata of the reviewed items.

        Raises:
            InputError: a file is missing, there are several candidates for it, or it is not in the publisher's form.
                The message names the line.
        """
        reviews, metadata = self._files()
        edition = _2018 if b'"reviewerID"' in _first_line(reviews) else _2023
        types = {edition.user: TEXT, edition.item: TEXT, edition.rating: FLOAT, edition.time: INT}
        part = read_csv([reviews], types) if reviews.suffix == "csv" else read_json(reviews, types)
        one = np.ones(part.table.num_rows, np.int8)
        events = {
            USER_ID: part.table[edition.user],
            ITEM_ID: part.table[edition.item],
            TIMESTAMP: times.since_1970(part, edition.time, edition.unit),
            SEQUENCE: np.arange(len(one)),
            LABEL: one,
            BEHAVIOUR: one,
            "rating": part.table[edition.rating],
        }
        reviewed = pc.unique(part.table[edition.item].combine_chunks())
        if _first_line(metadata).startswith(b"{'"):
            items = _literals(metadata, {*reviewed.to_pylist()})
        else:
            items = _objects(metadata, edition, reviewed)
        return RawLog(
            events=Part(pa.table(events), part.files),
            items=items,
            fields=FIELDS,
            protocol="leave_last_out",
            order="sequence",
        )

    def _files(self) -> tuple[File, File]:
        download = Download.at(self.workspace, self.params.path, "fetch.amazon_reviews.path")
        endings = (".json", ".jsonl")
        metadata = download.only(
            lambda name: name.startswith("meta_") and name.endswith(endings), "metadata, e.g. meta_Electronics.json"
        )
        reviews = download.only(
            lambda name: not name.startswith("meta_") and name.endswith((*endings, ".csv")),
            "reviews, e.g. reviews_Electronics_5.json, Electronics_5.json, Electronics.jsonl or Electronics.csv",
        )
        return reviews, metadata


def _objects(file: File, edition: _Edition, reviewed: pa.Array) -> Part:
    """Read the metadata of 2018 or 2023."""
    types = {edition.item: TEXT, edition.path: _PATH, edition.brand: TEXT}
    part = read_json(file, types, keep=lambda batch: pc.is_in(batch[edition.item], value_set=reviewed))
    lengths, names = columns.lists(part.table[edition.path], None)
    ends = lengths.cumsum() - 1
    category = names.take(pa.array(ends, mask=lengths == 0))
    paths = columns.joined(lengths, names)
    ids = part.table[edition.item]
    brand = part.table[edition.brand]
    return _items(file, pa.table({ITEM_ID: ids, "category": category, "categories": paths, "brand": brand}))


def _literals(file: File, reviewed: set[str]) -> Part:
    """Read the metadata of 2014.

    The first key of a line tells whether its item was reviewed. Eight of nine lines are skipped by it, unparsed.
    """
    found: list[dict[str, Any]] = []
    with unreadable(file.name), file.lines() as lines:
        for number, line in enumerate(lines, 1):
            asin = _ASIN.match(line)
            if asin and asin[1].decode() not in reviewed:
                continue
            try:
                record = ast.literal_eval(line.decode())
                item = record["asin"]
                paths = record.get("categories") or [[]]
                names = list(dict.fromkeys(name for path in paths for name in path))
                if item in reviewed:
                    category = paths[-1][-1] if paths[-1] else None
                    row = {ITEM_ID: item, "category": category, "categories": names, "brand": record.get("brand")}
                    found.append(row)
            except (ValueError, SyntaxError, TypeError, KeyError, AttributeError, MemoryError, RecursionError) as error:
                raise InputError(
                    f"{file.name} line {number}: {line[:80]!r} ({error}); expected a Python dict with 'asin' and "
                    "'categories', a list of paths: download the file again"
                ) from None
        schema = pa.schema({ITEM_ID: TEXT, "category": TEXT, "categories": _PATH, "brand": TEXT})
        return _items(file, pa.Table.from_pylist(found, schema))


def _items(file: File, table: pa.Table) -> Part:
    """Keep the first row of each item."""
    codes = table[ITEM_ID].combine_chunks().dictionary_encode().indices.to_numpy()
    table = table.take(pa.array(np.sort(np.unique(codes, return_index=True)[1])))
    return Part(table, ((file.name, table.num_rows),))


def _first_line(file: File) -> bytes:
    with unreadable(file.name), file.lines() as lines:
        return next(lines, b"")

"""Probabilities for raw ids, from a bundle alone: no torch, no pandas, no feature files.

    scorer = Scorer.from_registry("s3://models/ctr", "movielens-100k")        # the champion, verified
    scorer.score({"user": {"user_id": 7}, "history": [50, 181], "candidates": [172, 96]})

`score` answers one request through request.onnx, where the history is encoded once whatever the number of candidates;
`score_many` packs many requests through batch.onnx. Memory is bounded: `Limits` refuse what is too large. Opening reads
and hashes every file once and keeps the vocabularies as dictionaries, about 100 bytes a value. docs/scoring.md has the
form of a request.
"""

import copy
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO, Literal

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from din import documents
from din.errors import InputError, Unavailable
from din.features.packing import PackedBatch
from din.names import Version
from din.registry.bundle import Verified, verify_bundle
from din.registry.registry import Registry
from din.schema import Field
from din.serve.encode import Encoder
from din.serve.inputs import feeds
from din.serve.limits import DEFAULT_LIMITS, Limits
from din.workspace import user_cache

REQUEST_GRAPH, BATCH_GRAPH = "request.onnx", "batch.onnx"
CACHE = user_cache() / "bundles"
_BATCH = 512  # requests encoded at once, unless they have more
_BATCH_ENTRIES = 1 << 14  # behaviours and candidates, or
_BATCH_BYTES = 1 << 22  # of lines of a file
_TOO_EXTREME = (
    "the probability is not a number; a numeric value of the request is too extreme: correct it, or send null"
)

Output = Literal["probability", "logit"]
Request = Mapping[str, Any]


class RequestError(InputError):
    """One of many requests is wrong: which (from 0), and what is wrong with it."""

    def __init__(self, number: int, problem: str) -> None:
        super().__init__(f"request {number}: {problem}")
        self.number, self.problem = number, problem


class Scorer:
    """A bundle, opened. Threads may share one: scoring changes nothing in it."""

    def __init__(self, directory: Path, version: str, threads: int, limits: Limits = DEFAULT_LIMITS) -> None:
        self.version, self.limits = version, limits
        self._encoder = Encoder(directory)
        self._request, self._batch = (Graph(directory / name, threads) for name in (REQUEST_GRAPH, BATCH_GRAPH))

    @classmethod
    def open(cls, directory: Path | str, threads: int = 1, limits: Limits = DEFAULT_LIMITS) -> "Scorer":
        """Open a local bundle.

        Args:
            directory: such as models/bundle.
            threads: of one call; a service that answers requests in parallel wants 1.
            limits: what a request may ask for.

        Raises:
            InputError: not a bundle, or a file of it is not what its manifest says.
        """
        return cls.of(verify_bundle(Path(directory)), threads, limits)

    @classmethod
    def of(cls, bundle: Verified, threads: int = 1, limits: Limits = DEFAULT_LIMITS) -> "Scorer":
        """Open a bundle that was verified just now. For the arguments see `open`."""
        return cls(bundle.directory, bundle.version, threads, limits)

    @classmethod
    def from_registry(
        cls, uri: str, model_name: str, number: int | None = None, threads: int = 1, cache: Path = CACHE
    ) -> "Scorer":
        """Open the champion of a registry, or the bundle of record `number`; fetched once, kept in `cache` by version.

        A cache that can't be written is reported on standard error, and the bundle is fetched to a temporary folder.

        Raises:
            InputError: no such registry, model or record; a log or a bundle that is damaged there.
            Unavailable: the registry doesn't answer.
        """
        registry = Registry(uri, model_name)
        record = registry.champion() if number is None else registry.record(number)
        if record is None:
            raise InputError(f"{registry.name}: no champion yet; promote a bundle first (`din promote`)")
        try:
            return cls.of(_cached(registry, record.version, cache), threads)
        except OSError as error:
            place = error.filename or cache
            print(f"{place}: {error.strerror}; scoring without the cache, from a temporary folder", file=sys.stderr)
        with TemporaryDirectory() as folder:  # a session keeps its files open: nothing is read later
            try:
                fetched = registry.fetch(record.version, Path(folder) / record.version)
                return cls.of(verify_bundle(fetched, record.version), threads)
            except OSError as error:
                raise Unavailable(
                    f"{error.filename or folder}: {error.strerror}; free some space, or set TMPDIR to another folder"
                ) from None

    def within(self, limits: Limits) -> "Scorer":
        """The same opened bundle with other limits."""
        other = copy.copy(self)
        other.limits = limits
        return other

    @property
    def fields(self) -> tuple[Field, ...]:
        """The fields that the model reads."""
        return self._encoder.fields

    @property
    def max_history(self) -> int:
        """Behaviours of a history that count: the last so many."""
        return self._encoder.max_history

    def score(self, request: Request, output: Output = "probability") -> NDArray[np.float64]:
        """Click probabilities (or logits) of one request's candidates, in their order. Shape [C].

        Raises:
            InputError: the request has another form, or asks for too much; says what was expected.
        """
        self.limits.check(request, self.max_history)
        return self._request.run_all(self._encoder.pack_one(request), output)

    def score_many(self, requests: Sequence[Request], output: Output = "probability") -> list[NDArray[np.float64]]:
        """The same for many requests at once, one array each.

        Raises:
            RequestError: a request has another form, or asks for too much; says which, and what was expected.
        """
        scores: list[NDArray[np.float64]] = []
        for some in self._batches(requests):
            try:
                flat = self._batch.run_all(self._encoder.pack(some), output)
            except InputError:
                self._blame(some, len(scores))
                raise
            scores += np.split(flat, np.cumsum([len(request["candidates"]) for request in some])[:-1])
        return scores

    def _batches(self, requests: Sequence[Request]) -> Iterator[list[Request]]:
        """Requests in order, as many at once as have `_BATCH_ENTRIES` behaviours and candidates together."""
        some: list[Request] = []
        entries = 0
        for number, request in enumerate(requests):
            try:
                self.limits.check(request, self.max_history)
            except InputError as error:
                raise RequestError(number, str(error)) from None
            size = _entries(request)
            if some and (len(some) == _BATCH or entries + size > _BATCH_ENTRIES):
                yield some
                some, entries = [], 0
            some.append(request)
            entries += size
        if some:
            yield some

    def _blame(self, requests: Sequence[Request], start: int) -> None:
        """Say which request of a batch is wrong: the batch was encoded as a whole, column by column."""
        for number, request in enumerate(requests, start):
            try:
                self._batch.run_all(self._encoder.pack([request]), "logit")
            except InputError as error:
                raise RequestError(number, str(error)) from None


def _cached(registry: Registry, version: Version, cache: Path) -> Verified:
    """Return a cached bundle that is exactly this version; fetch it where it is not there.

    Raises:
        OSError: the cache can't be read or written.
    """
    directory = cache / version
    try:
        return verify_bundle(directory, version)
    except InputError:  # not here yet, damaged, or not this bundle
        _remove(directory)
    cache.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=cache) as parent:
        fetched = registry.fetch(version, Path(parent) / version)
        try:
            fetched.rename(directory)
        except OSError:
            if not directory.is_dir():  # else another process was faster
                raise
    return verify_bundle(directory, version)


def _remove(path: Path) -> None:
    """Remove an entry of the cache; a link goes, and the folder it leads to stays."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _entries(request: Any) -> int:
    """Behaviours and candidates of a request, whatever its form."""
    values = [request.get(key) for key in ("history", "candidates")] if isinstance(request, Mapping) else []
    return sum(len(value) for value in values if isinstance(value, list | tuple))


class Graph:
    """One ONNX graph in an onnxruntime session."""

    def __init__(self, path: Path, threads: int) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self._session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self._inputs = [node.name for node in self._session.get_inputs()]

    def run_all(self, pieces: Iterable[PackedBatch], output: Output) -> NDArray[np.float64]:
        """One output of packed batches, one after the other."""
        return np.concatenate([np.empty(0), *(self.run(packed, output) for packed in pieces)])

    def run(self, packed: PackedBatch, output: Output) -> NDArray[np.float64]:
        """One output of a packed batch, [B]."""
        if len(packed) == 0:
            return np.empty(0)
        arrays = feeds(packed)
        found = self._session.run([output], {name: arrays[name] for name in self._inputs})
        scores = np.asarray(found[0], np.float64)
        if not np.isfinite(scores).all():
            raise InputError(_TOO_EXTREME)
        return scores


def score_file(scorer: Scorer, lines: BinaryIO) -> Iterator[dict[str, Any]]:
    """JSON-lines requests to one answer each, `{"version", "probabilities"}`; blank lines are skipped.

    Raises:
        InputError: a line is longer than the scorer's limit, not UTF-8, not JSON or not a request; names the line.
    """
    for some in _batches(lines, scorer.limits):
        most = scorer.limits.request_bytes
        requests = [documents.decode(line, f"line {number}", most) for number, line in some]
        try:
            found = scorer.score_many(requests)
        except RequestError as error:
            raise InputError(f"line {some[error.number][0]}: {error.problem}") from None
        yield from ({"version": scorer.version, "probabilities": scores.tolist()} for scores in found)


def _batches(lines: BinaryIO, limits: Limits) -> Iterator[list[tuple[int, bytes]]]:
    """Numbered lines, as many at once as have `_BATCH_BYTES` together."""
    some: list[tuple[int, bytes]] = []
    size = 0
    for number, line in enumerate(iter(lambda: lines.readline(limits.request_bytes + 1), b""), 1):
        if len(line) > limits.request_bytes:
            raise InputError(
                f"line {number}: longer than {limits.request_mb:g} MB; expected one request in each line: send fewer "
                "candidates in each, or raise the limit (din score --max-request-mb, Limits.request_mb)"
            )
        if not line.strip():
            continue
        if some and (len(some) == _BATCH or size + len(line) > _BATCH_BYTES):
            yield some
            some, size = [], 0
        some.append((number, line))
        size += len(line)
    if some:
        yield some

"""Score raw ids with a bundle, without torch, pandas or feature files.

    scorer = Scorer.from_registry("s3://models/ctr", "movielens-100k")        # the champion, verified
    scorer.score({"user": {"user_id": 7}, "history": [50, 181], "candidates": [172, 96]})

`score` answers one request with request.onnx, which encodes the history once for all candidates. `score_many` packs
many requests for batch.onnx. Memory is bounded, since `Limits` refuse large requests. Opening reads and hashes every
file once, and keeps the vocabularies as dictionaries, with about 100 bytes per value. docs/scoring.md describes
requests.
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
from din.serve.inputs import AGE, feeds
from din.serve.limits import DEFAULT_LIMITS, Limits
from din.serve.scores import Scores
from din.workspace import user_cache

REQUEST_GRAPH, BATCH_GRAPH = "request.onnx", "batch.onnx"
CACHE = user_cache() / "bundles"
# Limits of the requests that are encoded at once: their number, their behaviours and candidates, their bytes in a file.
_BATCH = 512
_BATCH_ENTRIES = 1 << 14
_BATCH_BYTES = 1 << 22
_TOO_EXTREME = (
    "the probability is not a number; a numeric value of the request is too extreme: correct it, or send null"
)

Output = Literal["probability", "logit"]
BOTH: tuple[Output, ...] = ("logit", "probability")
"""The outputs of a graph, in the order of the fields of `Scores`."""
Request = Mapping[str, Any]


class RequestError(InputError):
    """One of many requests is wrong, with its number, counted from 0, and the problem."""

    def __init__(self, number: int, problem: str) -> None:
        super().__init__(f"request {number}: {problem}")
        self.number = number
        self.problem = problem


class Scorer:
    """An open bundle. Threads may share one, since scoring changes nothing in it."""

    def __init__(self, directory: Path, version: str, threads: int, limits: Limits = DEFAULT_LIMITS) -> None:
        self.version = version
        self.limits = limits
        self._request = Graph(directory / REQUEST_GRAPH, threads)
        self._batch = Graph(directory / BATCH_GRAPH, threads)
        self._encoder = Encoder(directory, ages=AGE in self._request.inputs)

    @classmethod
    def open(cls, directory: Path | str, threads: int = 1, limits: Limits = DEFAULT_LIMITS) -> "Scorer":
        """Open a local bundle.

        Args:
            directory: e.g. models/bundle.
            threads: the threads of one call; 1 is best for a service that answers requests in parallel.
            limits: the largest requests to answer.

        Raises:
            InputError: the directory is not a bundle, or a file differs from its manifest.
        """
        return cls.of(verify_bundle(Path(directory)), threads, limits)

    @classmethod
    def of(cls, bundle: Verified, threads: int = 1, limits: Limits = DEFAULT_LIMITS) -> "Scorer":
        """Open a bundle that was just verified; for the arguments see `open`."""
        return cls(bundle.directory, bundle.version, threads, limits)

    @classmethod
    def from_registry(
        cls, uri: str, model_name: str, number: int | None = None, threads: int = 1, cache: Path = CACHE
    ) -> "Scorer":
        """Open the champion of a registry, or the bundle of record `number`.

        The bundle is fetched once and kept in `cache` by version. If the cache can't be written, that is reported on
        standard error, and the bundle is fetched to a temporary folder.

        Raises:
            InputError: the registry, model or record does not exist, or the log or the bundle is damaged.
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
        with TemporaryDirectory() as folder:  # it may go, since a session keeps its files open
            try:
                fetched = registry.fetch(record.version, Path(folder) / record.version)
                return cls.of(verify_bundle(fetched, record.version), threads)
            except OSError as error:
                raise Unavailable(
                    f"{error.filename or folder}: {error.strerror}; free some space, or set TMPDIR to another folder"
                ) from None

    def within(self, limits: Limits) -> "Scorer":
        """Return the same open bundle with other limits."""
        other = copy.copy(self)
        other.limits = limits
        return other

    @property
    def fields(self) -> tuple[Field, ...]:
        """The fields that the model reads."""
        return self._encoder.fields

    @property
    def max_history(self) -> int:
        """The number of last behaviours of a history that the model reads."""
        return self._encoder.max_history

    def example(self, candidates: int = 3) -> dict[str, Any]:
        """Return a request of a user and of items that the bundle knows; items repeat if they are too few."""
        return self._encoder.example(candidates)

    def score(self, request: Request, output: Output = "probability") -> NDArray[np.float64]:
        """Return click probabilities (or logits) of one request's candidates, in their order: [C].

        Raises:
            InputError: the request has another form or is too large. The message says what was expected.
        """
        return self._scored(request, output)[0]

    def both(self, request: Request) -> Scores:
        """Return logits and probabilities of one request's candidates; see `score`."""
        return Scores(*self._scored(request, *BOTH))

    def _scored(self, request: Request, *outputs: Output) -> NDArray[np.float64]:
        self.limits.check(request, self.max_history)
        return self._request.run_all(self._encoder.pack_one(request), *outputs)

    def score_many(self, requests: Sequence[Request], output: Output = "probability") -> list[NDArray[np.float64]]:
        """Score many requests at once, and return an array for each.

        Raises:
            RequestError: a request has another form or is too large. The message says which one, and what was
                expected.
        """
        return [found[0] for found in self._scored_many(requests, output)]

    def both_of_many(self, requests: Sequence[Request]) -> list[Scores]:
        """Return logits and probabilities of many requests; see `score_many`."""
        return [Scores(*found) for found in self._scored_many(requests, *BOTH)]

    def _scored_many(self, requests: Sequence[Request], *outputs: Output) -> list[NDArray[np.float64]]:
        scores: list[NDArray[np.float64]] = []
        for some in self._batches(requests):
            try:
                flat = self._batch.run_all(self._encoder.pack(some), *outputs)
            except InputError:
                self._blame(some, len(scores))
                raise
            scores += np.split(flat, np.cumsum([len(request["candidates"]) for request in some])[:-1], axis=1)
        return scores

    def _batches(self, requests: Sequence[Request]) -> Iterator[list[Request]]:
        """Yield requests in order, in batches of at most `_BATCH_ENTRIES` behaviours and candidates."""
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
                some = []
                entries = 0
            some.append(request)
            entries += size
        if some:
            yield some

    def _blame(self, requests: Sequence[Request], start: int) -> None:
        """Raise RequestError for the wrong request of a batch, which was encoded as a whole."""
        for number, request in enumerate(requests, start):
            try:
                self._batch.run_all(self._encoder.pack([request]), "logit")
            except InputError as error:
                raise RequestError(number, str(error)) from None


def _cached(registry: Registry, version: Version, cache: Path) -> Verified:
    """Return the cached bundle of exactly this version, and fetch it if it is missing.

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
            if not directory.is_dir():  # if it exists, another process was faster
                raise
    return verify_bundle(directory, version)


def _remove(path: Path) -> None:
    """Remove an entry of the cache; of a link, only the link."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _entries(request: Any) -> int:
    """Count the behaviours and candidates of a request of any form."""
    values = [request.get(key) for key in ("history", "candidates")] if isinstance(request, Mapping) else []
    return sum(len(value) for value in values if isinstance(value, list | tuple))


class Graph:
    """One ONNX graph in an onnxruntime session."""

    def __init__(self, path: Path, threads: int) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self._session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.inputs = [node.name for node in self._session.get_inputs()]

    def run_all(self, pieces: Iterable[PackedBatch], *outputs: Output) -> NDArray[np.float64]:
        """Return O outputs of all packed batches, one after the other: [O, B]."""
        nothing = np.empty((len(outputs), 0))
        return np.concatenate([nothing, *(self.run(packed, *outputs) for packed in pieces)], axis=1)

    def run(self, packed: PackedBatch, *outputs: Output) -> NDArray[np.float64]:
        """Return O outputs of a packed batch: [O, B]."""
        if len(packed) == 0:
            return np.empty((len(outputs), 0))
        arrays = feeds(packed)
        found = self._session.run(list(outputs), {name: arrays[name] for name in self.inputs})
        scores = np.asarray(found, np.float64)
        if not np.isfinite(scores).all():
            raise InputError(_TOO_EXTREME)
        return scores


def score_file(scorer: Scorer, lines: BinaryIO) -> Iterator[dict[str, Any]]:
    """Answer each request of a JSON-lines file with `{"version", "probabilities"}`; blank lines are skipped.

    Raises:
        InputError: a line is longer than the scorer's limit, not UTF-8, not JSON or not a request. The message names
            the line.
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
    """Yield numbered lines in batches of at most `_BATCH_BYTES`."""
    some: list[tuple[int, bytes]] = []
    size = 0
    for number, line in enumerate(iter(lambda: lines.readline(limits.request_bytes + 1), b""), 1):
        if len(line) > limits.request_bytes:
            raise InputError(
                f"line {number}: longer than {limits.request_mb:g} MB; expected one request per line: send fewer "
                "candidates in each, or raise the limit (din score --max-request-mb, Limits.request_mb)"
            )
        if not line.strip():
            continue
        if some and (len(some) == _BATCH or size + len(line) > _BATCH_BYTES):
            yield some
            some = []
            size = 0
        some.append((number, line))
        size += len(line)
    if some:
        yield some

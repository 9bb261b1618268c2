"""Score raw ids with a bundle, without torch, pandas or feature files.

    scorer = Scorer.open("models/bundle")        # verified; `din.release.registry.cache` opens a champion
    scorer.score({"user": {"user_id": 7}, "history": [50, 181], "candidates": [172, 96]})

C kernels score the built-in models (`din.bundle.native`). Where there is no C compiler, and for other models,
onnxruntime does: `score` answers one request with request.onnx, which encodes the history once for all candidates, and
`score_many` packs many requests for batch.onnx. Memory is bounded, because requests beyond `Limits` are refused.
Opening a bundle reads and hashes every file once, and keeps the vocabularies as dictionaries, with about 100 bytes per
value. docs/serving.md describes requests.
"""

import contextlib
import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Self, TypeVar

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from typing_extensions import override

from din.base import documents
from din.base.errors import InputError
from din.bundle.contents import Verified, verify_bundle
from din.bundle.encode import PIECE, Encoder
from din.bundle.graph_inputs import AGE, feeds
from din.bundle.limits import DEFAULT_LIMITS, Limits
from din.bundle.native import NativeModel
from din.features.packing import PackedBatch
from din.schema import Field, Group

REQUEST_GRAPH, BATCH_GRAPH = "request.onnx", "batch.onnx"
# Limits of a batch of requests: their number, their behaviours and candidates, and their bytes in a file.
_BATCH = 512
_BATCH_ENTRIES = 1 << 14
_BATCH_BYTES = 1 << 22
_NO_MEMORY = ("bad_alloc", "Failed to allocate memory")
_TOO_EXTREME = (
    "the probability is not a number; a numeric value of the request is too extreme: correct it, or send null"
)

Request = Mapping[str, Any]
Vector = NDArray[np.float64]
T = TypeVar("T")


@dataclass(frozen=True)
class Scores:
    """The logits and probabilities of N impressions, [N] each."""

    logits: Vector
    probabilities: Vector

    @classmethod
    @np.errstate(all="ignore")
    def of_logits(cls, logits: Vector) -> "Scores":
        """Return the logits with their probabilities, 1/(1 + e^−logit). One that is not finite may give NaN."""
        return cls(logits, np.exp(-np.logaddexp(0, -logits)))

    @classmethod
    def joined(cls, parts: "Sequence[Scores]") -> "Scores":
        """Return the concatenated scores of all parts."""
        nothing = np.empty(0)
        logits = np.concatenate([nothing, *(part.logits for part in parts)])
        return cls(logits, np.concatenate([nothing, *(part.probabilities for part in parts)]))

    def split(self, counts: Sequence[int]) -> "list[Scores]":
        """Split the scores into parts with these numbers of impressions."""
        ends = np.cumsum(counts)[:-1]
        parts = (np.split(self.logits, ends), np.split(self.probabilities, ends))
        return [Scores(*part) for part in zip(*parts, strict=True)]


class RequestError(InputError):
    """One of many requests, with this number, counted from 0, is malformed or too large."""

    def __init__(self, number: int, problem: str) -> None:
        super().__init__(f"request {number}: {problem}")
        self.number = number
        self.problem = problem


class Scorer:
    """An open bundle. Threads may share it, because scoring does not modify it.

    Args:
        native: use C kernels where they support the model and this machine. False: use onnxruntime.

    Attributes:
        native: whether C kernels score.
    """

    def __init__(self, bundle: Verified, *, native: bool = True) -> None:
        self.version = bundle.version
        self.limits = DEFAULT_LIMITS
        model = NativeModel.open(bundle.directory) if native else None
        self.native = model is not None
        self._request = Kernels(model, request=True) if model else Graph(bundle.directory / REQUEST_GRAPH)
        self._batch = Kernels(model, request=False) if model else Graph(bundle.directory / BATCH_GRAPH)
        self.reads_ages = self._request.reads_ages
        self._encoder = Encoder(bundle.directory, ages=self.reads_ages)

    @classmethod
    def open(cls, directory: Path | str, *, native: bool = True) -> Self:
        """Open a local bundle, e.g. models/bundle.

        Raises:
            InputError: the directory is not a bundle, or a file differs from its manifest.
        """
        return cls(verify_bundle(Path(directory)), native=native)

    def within(self, limits: Limits) -> Self:
        """Return the same open bundle with other limits on the size of requests."""
        other = copy.copy(self)
        other.limits = limits
        return other

    @property
    def fields(self) -> tuple[Field, ...]:
        """The fields that the model reads."""
        return self._encoder.fields

    @property
    def max_history(self) -> int:
        """The largest number of behaviours, the newest of a history, that the model reads."""
        return self._encoder.max_history

    @property
    def users(self) -> Collection[Any]:
        """The ids of the users whose profiles are in the bundle, as text."""
        return self._encoder.known(Group.USER)

    def example(self, candidates: int = 3) -> dict[str, Any]:
        """Return a request with items that the bundle knows and an unknown user. Items repeat if there are too few."""
        return self._encoder.example(candidates)

    def score(self, request: Request) -> Vector:
        """Return the click probabilities [C] of one request's candidates, in order.

        Raises:
            InputError: the request is malformed or too large. The message states what was expected.
        """
        return self.both(request).probabilities

    def both(self, request: Request) -> Scores:
        """Return logits and probabilities of one request's candidates; see `score`."""
        self.limits.check(request, self.max_history)
        return self._request.run_all(self._encoder.pack_one(request, self._request.piece))

    def score_many(self, requests: Sequence[Request]) -> list[Vector]:
        """Score many requests at once, and return an array [C] for each.

        Raises:
            RequestError: a request is malformed or too large. The message states which one, and what was expected.
        """
        return [scores.probabilities for scores in self.both_of_many(requests)]

    def both_of_many(self, requests: Sequence[Request]) -> list[Scores]:
        """Return logits and probabilities of many requests; see `score_many`."""
        all_scores: list[Scores] = []
        for group in grouped(self._checked(requests), _entries, _BATCH_ENTRIES):
            try:
                scores = self._batch.run_all(self._encoder.pack(group, self._batch.piece))
            except InputError:
                self._blame(group, len(all_scores))
                raise
            all_scores += scores.split([len(request["candidates"]) for request in group])
        return all_scores

    def _checked(self, requests: Sequence[Request]) -> Iterator[Request]:
        for number, request in enumerate(requests):
            try:
                self.limits.check(request, self.max_history)
            except InputError as error:
                raise RequestError(number, str(error)) from None
            yield request

    def _blame(self, requests: Sequence[Request], start: int) -> None:
        """Raise RequestError for the first request that fails when it is scored alone."""
        for number, request in enumerate(requests, start):
            try:
                self._batch.run_all(self._encoder.pack([request]))
            except InputError as error:
                raise RequestError(number, str(error)) from None


def _entries(request: Any) -> int:
    """Count the behaviours and candidates of a request, which may be malformed."""
    values = [request.get(key) for key in ("history", "candidates")] if isinstance(request, Mapping) else []
    return sum(len(value) for value in values if isinstance(value, list | tuple))


@contextlib.contextmanager
def _needing_memory() -> Iterator[None]:
    """Turn onnxruntime's errors of too little memory into a MemoryError. They have no class of their own."""
    try:
        yield
    except Exception as error:
        if any(words in str(error) for words in _NO_MEMORY):
            raise MemoryError(str(error)) from error
        raise


class GraphSession(ort.InferenceSession):
    """An onnxruntime session on the CPU. Opening or running it raises a MemoryError if memory is too little."""

    def __init__(self, model: Path | bytes, threads: int) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        with _needing_memory():
            super().__init__(model, options, providers=["CPUExecutionProvider"])

    @override
    def run(self, output_names: Sequence[str] | None, input_feed: Mapping[str, Any], run_options: Any = None) -> Any:
        with _needing_memory():
            return super().run(output_names, input_feed, run_options)


class Runner(ABC):
    """A way to score packed batches.

    Attributes:
        piece: the number of packed behaviours, or of pairs in a request, that it scores fastest.
        reads_ages: whether the model reads how old behaviours are.
    """

    piece: int
    reads_ages: bool

    def run_all(self, pieces: Iterable[PackedBatch]) -> Scores:
        """Return the concatenated scores of all packed batches."""
        return Scores.joined([self.run(packed) for packed in pieces])

    def run(self, packed: PackedBatch) -> Scores:
        """Return the scores of a packed batch.

        Raises:
            InputError: a score is not finite.
        """
        if len(packed) == 0:
            return Scores.joined([])
        scores = self._scores(packed)
        if not np.isfinite([scores.logits, scores.probabilities]).all():
            raise InputError(_TOO_EXTREME)
        return scores

    @abstractmethod
    def _scores(self, packed: PackedBatch) -> Scores:
        """Return the scores of a batch that is not empty."""


class Graph(Runner):
    """One ONNX graph in an onnxruntime session. One thread per call is best for a service with many requests."""

    piece = PIECE

    def __init__(self, path: Path, threads: int = 1) -> None:
        self._session = GraphSession(path, threads)
        self._inputs = [node.name for node in self._session.get_inputs()]
        self.reads_ages = AGE in self._inputs

    @override
    def _scores(self, packed: PackedBatch) -> Scores:
        arrays = feeds(packed)
        outputs = self._session.run(["logit", "probability"], {name: arrays[name] for name in self._inputs})
        return Scores(*np.asarray(outputs, np.float64))


class Kernels(Runner):
    """A built-in model in C, for batches that are requests or for all others."""

    def __init__(self, model: NativeModel, *, request: bool) -> None:
        self._model = model
        self._request = request
        self.piece = 1 << 16 if request else PIECE  # C cuts it into tiles, and numpy calls cost little beside it
        self.reads_ages = model.reads_ages

    @override
    def _scores(self, packed: PackedBatch) -> Scores:
        return Scores.of_logits(self._model(packed, request=self._request).astype(np.float64))


def score_file(scorer: Scorer, lines: BinaryIO) -> Iterator[dict[str, Any]]:
    """Return `{"version", "probabilities"}` for each request of a JSON-lines file. Blank lines are skipped.

    Raises:
        InputError: a line is longer than the scorer's limit, not UTF-8, not JSON or not a request. The message names
            the line.
    """
    return score_texts(scorer, request_lines(lines, scorer.limits), "line {}".format)


def score_texts(
    scorer: Scorer, texts: Iterable[tuple[int, bytes]], named: Callable[[int], str]
) -> Iterator[dict[str, Any]]:
    """Yield what `score_file` does for each request, a number and JSON; `named` returns a number's place for messages.

    Raises:
        InputError: as `score_file`.
    """
    most = scorer.limits.request_bytes
    for group in grouped(texts, lambda text: len(text[1]), _BATCH_BYTES):
        requests = [documents.decode(text, named(number), most) for number, text in group]
        try:
            answers = scorer.score_many(requests)
        except RequestError as error:
            raise InputError(f"{named(group[error.number][0])}: {error.problem}") from None
        yield from ({"version": scorer.version, "probabilities": scores.tolist()} for scores in answers)


def request_lines(lines: BinaryIO, limits: Limits) -> Iterator[tuple[int, bytes]]:
    """Yield the number and content of each line that is not blank.

    Raises:
        InputError: a line is longer than the limit.
    """
    for number, line in enumerate(iter(lambda: lines.readline(limits.request_bytes + 1), b""), 1):
        if len(line) > limits.request_bytes:
            raise InputError(
                f"line {number}: longer than {limits.request_mb:g} MB; expected one request per line: send fewer "
                "candidates in each, or raise the limit (din score --max-request-mb, Limits.request_mb)"
            )
        if line.strip():
            yield number, line


def grouped(elements: Iterable[T], size: Callable[[T], int], most: int) -> Iterator[list[T]]:
    """Yield elements in order, in groups of at most `_BATCH` elements and a total size of at most `most`.

    A group of a single element may be larger.
    """
    group: list[T] = []
    total = 0
    for element in elements:
        if group and (len(group) == _BATCH or total + size(element) > most):
            yield group
            group = []
            total = 0
        group.append(element)
        total += size(element)
    if group:
        yield group

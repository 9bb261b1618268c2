"""Scoring raw requests: matches, unknown values, and refusals."""

import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from time import process_time, thread_time
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from onnx import TensorProto, helper

from din.base.errors import InputError
from din.bundle import Scorer
from din.bundle.contents import verify_bundle
from din.bundle.encode import Vocabulary
from din.bundle.latency import in_session, relative_time
from din.bundle.scorer import RequestError, score_file
from din.release.registry.cache import scorer_of
from din.release.registry.registry import Registry
from tests.factories.bundles import REQUEST, Finished

FORBIDDEN = ("torch", "pandas", "onnx", "onnxscript", "duckdb", "ibis", "great_expectations")


def same(one: Any, other: Any) -> bool:
    return bool(np.allclose(one, other, atol=1e-6, rtol=0))


def differs(one: Any, other: Any) -> bool:
    return bool(np.abs(np.asarray(one) - np.asarray(other)).max() > 1e-6)


def test_scoring_needs_no_training_framework(finished: Finished) -> None:
    """A process in which the import of training frameworks fails opens a bundle and scores."""
    script = f"""
import importlib.abc, importlib.machinery, json, sys
class Refuse(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path=None, target=None):
        return importlib.machinery.ModuleSpec(name, self) if name.partition(".")[0] in {FORBIDDEN!r} else None
    def exec_module(self, module):
        raise ImportError(module.__name__ + " is not for serving")
sys.meta_path.insert(0, Refuse())
from din.bundle import Scorer, encode
scorer = Scorer.open({str(finished.bundle)!r})
print(json.dumps(scorer.score(json.loads({json.dumps(REQUEST)!r})).tolist()))
assert not {{name.partition(".")[0] for name in sys.modules}} & set({FORBIDDEN!r})
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert same(json.loads(done.stdout), Scorer.open(finished.bundle).score(REQUEST))


def test_too_little_memory_is_no_fault_of_a_graph() -> None:
    """A graph that asks for more memory than any machine has raises Python's own error."""
    shape = helper.make_tensor("shape", TensorProto.INT64, [1], [1 << 60])
    nodes = [helper.make_node("Expand", ["x", "shape"], ["all"]), helper.make_node("ReduceSum", ["all"], ["sum"])]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "sum")]
    graph = helper.make_graph(nodes, "huge", ends[:1], ends[1:], [shape])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    with pytest.raises(MemoryError, match="Failed to allocate memory"):
        in_session(model.SerializeToString(), {"x": np.ones(1, np.float32)}, 1)()


def test_a_request_runs_in_the_calling_thread(finished: Finished) -> None:
    """The calling thread's CPU time is that of the whole process, so no work escapes the gate's measurement."""
    bundle = verify_bundle(finished.bundle)
    process = process_time()
    thread = thread_time()
    relative_time(bundle, None)
    assert thread_time() - thread == pytest.approx(process_time() - process, rel=0.1)


def test_large_work_is_done_in_pieces(scorer: Scorer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces of any size, down to one impression each, give equal answers."""
    requests = [REQUEST, {"candidates": []}, {"candidates": ["i1", "i2"]}, REQUEST | {"history": ["i1"] * 6}]
    one, many = [scorer.score(request) for request in requests], scorer.score_many(requests)
    for size in (1, 5, 9):
        monkeypatch.setattr(scorer._request, "piece", size)
        monkeypatch.setattr(scorer._batch, "piece", size)
        assert len(list(scorer._encoder.pack(requests, size))) > 1
        assert all(map(same, one, (scorer.score(request) for request in requests)))
        assert all(map(same, many, scorer.score_many(requests)))


def test_ids_match_by_their_text(scorer: Scorer) -> None:
    """7, 7.0 and "7" are one user, and in the same way one category."""
    scores = [scorer.score(REQUEST | {"user": {"user_id": user}}) for user in (4, 4.0, "4", "4.0", np.int64(4))]
    assert all(same(scores[0], other) for other in scores[1:])
    assert differs(scores[0], scorer.score(REQUEST | {"user": {"user_id": "4.5"}}))
    tabs = [scorer.score(REQUEST | {"context": {"tab": tab}}) for tab in (2, "2", 2.0)]
    assert all(same(tabs[0], other) for other in tabs[1:])


@pytest.mark.parametrize(
    ("values", "key", "row"),
    [
        ([1.1, 5.0], "1.10", 1),
        ([1.1, 5.0], "5.0", 2),
        ([7, 8], "8.0", 2),
        ([7, 8], "nine", 0),
        ([7, 8], "1e999", 0),
        ([2**53, 2**53 + 2], f"{2**53 + 1}.0", 0),
        (["1.1", "x"], "1.10", 0),
        (["true", "false"], True, 1),
        ([False, True], "true", 2),
        ([False, True], "yes", 0),
    ],
)
def test_a_value_is_known_as_the_log_spelled_it(values: list[object], key: object, row: int) -> None:
    """A CSV's text for a number or a boolean is that value, whatever a client sends; other text is itself."""
    assert Vocabulary([None, *values]).rows([key]) == [row]


def test_unknown_values_count_as_missing(scorer: Scorer) -> None:
    """Unseen ids and categories, null, NaN, infinities and absent keys are all row 0."""
    nothing = scorer.score({"candidates": [None]})
    for request in (
        {"candidates": ["never seen"], "user": None, "history": None, "context": None},
        {"candidates": [{"item_id": "never seen", "category": "new", "tags": ["new"], "price": float("nan")}]},
        {"candidates": [{}], "user": {"user_id": "?", "age": float("inf"), "likes": []}},
        {"candidates": ["x"], "context": {"tab": 99, "hour": None, "marks": None}, "history": []},
    ):
        assert same(scorer.score(request), nothing)
    assert differs(
        scorer.score({"candidates": [None], "history": [None]}), nothing
    )  # an unknown behaviour still counts


def test_the_bundle_knows_profiles_and_side_fields(finished: Finished, scorer: Scorer) -> None:
    """An id alone has the log's profile or side fields, and values in the request take precedence."""
    user = next(row for row in table(finished, "users") if row["age"] is not None and row["likes"])
    item = next(row for row in table(finished, "items") if row["price"] is not None and row["tags"] and row["year"])
    bare = {"user": {"user_id": user["user_id"]}, "candidates": [item["item_id"]]}
    assert same(scorer.score(bare), scorer.score({"user": user, "candidates": [item]}))
    assert differs(scorer.score(bare), scorer.score(bare | {"user": user | {"age": 20 if user["age"] > 40 else 59}}))
    assert differs(scorer.score(bare), scorer.score(bare | {"candidates": [item | {"price": 400.0}]}))


def test_a_vector_is_that_of_the_item_or_of_the_request(finished: Finished, scorer: Scorer) -> None:
    """The bundle knows an item's vector, a new item can bring its own, and what isn't whole is missing."""
    item = next(row for row in table(finished, "items") if row["embedding"])
    bare = {"candidates": [item["item_id"]]}
    assert same(scorer.score(bare), scorer.score({"candidates": [item]}))
    assert differs(scorer.score(bare), scorer.score({"candidates": [item | {"embedding": [9.0, -9.0, 9.0]}]}))
    new = [{"item_id": "new", "embedding": vector} for vector in ([1.0, 2.0, 3.0], [1, 2, 3], [3.0, 2.0, 1.0])]
    scores = scorer.score({"candidates": new})
    assert scores[0] == scores[1] != scores[2]
    missing: list[Any] = [None, [], [1.0, None, 2.0], [1.0, float("nan"), 2.0], [1.0, float("inf"), 2.0], [1, 2, 1e300]]
    assert len(set(scorer.score({"candidates": [{"embedding": vector} for vector in missing]}))) == 1


def table(finished: Finished, name: str) -> list[dict[str, Any]]:
    return pq.read_table(finished.raw / f"{name}.parquet").to_pylist()


def test_candidates_do_not_see_each_other(scorer: Scorer) -> None:
    """Duplicates get equal scores, and neither order nor other candidates change a score."""
    a, b, c = scorer.score(REQUEST | {"candidates": ["i3", "i8", "i3"]})
    assert same([a], [c])
    assert same(scorer.score(REQUEST | {"candidates": ["i8"]}), [b])


WRONG = {
    "not an object": (
        ["i1"],
        "a request: .*expected an object with keys among candidates, context, history, time,",
    ),
    "an unknown key": ({"candidates": [], "users": {}}, "a request: unknown key 'users'; valid keys: candidates, "),
    "one candidate alone": ({"candidates": "i1"}, "candidates: 'i1'; expected a list"),
    "user is no object": ({"candidates": [], "user": 7}, "user: 7; expected an object with keys among age, likes, us"),
    "an unknown user key": ({"candidates": [], "user": {"agee": 1}}, "user: unknown key 'agee'; valid keys: age, lik"),
    "feedback on a candidate": ({"candidates": [{"rating": 5}]}, "candidates: unknown key 'rating'; valid keys: categ"),
    "a time of a model without ages": ({"candidates": [], "time": 10**400}, "time: .*; expected a number of seconds"),
    "a nested id": ({"candidates": [["i1"]]}, r"item_id: \['i1'\] is not one value; expected a number or text"),
    "a number as text": ({"candidates": [{"price": "cheap"}]}, "price: 'cheap' is not a number; expected a number, or"),
    "a number beyond floats": (
        {"candidates": [{"price": 10**400}]},
        r"price: 10+\.\.\.0+ is beyond the range",
    ),
    "one tag alone": ({"candidates": [{"tags": "t1"}]}, "tags: 't1'; expected a list of values, or null"),
    "a vector cut short": (
        {"candidates": [{"embedding": [0.5, 0.5]}]},
        "embedding: 2 numbers; expected 3, or null where the vector is missing",
    ),
    "too extreme a vector": ({"candidates": [{"embedding": [3.4e38] * 3}]}, "the probability is not a number; .* too"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_request_is_refused_with_one_clear_message(wrong: str, scorer: Scorer) -> None:
    """The message names the value, the expectation and the next step, and the number of one among many requests."""
    request, message = WRONG[wrong]
    with pytest.raises(InputError, match=message):
        scorer.score(request)
    with pytest.raises(RequestError, match=message) as error:
        scorer.score_many([REQUEST, REQUEST, request, REQUEST])
    assert error.value.number == 2


def lines(*texts: str | bytes) -> io.BytesIO:
    return io.BytesIO(b"\n".join(text.encode() if isinstance(text, str) else text for text in texts))


def test_a_file_of_requests(scorer: Scorer) -> None:
    """Each line has one answer with the version, in order, and blank lines have none."""
    answers = list(score_file(scorer, lines(json.dumps(REQUEST), "", json.dumps({"candidates": []}))))
    assert [answer["version"] for answer in answers] == [scorer.version] * 2
    assert same(answers[0]["probabilities"], scorer.score(REQUEST))
    assert answers[1]["probabilities"] == []
    json.dumps(answers)


def test_old_bundles_leave_the_cache(own: Finished, tmp_path: Path) -> None:
    """A fetch leaves the two that were used last, those of the last hour, and nothing of a killed process.

    A number names a record's bundle, and without one the champion's is fetched.
    """
    uri, cache = str(tmp_path / "registry"), tmp_path / "cache"
    registry = Registry(uri, "test")
    versions = []
    for number in range(6):
        (own.bundle / "MODEL_CARD.md").write_text(f"{number}\n")
        record = registry.append(own.reseal(), registry.champion(), by="me", reason="a test")
        registry.put_bundle(own.bundle)
        versions.append(record.version)

    def use(number: int, hours: int) -> None:
        scorer_of(uri, "test", number=number + 1, cache=cache)
        then = time.time() - 3600 * hours
        os.utime(cache / versions[number], (then, then))

    for number, hours in enumerate([9, 8, 7, 6, 0]):
        use(number, hours)
    (cache / "tmpkilled").mkdir()
    os.utime(cache / "tmpkilled", (0, 0))
    (cache / "tmpfetching").mkdir()
    use(0, hours=5)
    use(5, hours=0)
    assert {path.name for path in cache.iterdir()} == {versions[number] for number in (0, 4, 5)} | {"tmpfetching"}
    for number in (3, 2):
        use(number, hours=0)
    assert {path.name for path in cache.iterdir()} == {versions[number] for number in (2, 3, 4, 5)} | {"tmpfetching"}
    assert scorer_of(uri, "test", cache=cache).version == versions[-1]

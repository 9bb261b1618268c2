"""The actors of the simulation on a store that speaks S3, whose network fails: threads instead of chosen steps."""

import random
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from faulty_proxy import Fault, FaultyProxy
from s3 import BUCKET
from simulation.actors import (
    Actor,
    Collector,
    Compared,
    Delivered,
    Judge,
    Promoter,
    Reader,
    Rollback,
    Verifier,
    candidate,
    candidates_by_version,
)

from din.errors import GateClosed, InputError, Unavailable
from din.registry import looks
from din.registry.records import Record
from din.registry.registry import Registry

URI = f"s3://{BUCKET}/ctr"
HISTORIES = 40
FAULTS = (
    Fault("answer", "PUT", "", 409, "ConditionalRequestConflict"),
    Fault("answer", "PUT", "", 412, "PreconditionFailed"),
    Fault("answer", "PUT", "", 429, "SlowDown"),
    Fault("answer", "PUT", "", 500, "InternalError"),
    Fault("answer", "GET", "", 500, "InternalError"),
    Fault("landed", "PUT", "promotions/", 500, "InternalError"),
    Fault("lose", "PUT", "", 500),
    Fault("lose", "PUT", "promotions/", 500),
    Fault("refuse", "GET", "promotions"),
    Fault("truncate", "GET", "bundles/"),
)


def run(actor: Actor, model: str) -> object:
    """Run a command, and return its result or its error."""
    try:
        return actor.act(Registry(URI, model))
    except (InputError, Unavailable, GateClosed) as error:
        return error


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(HISTORIES))
def test_actors_keep_the_rules(seed: int, proxy: FaultyProxy, tmp_path: Path) -> None:
    """Acknowledged promotions stay, readers get whole bundles, errors have causes, and every rerun completes."""
    plan = random.Random(seed)
    model = f"simulated-{seed}"
    first = Promoter("first", candidate(0), "run-0").act(Registry(URI, model))
    actors: list[Actor] = [
        Promoter("one", candidate(1), "run-1"),
        Promoter("two", candidate(2), "run-2"),
        Promoter("two again", candidate(2), "run-2"),
        Judge("judge", candidate(3)),
        Judge("judge again", candidate(3)),
        Rollback("rollback", to=1),
        Reader("reader", tmp_path / "reader"),
        Collector("gc", timedelta(hours=1)),
        Verifier("verifier"),
    ]
    chosen = plan.sample(actors, 4)
    fault = plan.choice(FAULTS)
    proxy.inject(Fault(fault.kind, fault.method, fault.part, fault.status, fault.code, times=plan.choice((1, 2, 5))))
    with ThreadPoolExecutor(len(chosen)) as pool:
        results = list(pool.map(lambda actor: run(actor, model), chosen))
    met = proxy.hits
    proxy.inject(None)
    registry = Registry(URI, model)
    log = registry.history()
    assert log[0] == first and [record.number for record in log] == list(range(1, len(log) + 1))
    for actor, result in zip(chosen, results, strict=True):
        check(actor, result, log, met > 0)
        again = run(actor, model)
        assert not isinstance(again, Unavailable), again
        check(actor, again, registry.history(), faulty=False)
    assert registry.history()[: len(log)] == log
    assert registry.verify() == looks.damage(registry) == []


def check(actor: Actor, result: object, log: list[Record], faulty: bool) -> None:
    """Check a result against the log, and that an error has a cause."""
    if isinstance(result, Record):
        assert log[result.number - 1] == result
    elif isinstance(result, Delivered):
        assert log[result.record.number - 1] == result.record
        assert result.files == candidates_by_version()[result.record.version].files
    elif isinstance(result, Compared):
        assert log[result.champion.number - 1] == result.champion
        assert [one.equals(candidate(3).look) for one in result.looks] == [True]
    elif isinstance(result, Unavailable):
        assert faulty, result
    elif isinstance(result, GateClosed):
        assert isinstance(actor, Promoter | Rollback) and len(log) > 1, result
    elif isinstance(result, InputError):
        assert isinstance(actor, Rollback) and "is the champion already" in str(result), result

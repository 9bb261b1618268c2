"""Results below `.din/warranty/`, so that an interrupted run goes on. Other code or settings start anew."""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, as_completed
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from pydantic import TypeAdapter

from benchmarks.environments import ROOT
from din import code
from din.artifacts import atomic_path
from din.params import Params, to_json

STORE = ROOT / ".din" / "warranty"
_CODE = ("benchmarks.warranty.lessons", "benchmarks.warranty.waiting")


def folder_of(params: Params, store: Path = STORE) -> Path:
    """Return the folder for results of this code with these settings."""
    settings = to_json(params)
    text = json.dumps([settings, code.digests(code.closure(_CODE, settings))], sort_keys=True)
    return store / sha256(text.encode()).hexdigest()[:12]


T = TypeVar("T")


def each(pool: Executor, folder: Path, run: Callable[..., T], tasks: Mapping[str, Sequence[Any]]) -> list[T]:
    """Run every task that has no kept result, and return the results of all, in order.

    Args:
        pool: computes them.
        folder: where results are kept.
        run: computes a result; its annotation says of which type.
        tasks: the arguments of each, by a name that stays the same.
    """
    adapter = TypeAdapter(get_type_hints(run)["return"])
    paths = {name: folder / f"{name}.json" for name in tasks}
    waiting = {pool.submit(run, *tasks[name]): name for name, path in paths.items() if not path.exists()}
    for future in as_completed(waiting):
        name = waiting[future]
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_path(paths[name]) as temporary:
            temporary.write_bytes(adapter.dump_json(future.result()))
        done = sum(path.exists() for path in paths.values())
        print(f"{done} of {len(paths)}: {name}", file=sys.stderr, flush=True)
    return [adapter.validate_json(path.read_bytes()) for path in paths.values()]

"""The harness of all studies: run named cases, and store the result of each.

    <folder>/<name>-<digest>.json    the result of a case, its *document*; the case may write other files next to it

The digest covers the function, its arguments, and all code that its module imports. A finished case is not run again,
so an interrupted study resumes. A case with other arguments or code runs anew, so a page never shows a result of older
code under today's commit. The digest does not cover versions of packages, and contents of files that an argument only
names.
"""

import argparse
import hashlib
import json
import multiprocessing
import os
import re
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any, Generic, TypeVar, get_type_hints

from pydantic import TypeAdapter
from pydantic_core import to_jsonable_python

from benchmarks.environments import ROOT
from din.base.artifacts import atomic_path
from din.base.progress import progress
from din.metrics.estimates import Interval
from din.params.reading import Params
from din.plugins import PACKAGES
from din.stages import code

STORE = ROOT / ".din"
"""The folder with the results of all studies, one folder per study."""
T = TypeVar("T")


@dataclass(frozen=True)
class StudyCase(Generic[T]):
    """One case of a study.

    Attributes:
        name: a name that is unique within the study.
        run: a module-level function, called with the path of its document and the arguments. Its return annotation is
            the type of the document.
        arguments: values that pydantic can turn into JSON.
    """

    name: str
    run: Callable[..., T]
    arguments: tuple[Any, ...] = ()

    def path(self, folder: Path) -> Path:
        """Return the path of the document in the folder of the study."""
        what = [self.run.__qualname__, to_jsonable_python(self.arguments), _code_of(_module_of(self.run))]
        digest = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()
        name = re.sub(r"[^\w.]+", "-", self.name)
        return folder / f"{name}-{digest[:12]}.json"


def results(folder: Path, cases: Sequence[StudyCase[T]], jobs: int = 0) -> list[T]:
    """Run the cases that have no document yet, and return the results of all cases, in order.

    Args:
        jobs: the number of processes. With 0, this process runs the cases in order, so a case can use files that
            earlier ones wrote.
    """
    paths = [case.path(folder) for case in cases]
    missing = [(case, path) for case, path in zip(cases, paths, strict=True) if not path.exists()]
    with progress(len(cases), folder.name, "case", initial=len(cases) - len(missing)) as bar:
        for name in _in_processes(missing, jobs) if jobs else (_keep(*pair) for pair in missing):
            bar.set_postfix_str(name, refresh=False)
            bar.update()
    return [_adapter(case.run).validate_json(path.read_bytes()) for case, path in zip(cases, paths, strict=True)]


def parsed(parser: argparse.ArgumentParser, full: Mapping[str, object]) -> argparse.Namespace:
    """Parse the command line of a study, whose defaults are the sizes of `make evidence`.

    Args:
        full: the defaults with `--full`, by option.
    """
    parser.add_argument("--full", action="store_true", help=f"the sizes {_listed(full)}, which take much longer")
    sizes = full if parser.parse_known_args()[0].full else {}
    parser.set_defaults(**sizes)
    return parser.parse_args()


def positive(text: str) -> int:
    """Parse a count of at least 1, for argparse."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 on, got {text!r}")
    return int(text)


def interval(difference: Interval) -> str:
    """Return a difference with its bounds as text."""
    return f"{difference.point:+.4f} [{difference.lower:+.4f}, {difference.upper:+.4f}]"


def table(head: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    """Return a table in Markdown."""
    lines = (head, ["---"] * len(head), *rows)
    return "".join(f"| {' | '.join(map(str, cells))} |\n" for cells in lines)


def _listed(sizes: Mapping[str, object]) -> str:
    options = {f"--{name.replace('_', '-')}": value for name, value in sizes.items()}
    texts = {name: " ".join(map(str, value)) if isinstance(value, tuple) else value for name, value in options.items()}
    return ", ".join(name if text is True else f"{name} {text}" for name, text in texts.items())


def _in_processes(missing: Sequence[tuple[StudyCase[Any], Path]], jobs: int) -> Iterator[str]:
    pool = ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), initializer=_end_with_parent)
    try:
        for future in as_completed([pool.submit(_keep, *pair) for pair in missing]):
            yield future.result()
    finally:
        pool.shutdown(cancel_futures=True)  # start no further case after a failure or Ctrl-C


def _keep(case: StudyCase[Any], path: Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    document = to_jsonable_python(case.run(path, *case.arguments))
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(document, indent=1))
    return case.name


def _end_with_parent() -> None:
    """End this worker when its parent ends for any reason. Finished cases are on disk."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()


@cache
def _adapter(run: Callable[..., T]) -> TypeAdapter[T]:
    return TypeAdapter(get_type_hints(run)["return"])


def _module_of(run: Callable[..., Any]) -> str:
    """Return the name of a function's module, also if `python -m` runs this module under the name `__main__`."""
    spec = sys.modules["__main__"].__spec__
    return spec.name if run.__module__ == "__main__" and spec else run.__module__


@cache
def _code_of(module: str) -> dict[str, str]:
    """Return the digests of a module and all modules it may import, except the one that only writes pages."""
    packages = (*PACKAGES, "benchmarks", "tests")
    modules = code.closure([module], [field.name for field in fields(Params)], packages=packages)
    return dict(code.digests(modules - {"benchmarks.generated_tables"}))

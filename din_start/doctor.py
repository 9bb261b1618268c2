"""Check that this machine can run a workspace: the command `din doctor`.

Whatever can be tried is tried: the compiler builds the native operations, and the registry's store must refuse to
overwrite a throw-away object. All probes together take a few seconds.
"""

import json
import os
import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal
from uuid import uuid4

import typer

from din.base import cores, memory
from din.base.errors import InputError, Unavailable
from din.base.git import git
from din.base.process import CommandFailed
from din.base.workspace import AT_THE_ROOT, Workspace
from din.params.reading import Params, load
from din.release.registry.objects import Objects
from din.release.registry.registry import Registry
from din.stages.pipeline import stages_of

State = Literal["ok", "warning", "failed", "skipped"]

_COLOURS = {"ok": "green", "warning": "yellow", "failed": "red", "skipped": "bright_black"}


@dataclass(frozen=True)
class ProbeResult:
    """The result of one probe.

    Attributes:
        name: the subject of the probe.
        state: `warning` slows work down or limits it, `failed` stops it.
        seen: the observation.
        fix: the next step; empty if there is nothing to do.
    """

    name: str
    state: State
    seen: str
    fix: str = ""


def examine(workspace: Workspace) -> list[ProbeResult]:
    """Return the results of all probes of a workspace and its machine."""
    return [result for probe in PROBES for result in probe(workspace)]


def print_results(results: Sequence[ProbeResult], as_json: bool = False) -> None:
    """Print one result per line, with its fix below, or all as JSON."""
    if as_json:
        print(json.dumps([asdict(result) for result in results], indent=2))
        return
    for result in results:
        state = typer.style(f"{result.state:9}", _COLOURS[result.state])
        typer.echo(f"{state}{result.name:15}{result.seen}")
        if result.fix:
            typer.echo(f"{'':24}→ {result.fix}")


def versions(_: Workspace) -> Iterator[ProbeResult]:
    """Name the versions of this package, of Python, and of the system."""
    system = f"{platform.system()} {platform.machine()}"
    yield ProbeResult("versions", "ok", f"din {version('din-ctr')}, Python {platform.python_version()}, {system}")


def compiler(workspace: Workspace) -> Iterator[ProbeResult]:
    """Build and load the native operations, or load those that were built before."""
    try:
        from din.ops import backend

        with backend.using("native"):
            yield ProbeResult("compiler", "ok", f"native operations work (library {backend.identity()})")
    except ImportError as error:
        yield ProbeResult("compiler", "skipped", f"{error.name} is not installed, so this machine can't train")
    except InputError as error:
        params = _params(workspace)
        seen = _line(error).removeprefix("train.compute.backend: native, but ")
        fix = "install gcc or clang, or set CC; until then "
        if params and params.train.compute.backend == "native":
            yield ProbeResult("compiler", "failed", seen, f"{fix}`din train` refuses train.compute.backend: native")
        else:
            yield ProbeResult("compiler", "warning", seen, f"{fix}training takes about twice as long")


def processors(workspace: Workspace) -> Iterator[ProbeResult]:
    """Compare cores and memory, as containers limit them, with what training and featurize ask for."""
    usable = cores.available()
    usable_mb = memory.available_mb()
    params = _params(workspace)
    threads = params.train.compute.threads or 1 if params else 1
    wanted = params.featurize.memory_mb if params else 0
    seen = f"{usable} of {os.cpu_count()} usable, by affinity and cgroup quota"
    if threads > usable:
        fix = "lower train.compute.threads, or raise the quota: more threads than cores wait for each other"
        yield ProbeResult("cores", "warning", f"{seen}; training wants {threads}", fix)
    else:
        yield ProbeResult("cores", "ok", seen)
    seen = f"{usable_mb:,.0f} MB, by the machine and the cgroup limit"
    if wanted > usable_mb:
        fix = "lower featurize.memory_mb; larger data are spilled to disk"
        yield ProbeResult("memory", "failed", f"{seen}; featurize.memory_mb is {wanted:,}", fix)
    else:
        yield ProbeResult("memory", "ok", seen)


def repository(workspace: Workspace) -> Iterator[ProbeResult]:
    """Ask git for the commit, which promotions record."""
    try:
        commit = git(workspace.root.resolve(), "rev-parse", "--short=12", "HEAD").strip()
    except CommandFailed as error:
        fix = "`git init` if nothing is there yet, and commit: `dvc exp`, a repetition and Airflow need a commit"
        yield ProbeResult("git", "warning", _line(error), fix)
    else:
        yield ProbeResult("git", "ok", f"commit {commit}")


def files(workspace: Workspace) -> Iterator[ProbeResult]:
    """Read params.yaml and dvc.yaml."""
    read: dict[Path, Callable[[], object]] = {
        workspace.params: lambda: load(workspace.params),
        workspace.pipeline: lambda: stages_of(workspace),
    }
    for path, reading in read.items():
        try:
            reading()
        except InputError as error:
            fix = "correct it; in a clone, `git checkout` brings the original back" if path.exists() else AT_THE_ROOT
            yield ProbeResult(path.name, "failed", _line(error), fix)
        else:
            yield ProbeResult(path.name, "ok", "valid")


def registry(workspace: Workspace) -> Iterator[ProbeResult]:
    """Read the registry's champion, and check with a throw-away object that the store never overwrites."""
    params = _params(workspace)
    if params is None:
        yield ProbeResult("registry", "skipped", "params.yaml can't be read, see above")
        return
    uri = workspace.located(params.promote.registry)
    try:
        champion = Registry.of(workspace, params).champion()
        said = f"record {champion.number} since {champion.at}" if champion else "no champion yet"
        yield ProbeResult("registry", "ok", f"{uri}: {params.model_name}, {said}")
        yield _put_if_absent(Objects(uri, params.model_name))
    except (InputError, Unavailable, OSError, ValueError) as error:
        fix = "check promote.registry, credentials and permissions; docs/operations.md lists what it needs"
        yield ProbeResult("registry", "failed", _line(error), fix)


def _put_if_absent(objects: Objects) -> ProbeResult:
    """Write an object twice and remove it; the second write must fail, or two promotions could both win.

    `din registry gc` removes such keys, in case this process is killed before it removes the object.
    """
    key = f"stages/doctor-{uuid4().hex}/trial"
    try:
        objects.create(key, b"first")
        refused = not objects.create(key, b"second")
        kept = objects.read(key) == b"first"
    finally:
        objects.delete(key)
    if not (refused and kept):
        fix = "use a store with conditional writes, such as S3, GCS, Azure or a local disk"
        return ProbeResult("put-if-absent", "failed", f"{objects.at(key)}: a second write replaced the first", fix)
    return ProbeResult("put-if-absent", "ok", "a second write was refused, and the throw-away object is removed")


Probe = Callable[[Workspace], Iterator[ProbeResult]]
PROBES: tuple[Probe, ...] = (versions, compiler, processors, repository, files, registry)


def _params(workspace: Workspace) -> Params | None:
    """Return the parameters, or None if they can't be read, which another probe reports."""
    try:
        return load(workspace.params)
    except InputError:
        return None


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__

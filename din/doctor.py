"""Look for what this machine lacks to run a workspace: the command `din doctor`.

Nothing is believed that can be tried. The compiler builds the native operations, each remote of DVC is asked for its
folder, and the registry's store must refuse to overwrite a throw-away object. Every look that finds a fault says how to
mend it, and a look that can't be taken says why. All looks together take some seconds.
"""

import json
import os
import platform
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Literal
from uuid import uuid4

from packaging.requirements import Requirement
from rich.console import Console
from rich.text import Text

from din import cores
from din.errors import InputError, Unavailable
from din.git import git
from din.params import Params, load
from din.pipeline import stages_of
from din.process import CommandFailed
from din.registry.objects import Objects
from din.registry.registry import Registry
from din.workspace import AT_THE_ROOT, Workspace

State = Literal["ok", "warning", "failed", "skipped"]

DISTRIBUTION = "din-ctr"
EXTRAS = ("serve", "train", "airflow", "dev")
LITTLE_DISK_GB = 5
_STYLES = {"ok": "green", "warning": "yellow", "failed": "bold red", "skipped": "dim"}
_MEMORY_LIMITS = ("memory.max", "memory.limit_in_bytes")  # of cgroups of versions 2 and 1
_MEMINFO = Path("/proc/meminfo")


@dataclass(frozen=True)
class Finding:
    """The result of one look.

    Attributes:
        name: what was looked at.
        state: `warning` slows work down or limits it, `failed` stops it.
        seen: what was found.
        mend: what to do about it; empty if there is nothing to do.
    """

    name: str
    state: State
    seen: str
    mend: str = ""


def examine(workspace: Workspace) -> list[Finding]:
    """Return the findings of all looks at a workspace and its machine."""
    return [finding for look in LOOKS for finding in look(workspace)]


def print_findings(findings: Sequence[Finding], as_json: bool = False) -> None:
    """Print one finding a line, with what mends it below, or all as JSON."""
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
        return
    console = Console(soft_wrap=True, highlight=False)
    for finding in findings:
        state = Text(f"{finding.state:9}", _STYLES[finding.state])
        console.print(state, f"{finding.name:15}{finding.seen}", sep="", markup=False)
        if finding.mend:
            console.print(f"{'':24}→ {finding.mend}", markup=False)


def versions(_: Workspace) -> Iterator[Finding]:
    """Name the versions of this package, of Python, and of the system."""
    system = f"{platform.system()} {platform.machine()}"
    yield Finding(
        "versions", "ok", f"din {metadata.version(DISTRIBUTION)}, Python {platform.python_version()}, {system}"
    )


def packages(_: Workspace) -> Iterator[Finding]:
    """Compare the installed packages with the bounds of this package, by extra."""
    declared = [Requirement(text) for text in metadata.requires(DISTRIBUTION) or ()]
    for extra in ("", *EXTRAS):
        needed = [one for one in declared if one.name != DISTRIBUTION and _belongs(one, extra)]
        installed = {one: _installed(one) for one in needed}
        missing = [one.name for one, version in installed.items() if version is None]
        unfit = [
            f"{one.name} {version}, expected {one.specifier}"
            for one, version in installed.items()
            if version is not None and not one.specifier.contains(version, prereleases=True)
        ]
        name = f"extra {extra}" if extra else "packages"
        install = f"pip install '{DISTRIBUTION}[{extra}]'" if extra else f"pip install {DISTRIBUTION}"
        if unfit:
            yield Finding(name, "failed", "; ".join(unfit), f"{install}, in a checkout pip install -e '.[{extra}]'")
        elif missing:
            yield Finding(name, "skipped" if extra else "failed", f"not installed: {', '.join(missing)}", install)
        else:
            counted = "1 package" if len(needed) == 1 else f"{len(needed)} packages"
            yield Finding(name, "ok", f"{counted}, within bounds")


def _belongs(requirement: Requirement, extra: str) -> bool:
    """Return whether an extra, or the package itself for an empty one, names a requirement."""
    marker = requirement.marker
    if not extra:
        return marker is None or marker.evaluate({"extra": ""})
    return marker is not None and marker.evaluate({"extra": extra}) and not marker.evaluate({"extra": ""})


def _installed(requirement: Requirement) -> str | None:
    try:
        return metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return None


def compiler(_: Workspace) -> Iterator[Finding]:
    """Build and load the native operations, or load those that were built before."""
    if find_spec("cffi") is None:
        yield Finding("compiler", "skipped", "native operations need the extra `train`", "see `extra train` above")
        return
    from din.ops import backend

    try:
        with backend.using("native"):
            identity = backend.identity()
    except InputError as error:
        mend = "install gcc or clang, or set CC; until then training takes about twice as long"
        yield Finding("compiler", "warning", _line(error), mend)
    else:
        yield Finding("compiler", "ok", f"native operations work (library {identity})")


def processors(workspace: Workspace) -> Iterator[Finding]:
    """Compare the cores that affinity and quota leave with the threads that training asks for."""
    usable = cores.available()
    seen = f"{usable} of {os.cpu_count()} usable, by affinity and cgroup quota"
    params = _params(workspace)
    compute = params and params.train.compute
    wanted = compute.threads or 1 if compute else 1
    if wanted > usable:
        yield Finding(
            "cores",
            "warning",
            f"{seen}; training wants {wanted}",
            "lower train.compute.threads, or raise the quota: more threads than cores wait for each other",
        )
    else:
        yield Finding("cores", "ok", seen)


def memory(workspace: Workspace) -> Iterator[Finding]:
    """Compare the memory of the machine and of its cgroups with what featurize may use."""
    whole = memory_mb(_MEMINFO, [*cores.groups("memory")])
    if whole is None:
        yield Finding("memory", "skipped", f"unknown: this system has no {_MEMINFO}")
        return
    seen = f"{whole:,.0f} MB, by the machine and the cgroup limit"
    params = _params(workspace)
    if params and params.featurize.memory_mb > whole:
        asked = params.featurize.memory_mb
        mend = "lower featurize.memory_mb; larger data are spilled to disk"
        yield Finding("memory", "failed", f"{seen}; featurize.memory_mb is {asked:,}", mend)
    else:
        yield Finding("memory", "ok", seen)


def memory_mb(meminfo: Path, groups: Sequence[Path]) -> float | None:
    """Return the least of a machine's memory and the limits of cgroups, in MB; None if the kernel does not tell.

    Args:
        meminfo: the kernel's account of the memory; only Linux has one.
        groups: the folders of the cgroups.
    """
    if not meminfo.exists():
        return None
    total = next(line.split()[1] for line in meminfo.read_text("utf-8").splitlines() if line.startswith("MemTotal:"))
    files = [folder / name for folder in groups for name in _MEMORY_LIMITS]
    limits = [file.read_text("utf-8").strip() for file in files if file.is_file()]
    return min([int(total) * 1024, *(int(limit) for limit in limits if limit.isdecimal())]) / 1e6


def disk(workspace: Workspace) -> Iterator[Finding]:
    """Measure the free space where the workspace lies."""
    free = shutil.disk_usage(workspace.root).free / 1e9
    seen = f"{free:,.0f} GB free at {workspace.root.resolve()}"
    if free < LITTLE_DISK_GB:
        mend = "make room: `dvc gc --workspace` removes cached results of older runs, .din/ holds checkpoints"
        yield Finding("disk", "warning", seen, mend)
    else:
        yield Finding("disk", "ok", seen)


def repository(workspace: Workspace) -> Iterator[Finding]:
    """Ask git for the commit, which promotions record."""
    root = workspace.root.resolve()
    needed = "`dvc exp`, `din reproduce` and Airflow need a commit"
    try:
        git(root, "rev-parse", "--git-dir")
    except (CommandFailed, OSError) as error:
        yield Finding("git", "warning", _line(error), f"install git, `git init`, and commit: {needed}")
        return
    try:
        yield Finding("git", "ok", f"commit {git(root, 'rev-parse', '--short=12', 'HEAD').strip()}")
    except CommandFailed:
        yield Finding("git", "warning", "no commit yet", f"`git add --all` and `git commit`: {needed}")


def parameters(workspace: Workspace) -> Iterator[Finding]:
    """Read params.yaml and dvc.yaml."""
    for path, read in (
        (workspace.params, lambda: load(workspace.params)),
        (workspace.pipeline, lambda: stages_of(workspace)),
    ):
        name = path.name
        if not path.exists():
            yield Finding(name, "failed", "not found", AT_THE_ROOT)
            continue
        with _reporting(name, "correct it; in a clone, `git checkout` brings the original back") as findings:
            read()
            findings.append(Finding(name, "ok", "valid"))
        yield from findings


def remotes(workspace: Workspace) -> Iterator[Finding]:
    """Ask each remote of DVC for its folder."""
    if find_spec("dvc") is None:
        yield Finding("dvc", "skipped", "comes with the extra `train`", "see `extra train` above")
        return
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        repo = Repo(str(workspace.root))
    except DvcException as error:
        yield Finding("dvc", "failed", _line(error), "go to the root of your repository, or `dvc init` there")
        return
    with repo:
        names = sorted(repo.config["remote"])
        yield Finding("dvc", "ok", f"{len(names)} remotes" + ("" if names else ": results stay on this machine"))
        for name in names:
            place = f"{name}: {repo.config['remote'][name]['url']}"
            try:
                remote = repo.cloud.get_remote(name)
                found = remote.fs.exists(remote.path)
            except Exception as error:  # every file system has errors of its own
                mend = f"check its address and your credentials: `dvc remote list`, `dvc pull --remote {name}`"
                yield Finding("dvc remote", "failed", f"{place}: {_line(error)}", mend)
            else:
                yield Finding("dvc remote", "ok", f"{place}: {'answers' if found else 'nothing stored there yet'}")


def registry(workspace: Workspace) -> Iterator[Finding]:
    """Read the registry's champion, and try on a throw-away object that the store never overwrites."""
    params = _params(workspace)
    if params is None:
        yield Finding("registry", "skipped", "params.yaml can't be read, see above")
        return
    uri = workspace.located(params.promote.registry)
    mend = "check promote.registry, credentials and permissions; docs/registry.md lists what it needs"
    with _reporting("registry", mend) as findings:
        champion = Registry.of(workspace, params).champion()
        said = f"record {champion.number} since {champion.at}" if champion else "no champion yet"
        findings.append(Finding("registry", "ok", f"{uri}: {params.model_name}, {said}"))
        findings.append(_put_if_absent(Objects(uri, params.model_name)))
    yield from findings


def _put_if_absent(objects: Objects) -> Finding:
    """Write an object twice and remove it; the second write must fail, or two promotions could both win.

    Its key is one that `din registry gc` removes, in case this is killed before the removal.
    """
    key = f"stages/doctor-{uuid4().hex}/trial"
    try:
        objects.create(key, b"first")
        refused = not objects.create(key, b"second")
        kept = objects.read(key) == b"first"
    finally:
        objects.delete(key)
    if not (refused and kept):
        return Finding(
            "put-if-absent",
            "failed",
            f"{objects.at(key)}: a second write replaced the first",
            "use a store with conditional writes, such as S3, GCS, Azure or a local disk",
        )
    if objects.exists(key):
        return Finding("put-if-absent", "failed", f"{objects.at(key)}: stayed after its removal", "permit deletions")
    return Finding("put-if-absent", "ok", "a second write was refused, and the throw-away object is removed")


Look = Callable[[Workspace], Iterator[Finding]]
LOOKS: tuple[Look, ...] = (
    versions,
    packages,
    compiler,
    processors,
    memory,
    disk,
    repository,
    parameters,
    remotes,
    registry,
)


@contextmanager
def _reporting(name: str, mend: str) -> Iterator[list[Finding]]:
    """Yield a list for findings; an error of the block becomes one of them."""
    findings: list[Finding] = []
    try:
        yield findings
    except (InputError, Unavailable, OSError, ValueError) as error:
        findings.append(Finding(name, "failed", _line(error), mend))


def _params(workspace: Workspace) -> Params | None:
    """Return the parameters, or None if they can't be read, which another look reports."""
    try:
        return load(workspace.params)
    except InputError:
        return None


def _line(error: Exception) -> str:
    """Return an error as one line."""
    return " ".join(str(error).split()) or type(error).__name__

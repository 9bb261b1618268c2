"""`din plugin check FILE`: try everything that a plugin registers on a tiny log, in seconds.

    a source         reads its log twice, which must be equal, and makes features of it
    a kind of field  codes a column of a tiny log, and goes through the bundle
    a model          trains, is exported, and must agree with its graphs
    a gate           judges the tiny run, which is the champion too
    advice           looks at the tiny run

Options come from params.yaml, if there is one and it chooses the plugin's thing. Runs are built in temporary folders.
A tiny log is too small for verdicts, so a gate may close. What counts is that it could be judged.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from din import plugins
from din.base import documents
from din.base.errors import GateClosed, InputError, Unavailable, is_of_this_machine
from din.base.workspace import Workspace
from din.bundle.agreement import ParityReport
from din.bundle.parity import check_parity
from din.contracts.manifests import RawManifest
from din.data import SOURCES
from din.data.fetch import fetch
from din.featurize.build import featurize
from din.kinds import KINDS, Bucket, IdList, Number, Vector
from din.model import MODELS
from din.params.overlays import make_paths_absolute
from din.params.reading import Params
from din.release.gates import GATES
from din.release.gates.budgets import measure_latency
from din.release.gates.earlier_champion import score_champion
from din.release.gates.evidence import Evidence
from din.release.gates.gate import judge
from din.release.registry.registry import Registry
from din.train.results import TrainingSummary
from din_report.advice import ADVICE
from din_report.run import Run
from din_start.params.defaults import defaults
from din_start.tiny_run import FIELDS, build, random_log, small, write_raw

_COLUMNS = {IdList: "tags", Vector: "embedding", Bucket: "year", Number: "price"}
"""The item field of the tiny log whose values a kind of each form can read; others read its category."""


def check(file: Path, chosen: Params | None, root: Path) -> Iterator[str]:
    """Try a plugin, and yield a line about each thing that it registers.

    Args:
        chosen: the parameters of the repository, or None.
        root: where the relative path of a source starts.

    Raises:
        InputError: the plugin can't be imported, registers nothing, or fails. The message names its line.
        GateClosed: PyTorch, the graph and the scorer give different scores.
    """
    plugins.load_files([file])
    module = f"din_plugins.{file.stem}"
    sources, kinds, models, gates, advice = (seam.of_module(module) for seam in (SOURCES, KINDS, MODELS, GATES, ADVICE))
    if not (sources or kinds or models or gates or advice):
        raise InputError(f"{file}: registers nothing; docs/plugins.md shows what a plugin can register, and how")
    params = small(Params()) if chosen is None else small(replace(Params(), gate=chosen.gate))
    for name in sources:
        yield _source(file, name, params, chosen, root)
    runs = [*((name, None) for name in models), *((None, name) for name in kinds)]
    for model, kind in runs or [(None, None)] * bool(gates or advice):
        with TemporaryDirectory() as folder:
            workspace = Workspace(Path(folder))
            tried, line = _run(file, workspace, params, chosen, model, kind)
            yield line
            if (model, kind) == (runs or [(None, None)])[-1]:
                yield from _judged(file, workspace, tried, gates)
                yield from _advised(file, workspace, advice)


@contextmanager
def _trying(file: Path, what: str) -> Iterator[None]:
    """Silence stages, and turn the error of a plugin into one that names its line."""
    try:
        with redirect_stdout(io.StringIO()):
            yield
    except (InputError, GateClosed, Unavailable) as error:
        raise type(error)(f"{what}: {error}", *([error.report] if isinstance(error, GateClosed) else [])) from None
    except Exception as error:
        if is_of_this_machine(error):
            raise
        raise InputError(f"{what}: {plugins.fault(file.resolve(), error)}; correct it") from error


def _source(file: Path, name: str, params: Params, chosen: Params | None, root: Path) -> str:
    options: dict[str, Any] = {}
    if chosen and chosen.fetch.source == name:
        options = dict(chosen.fetch.options)
    elif (declared := SOURCES[name].options) and hasattr(declared, "path"):
        options = {"path": declared.path}
    absolute = {"fetch": {"options": options}}
    make_paths_absolute(absolute, str(root.resolve()))
    params = replace(params, fetch=replace(params.fetch, source=name, options=options))
    with TemporaryDirectory() as folder, _trying(file, f"source {name}"):
        workspace = Workspace(Path(folder))
        fetch(workspace, params)
        before = documents.read(RawManifest, workspace.raw / "manifest.json")
        fetch(workspace, params)
        if documents.read(RawManifest, workspace.raw / "manifest.json") != before:
            raise InputError("two reads differ; `identity` and `read` must depend on the log alone")
        featurize(workspace, params)
    return f"source {name}: read {before.rows:,} rows of {len(before.days)} days, and made features of them"


def _run(
    file: Path, workspace: Workspace, params: Params, chosen: Params | None, model: str | None, kind: str | None
) -> tuple[Params, str]:
    """Build a tiny run with a model or a kind, and return its parameters and a line about it."""
    what = f"model {model}" if model else f"kind {kind}" if kind else "tiny run"
    log = random_log()
    if kind:
        form = KINDS[kind].thing
        column = next((name for base, name in _COLUMNS.items() if issubclass(form, base)), "category")
        log = replace(log, fields=FIELDS | {"item": FIELDS["item"] | {column: kind}})
    settings = params.train.model
    if model:
        options = chosen.train.model.options if chosen and chosen.train.model.name == model else {}
        settings = replace(settings, name=model, options=options)
    params = replace(params, train=replace(params.train, model=settings))
    workspace.params.write_text(defaults(params=params), encoding="utf-8")
    with _trying(file, what):
        write_raw(log, workspace.raw)
        build(workspace, params)
        check_parity(workspace, params)
    parity = documents.read(ParityReport, workspace.parity)
    training = documents.read(TrainingSummary, workspace.training)
    difference = f"scores of PyTorch, graph and scorer differ by {parity.max_abs_probability_diff:.1e} at most"
    return params, f"{what}: trained {training.epochs} epochs, exported; {difference}"


def _judged(file: Path, workspace: Workspace, params: Params, gates: list[str]) -> Iterator[str]:
    """Judge the plugin's gates of a tiny run that is its own champion, and yield a line about each."""
    if not gates:
        return
    with _trying(file, "gates"):
        registry = Registry.of(workspace, params)
        registry.append(registry.put_bundle(workspace.bundle), None, by="din plugin check", reason="a tiny champion")
        report = judge(Evidence(workspace, params), score_champion, measure_latency, "as a preview")
    for name in gates:
        entries = [entry for entry in report.gates if entry.name in {name.format(metric=m) for m in report.metrics}]
        if not entries:
            yield f"gate {name}: not judged, since it does not apply to a tiny run with a champion"
        for entry in entries:
            if not entry.evaluated:
                raise InputError(f"gate {entry.name}: {entry.reason}")
            limit = "" if entry.threshold is None else f", limit {entry.threshold}"
            yield f"gate {entry.name}: judged ({entry.verdict} on a tiny log): observed {entry.observed}{limit}"


def _advised(file: Path, workspace: Workspace, codes: list[str]) -> Iterator[str]:
    if not codes:
        return
    run = Run(workspace)
    for code in codes:
        with _trying(file, f"advice {code}"):
            advice = ADVICE[code].thing(run)
        yield f"advice {code}: {advice.title if advice else 'nothing to say about a tiny run'}"

"""Drive a delivery through the stages' own functions, in this process, until one refuses it or the gate has judged.

All limits of validation and gates are the shipped ones, but for the margin with which `promote` makes a champion. Each
workspace is a new folder. Later stages start from a copy of a finished workspace, so that a defect that enters late
costs only the stages after it. What the first suites judge is driven in a small log without training. What needs a
model is driven in a log of the size `DAILY`, whose newest day continues the champion of the day before, as `din init`
arranges for a log by days.
"""

import io
import multiprocessing
import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stdout
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.defects.delivery import DAY, FIELDS, START, Delivery, Size, draw, write
from benchmarks.in_process import STAGES
from din.base.artifacts import read_json
from din.base.errors import GateClosed, InputError
from din.base.workspace import Suite, Workspace
from din.params.reading import Params
from din.release.promote import promote as promote_run
from din.release.registry.registry import Registry

SMALL: dict[str, Any] = {
    "fetch.source": "table",
    "fetch.table.keep": ("tab", "position", "device", "play_time"),
    "fetch.table.separators": {"tags": "|"},
    "featurize.fields": FIELDS,
    "featurize.max_history": 20,
    "featurize.shards": 1,
    "train.model.embedding_dim": 8,
    "train.model.attention_hidden": (16,),
    "train.model.hidden": (32, 16),
    "train.learning.epochs": 8,
    "train.learning.batch_size": 128,
    "train.learning.initial_item_bias": "zero",  # as `din init` sets it for a log by days
    "train.compute.threads": 1,
}
DAILY = Size(users=1_200, a_day=2_000)
"""The size of a log whose newest day decides on what a champion has learned from it."""
_PROCESSES = 2
_SUITES: dict[str, Suite] = {f"validate_{suite}": suite for suite in ("raw", "features", "predictions")}


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The stage that a delivery reached, and the messages of gates.

    Attributes:
        stage: the stage that refused it or closed, or None if all stages were done.
        closed: messages by gate, e.g. `validate_raw.ctr`, `gate.min_auc` or `fetch`.
        undecided: whether no gate closed for certain, so that `din gate` only waits for more days.
        warned: the messages of warnings, by gate.
    """

    stage: str | None
    closed: Mapping[str, str]
    warned: Mapping[str, str]
    undecided: bool = False


def parameters(settings: Mapping[str, Any]) -> Params:
    """Return the defaults with settings for a small log and the given ones, by dotted keys."""
    params = Params()
    for key, value in {**SMALL, **settings}.items():
        params = _replaced(params, key.split("."), value)
    return params


def drive(root: Path, params: Params, first: str = "fetch", last: str = "gate") -> Outcome:
    """Run the stages from `first` to `last` in a workspace, and stop if one refuses or closes."""
    workspace = Workspace(root)
    names = list(STAGES)
    warned: dict[str, str] = {}
    with redirect_stdout(io.StringIO()):
        for stage in names[names.index(first) : names.index(last) + 1]:
            try:
                STAGES[stage](workspace, params)
            except (InputError, GateClosed) as error:
                closed = _closed(stage, workspace, error)
                waits = isinstance(error, GateClosed) and stage == "gate" and _verdict(workspace) == "borderline"
                return Outcome(
                    stage=stage, closed=closed, warned={**warned, **_warned(stage, workspace)}, undecided=waits
                )
            warned |= _warned(stage, workspace)
    return Outcome(stage=None, closed={}, warned=warned)


def start(delivery: Delivery, workspace: Path, **settings: Any) -> Params:
    """Write a delivery below a new workspace, and return the parameters that read it.

    Args:
        settings: parameters, with two underscores for a dot; those of the delivery take precedence.
    """
    workspace.mkdir(parents=True)
    of_delivery = write(delivery, workspace)
    return parameters({**{name.replace("__", "."): value for name, value in settings.items()}, **of_delivery})


@dataclass(frozen=True)
class Prepared:
    """A sound delivery that was driven once, with its workspace and parameters.

    Attributes:
        delivery: the delivery, to plant defects in.
        workspace: its workspace, every stage up to `last` done.
        params: the parameters of that workspace.
        last: the last stage that was run.
        settings: the parameters that name yesterday's champion, if there is one.
    """

    delivery: Delivery
    workspace: Path
    params: Params
    last: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    def drive(self, delivery: Delivery, workspace: Path) -> Outcome:
        """Drive another delivery to the same stage, against the same champion."""
        return drive(workspace, start(delivery, workspace, **self.settings), last=self.last)

    def spoil(self, after: str, spoil: Callable[[Path], None], workspace: Path) -> Outcome:
        """Copy the workspace, spoil it, and drive the stages after `after`."""
        shutil.copytree(self.workspace, workspace)
        return self._driven(after, spoil, workspace, self.params)

    def spoil_another(self, delivery: Delivery, after: str, spoil: Callable[[Path], None], workspace: Path) -> Outcome:
        """Drive another sound delivery up to `after`, spoil its workspace, and drive the other stages."""
        params = start(delivery, workspace, **self.settings)
        outcome = drive(workspace, params, last=after)
        assert outcome.stage is None, outcome
        return self._driven(after, spoil, workspace, params)

    def _driven(self, after: str, spoil: Callable[[Path], None], workspace: Path, params: Params) -> Outcome:
        spoil(workspace)
        names = list(STAGES)
        return drive(workspace, params, names[names.index(after) + 1], self.last)


def prepare(root: Path, last: str = "gate", seed: int = 0) -> Prepared:
    """Drive a sound delivery; if `last` is the gate, continue a champion of the day before."""
    judged = last == "gate"
    today = draw(seed, DAILY if judged else None)
    settings = promote(until_yesterday(today), root / "yesterday", root / "registry") if judged else {}
    params = start(today, root / "today", **settings)
    outcome = drive(root / "today", params, last=last)
    assert outcome.stage is None, outcome
    return Prepared(today, root / "today", params, last, settings)


def workers() -> ProcessPoolExecutor:
    """Return a pool of fresh processes: a fork of a process that has trained may wait forever for its threads."""
    return ProcessPoolExecutor(_PROCESSES, multiprocessing.get_context("spawn"))


def until_yesterday(delivery: Delivery) -> Delivery:
    """Return the delivery without its newest day."""
    day = (delivery.events["timestamp"] - START) // DAY
    return replace(delivery, events=delivery.events[day < day.max()])


def promote(delivery: Delivery, workspace: Path, registry: Path) -> Mapping[str, Any]:
    """Make a model of a sound delivery the champion of a registry, and return the parameters that continue it.

    The margin is wide, since the first run of a small log may stay undecided.
    """
    params = start(delivery, workspace, promote__registry=str(registry), gate__margin=0.05)
    outcome = drive(workspace, params)
    assert outcome.stage is None, outcome
    with redirect_stdout(io.StringIO()):
        promote_run(Workspace(workspace), params, by="test", reason="test")
    champion = Registry.of(Workspace(workspace), params).history()[-1].version
    return {"promote__registry": str(registry), "train__start": "champion", "train__champion": champion}


def _verdict(workspace: Workspace) -> str:
    return read_json(workspace.gate)["verdict"]


def _closed(stage: str, workspace: Workspace, error: Exception) -> dict[str, str]:
    """Messages by gate. They name files from the workspace on: the name of its folder is a defect's."""
    messages = {stage: str(error)}
    if isinstance(error, GateClosed) and stage.startswith("validate_"):
        messages = _failed(stage, workspace, "critical")
    if isinstance(error, GateClosed) and stage == "gate":
        shut = [gate for gate in read_json(workspace.gate)["gates"] if gate["verdict"] != "open"]
        messages = {f"gate.{gate['name']}": str(gate["reason"]) for gate in shut}
    return {name: message.replace(f"{workspace.root}/", "") for name, message in messages.items()}


def _warned(stage: str, workspace: Workspace) -> dict[str, str]:
    return _failed(stage, workspace, "warning") if stage.startswith("validate_") else {}


def _failed(stage: str, workspace: Workspace, severity: str) -> dict[str, str]:
    path = workspace.validation(_SUITES[stage])
    entries = read_json(path)["expectations"] if path.exists() else []
    return {
        f"{stage}.{entry['name']}": f"{entry['advice']} {entry.get('reason', '')} {entry['column']} {entry['sample']}"
        for entry in entries
        if not entry["success"] and entry["severity"] == severity
    }


def _replaced(block: Any, path: list[str], value: Any) -> Any:
    name, *rest = path
    assert is_dataclass(block) and name in {field.name for field in fields(block)}, f"no parameter {name}"
    return replace(block, **{name: _replaced(getattr(block, name), rest, value) if rest else value})  # type: ignore[type-var]

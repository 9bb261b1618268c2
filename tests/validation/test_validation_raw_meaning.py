"""The last phases of the raw suite: the meaning of the log. `benchmarks/defects/table.py` holds what closes them."""

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from benchmarks.defects import plants as p
from benchmarks.defects.delivery import DAY, Delivery, Size, draw
from benchmarks.defects.drive import Outcome, drive, start
from benchmarks.defects.table import DEFECTS
from din.base.artifacts import read_json
from din.base.workspace import Workspace
from din.contracts.expectations import ALWAYS
from validation.raw import PHASES


def judged(delivery: Delivery, root: Path, **settings: Any) -> Outcome:
    return drive(root, start(delivery, root, **settings), last="validate_raw")


def names(found: Mapping[str, str]) -> set[str]:
    return {name.removeprefix("validate_raw.") for name in found}


def on_day(number: int, change: p.Change) -> p.Plant:
    def changed(rows: p.Frame) -> p.Frame:
        own = p.days(rows) == number
        return pd.concat([rows[~own], change(rows[own].copy())]).sort_values("timestamp", ignore_index=True)

    return p.events(changed)


def own_clicks(share: float) -> p.Plant:
    """Put a share of the log's clicks into the prior history."""

    def planted(delivery: Delivery) -> Delivery:
        clicks = delivery.events.loc[delivery.events["label"] == 1, ["user_id", "item_id", "timestamp", "play_time"]]
        more = clicks.head(int(share * len(delivery.history)))
        return p.replace(delivery, history=pd.concat([delivery.history, more], ignore_index=True))

    return planted


def campaigns(rows: p.Frame) -> np.ndarray:
    """Return a campaign of 50 rows of the first day, and another one's first row on the newest day."""
    return np.select([rows.index < 50, rows.index == rows.index[-1]], ["spring", "summer"], None)


KEPT = ("tab", "position", "device", "play_time", "session")
# planted defects of one log, and the warnings that must be among those given; nothing is critical
WARNINGS: dict[str, tuple[p.Plant, set[str]]] = {
    "an older day, ids, the history and a column that nobody reads": (
        p.chain(
            on_day(8, p.keep(0.1)),
            p.events(p.put("user_id", 5, 1)),
            p.events(p.put("item_id", 9, 1)),
            own_clicks(0.1),
            p.events(lambda r: r.assign(session=np.where(p.newest(r), None, "known"))),
            p.settings(fetch__table__keep=KEPT),
        ),
        {"rows_by_day", "unknown_users", "unknown_items", "history_repeats_log", "missing_values_by_day"},
    ),
    "the last day, and a new value of a column that is nearly always null": (
        p.chain(p.last_day(p.keep(0.33)), p.context("campaign", "categorical", campaigns)),
        {"rows_by_day"},
    ),
}


@pytest.mark.parametrize("defect", WARNINGS)
def test_less_is_a_warning(defect: str, tmp_path: Path) -> None:
    """Nothing closes, and the named warnings are given."""
    plant, expected = WARNINGS[defect]
    outcome = judged(plant(draw()), tmp_path / "workspace")
    assert not outcome.closed
    assert expected <= names(outcome.warned)


def test_newest_days_close_only_a_temporal_split(tmp_path: Path) -> None:
    """If the split is not by days, a strange day is only a warning."""
    day = p.last_day(p.keep(0.1))(draw())
    outcome = judged(day, tmp_path / "workspace", featurize__protocol="by_user")
    assert not outcome.closed and outcome.warned


@pytest.mark.parametrize("mode", ["warning", "off"])
def test_strange_days_can_be_let_through(mode: str, tmp_path: Path) -> None:
    """`validate_raw.strange_days` turns the critical expectations on days into warnings, or off."""
    outcome = judged(p.last_day(p.keep(0.1))(draw()), tmp_path / "workspace", validate_raw__strange_days=mode)
    assert not outcome.closed
    assert ("rows_newest_days" in names(outcome.warned)) == (mode == "warning")


def test_a_log_that_repeats_itself_has_no_copies(tmp_path: Path) -> None:
    """Mails sent to the same users at the same time every day are not a copied file."""
    first = draw().events.head(800)
    mails = pd.concat([first.assign(timestamp=first["timestamp"] + number * DAY) for number in range(12)])
    outcome = judged(p.events(lambda _: mails)(draw()), tmp_path / "workspace")
    assert not {name for name in names(outcome.closed) if "copied" in name}


def test_a_log_too_small_to_judge_has_what_gates_demand(tmp_path: Path) -> None:
    """Three days are not judged by day, but lack nothing that every log must pass."""
    outcome = judged(draw(0, Size(days=3, a_day=2_000)), tmp_path / "workspace")
    assert not outcome.closed
    report = read_json(Workspace(tmp_path / "workspace").validation("raw"))
    critical = {entry["name"] for entry in report["expectations"] if entry["severity"] == "critical"}
    assert critical >= ALWAYS["raw"] and not {name for name in critical if name.endswith("_newest_days")}


def test_every_expectation_has_a_defect(tmp_path: Path) -> None:
    """Every expectation of the last phases has a planted defect."""
    params = start(draw(), tmp_path / "workspace")
    drive(tmp_path / "workspace", params, last="fetch")
    with closing(PHASES.data(Workspace(tmp_path / "workspace"), params)) as data:
        found = {
            one.name
            for phase in ("tables", "meaning")
            for detector in PHASES.detectors[phase]
            for one in detector(data)
        }
    planted = names({gate: "" for defect in DEFECTS for gate in defect.gates})
    planted |= set().union(*(expected for _, expected in WARNINGS.values()))
    # one function judges both severities of a figure
    planted |= {name.replace("_newest_days", "_by_day") for name in planted}
    planted |= {name.replace("_by_day", "_newest_days") for name in planted}
    assert found <= planted

"""The command `din watch`: judge the newest day of service, print its figures, and keep alarms in the registry."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from prometheus_client import CollectorRegistry, Gauge, write_to_textfile

from din.base.errors import GateClosed, InputError, Unavailable
from din.base.names import Version
from din.base.printing import print_table
from din.base.workspace import Workspace
from din.contracts.facts import NOT_CALIBRATED
from din.release.registry.registry import Registry
from din_loop.served import Served
from din_loop.watch import outcomes, traffic
from din_loop.watch.alarms import AGE, CALIBRATION, ENTROPY, PREDICTIONS, WAIT, Alarm, advise, keep, kept
from din_loop.watch.spread import FEW_DAYS, Check, alarms_among, judge
from din_loop.watch.traffic import DAY

_NEW_DAYS = 2
"""A bundle is new on the first days that it answers."""
_LATE_DAYS = 2
"""The days after the window within which the clicks of a day are expected."""
_MORE_CLICKED = 4
"""How many times as many users are read for figures on clicks: they need more, and an impression takes less memory."""


@dataclass(frozen=True)
class Watched:
    """A day of service, judged.

    Attributes:
        until: the end of the day.
        problem: why the clicks could not be read, or the metrics not written. None if nothing failed.
    """

    until: str
    checks: list[Check]
    alarms: list[Alarm]
    problem: str | None

    def check(self) -> None:
        """Raise GateClosed if there is an alarm, or else InputError if there is a problem."""
        if self.alarms:
            summary = "; ".join(f"{alarm.figure} on {alarm.day}: {alarm.action} ({alarm.why})" for alarm in self.alarms)
            raise GateClosed(f"{len(self.alarms)} alarms in the days up to {self.until}: {summary}")
        if self.problem:
            raise InputError(self.problem)


@dataclass(frozen=True)
class _Judged:
    """Figures about one day.

    Attributes:
        answered: the newest day with an answer.
        version: the bundle that answered. None if none did.
        is_new: whether its first answer was on that day or the day before.
    """

    day: date
    answered: date
    checks: Sequence[Check]
    version: Version | None
    is_new: bool


def watch(
    workspace: Workspace,
    log: Path,
    clicks: Served | None,
    registry: Registry,
    *,
    end: datetime,
    most: int,
    max_age: timedelta,
    metrics: Path | None = None,
) -> Watched:
    """Judge the newest day of a server's log, print figures and alarms, and keep the alarms.

    Args:
        clicks: how to read the clicks; None: figures that need clicks are left out.
        end: the end of the day, UTC.
        most: about how many requests a day to read.
        max_age: alarm if the champion is older.
        metrics: write the figures to this file, for Prometheus' collector of text files.

    Raises:
        InputError: the log can't be read, or there is no champion.
        Unavailable: the registry doesn't answer.
    """
    champion = registry.champion()
    if champion is None:
        raise InputError(f"{registry.name}: no champion to watch; promote a bundle first (`din promote`)")
    before = [(date.fromisoformat(alarm.day), alarm.figure) for alarm in kept(registry.objects)]
    days = traffic.read(log, end, most)
    drawn = _drawn(days, registry)
    sent = _sent(days, before, registry, drawn)
    promoted = registry.record(champion.version)  # the first time: a rollback makes no bundle younger
    age = end.replace(tzinfo=UTC) - datetime.fromisoformat(promoted.at)
    bounded = [Check(AGE, age / DAY, high=max_age / DAY)]
    parts = [sent]
    problems = []
    if clicks:
        try:
            share = min(1.0, _MORE_CLICKED * days[-1].share)
            clicked = _clicked(outcomes.read(workspace, log, clicks, sent.day, share), before, drawn)
        except (InputError, Unavailable) as error:
            problems.append(f"the clicks can't be read: {error}")
        else:
            parts.append(clicked)
            bounded.append(Check(WAIT, (sent.answered - clicked.day) / DAY, high=clicks.window_hours / 24 + _LATE_DAYS))
    parts.append(_Judged(sent.day, sent.answered, bounded, champion.version, False))
    checks = [check for part in parts for check in part.checks]
    alarming = {check.figure for check in alarms_among(checks)}
    alarming |= {check.figure for check in bounded if (check.observed or 0) > (check.high or 0)}
    raised = [(part, check) for part in parts for check in part.checks if check.figure in alarming]
    alarmed = [*before, *((part.day, check.figure) for part, check in raised)]
    alarms = [_alarm(check, part, {name for day, name in alarmed if day == part.day}, end) for part, check in raised]
    _print(log, end, checks, alarms)
    if metrics:
        try:
            write_metrics(metrics, registry, end, checks, alarms)
        except InputError as error:
            problems.append(str(error))
    for alarm in alarms:
        keep(registry.objects, alarm)
    problem = "\n".join(problems) or None
    if problem:
        print(problem)
    return Watched(f"{end:%Y-%m-%d %H:%M} UTC", checks, alarms, problem)


def write_metrics(
    path: Path, registry: Registry, end: datetime, checks: Sequence[Check], alarms: Sequence[Alarm]
) -> None:
    """Write figures, alarms and the end of the day in the format of Prometheus, for the collector of text files.

    Raises:
        InputError: the file can't be written.
    """
    collector = CollectorRegistry()
    model = registry.model_name
    figures = Gauge("din_watch_figure", "A figure of the newest day.", ["model", "figure"], registry=collector)
    alarming = Gauge("din_watch_alarm", "1 for each alarm.", ["model", "figure", "action"], registry=collector)
    until = Gauge(
        "din_watch_until_seconds", "The end of the newest day, in seconds since 1970.", ["model"], registry=collector
    )
    until.labels(model).set(end.replace(tzinfo=UTC).timestamp())
    for check in checks:
        if check.observed is not None:
            figures.labels(model, check.figure).set(check.observed)
    for alarm in alarms:
        alarming.labels(model, alarm.figure, alarm.action).set(1)
    try:
        write_to_textfile(str(path), collector)
    except OSError as error:
        raise InputError(
            f"--metrics {path}: {error.strerror}; expected a file in a folder that can be written"
        ) from None


def _drawn(days: Sequence[traffic.Day], registry: Registry) -> set[Version]:
    """Return the bundles among those that answered whose negatives were drawn, as far as the registry tells."""
    answered = {row["version"] for day in days for row in day.rows} & {*registry.versions()}
    drawn = set()
    for version in answered:
        with suppress(InputError):  # its facts are damaged, or of an earlier form
            if registry.facts(version).negatives_drawn:
                drawn.add(version)
    return drawn


def _incomparable(are_drawn: Mapping[date, bool], figures: Collection[str]) -> list[tuple[date, str]]:
    """Return the days and figures that say nothing about the last day, since only one of the two is calibrated.

    Args:
        are_drawn: whether the bundle of each day has drawn negatives, oldest first.
        figures: the figures that depend on it.
    """
    *before, last = are_drawn.items()
    return [(day, figure) for day, is_drawn in before if is_drawn != last[1] for figure in figures]


def _sent(
    days: Sequence[traffic.Day], alarms: Sequence[tuple[date, str]], registry: Registry, drawn: Collection[Version]
) -> _Judged:
    unusual = [*alarms, *_incomparable({day.day: traffic.version_of([day]) in drawn for day in days}, PREDICTIONS)]
    checks = [judge(name, figure) for name, figure in traffic.figures(days, unusual, registry).items()]
    version = traffic.version_of(days)
    is_new = not any(row["version"] == version for day in days[:-_NEW_DAYS] for row in day.rows)
    answered = max((day.day for day in days if day.answered), default=days[-1].day)
    return _Judged(days[-1].day, answered, checks, version, is_new)


def _clicked(
    days: Sequence[outcomes.Outcome], alarms: Sequence[tuple[date, str]], drawn: Collection[Version]
) -> _Judged:
    unusual = [*alarms, *_incomparable({day.day: day.version in drawn for day in days}, (CALIBRATION, ENTROPY))]
    checks = {name: judge(name, figure) for name, figure in outcomes.figures(days, unusual).items()}
    version = days[-1].version
    if version in drawn:
        checks[CALIBRATION] = Check(CALIBRATION, checks[CALIBRATION].observed, problem=NOT_CALIBRATED)
    is_new = not any(day.version == version for day in days[:-_NEW_DAYS])
    return _Judged(days[-1].day, days[-1].day, [*checks.values(), *outcomes.decline(days)], Version(version), is_new)


def _alarm(check: Check, judged: _Judged, alarming: set[str], end: datetime) -> Alarm:
    advice = advise(check.figure, alarming, judged.is_new, check.observed)
    return Alarm(
        day=judged.day.isoformat(),
        at=end.replace(tzinfo=UTC).isoformat(),
        figure=check.figure,
        observed=check.observed,
        low=check.low,
        high=check.high,
        p=check.p,
        version=judged.version,
        action=advice.action,
        why=advice.why,
    )


def _print(log: Path, end: datetime, checks: Sequence[Check], alarms: Sequence[Alarm]) -> None:
    names = {alarm.figure for alarm in alarms}
    rows = []
    later = [check for check in checks if check.problem == FEW_DAYS]
    for check in checks:
        if check in later:
            continue
        verdict = check.problem or ("alarm" if check.figure in names else "usual")
        rows.append((check.figure, check.observed, (check.low, check.high), check.p, verdict))
    columns = ("figure", "observed", "usual", "p", "verdict")
    print_table(f"{log}: the day until {end:%Y-%m-%d %H:%M} UTC", columns, rows)
    if alarms:
        lines = [(alarm.day, alarm.figure, alarm.action, alarm.why) for alarm in alarms]
        print_table("Alarms", ("day", "figure", "what to do", "why"), lines)
    else:
        print(f"no alarm among {len(rows)} figures")
    if later:
        print(f"{len(later)} more figures have {FEW_DAYS}: most are judged from the log's 12th day on")

"""The command `din watch`: judge the newest day of service, print its figures, and keep alarms in the registry."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from prometheus_client import CollectorRegistry, Gauge, write_to_textfile

from din.base.errors import GateClosed, InputError, Unavailable
from din.base.names import Version
from din.base.printing import print_table
from din.base.workspace import Workspace
from din.contracts.facts import NOT_CALIBRATED, Facts
from din.release.events import Event
from din.release.registry.registry import Registry
from din_loop.served_options import Served
from din_loop.watch import outcomes, slices, traffic
from din_loop.watch.alarms import (
    AGE,
    CALIBRATION,
    ENTROPY,
    PREDICTION,
    PREDICTIONS,
    SINCE_PROMOTION,
    VERSIONS,
    WAIT,
    Alarm,
    advise,
    base_name,
    keep,
    kept,
)
from din_loop.watch.memory import FALSE_ALARMS_OVER_WEEKS, LEAST_CHANGE, over_weeks, since_promotion, within_bundle
from din_loop.watch.significance import FEW_DAYS, Check, alarms_among, judge
from din_loop.watch.traffic import DAY

_NEW_DAYS = 2
"""A bundle is new on the first days that it answers."""
_MOST_MIXED_HOURS = 3
"""Processes answer with different bundles in an hour or two after a promotion, and again after a rollback."""
_LATE_DAYS = 2
"""The days after the window within which the clicks of a day are expected."""
_MORE_CLICKED = 4
"""How many times as many users are read for figures on clicks: they need more, and an impression takes less memory."""


@dataclass(frozen=True)
class Watched:
    """A day of service, judged.

    Attributes:
        until: the end of the day.
        problems: why the clicks could not be read, or the metrics not written.
    """

    until: str
    checks: list[Check]
    alarms: list[Alarm]
    problems: list[InputError | Unavailable]

    def check(self) -> None:
        """Raise GateClosed if there is an alarm, or else the first problem."""
        if self.alarms:
            summary = "; ".join(f"{alarm.figure} on {alarm.day}: {alarm.action} ({alarm.why})" for alarm in self.alarms)
            raise GateClosed(f"{len(self.alarms)} alarms in the days up to {self.until}: {summary}")
        if self.problems:
            raise self.problems[0]


@dataclass(frozen=True, kw_only=True)
class _Judged:
    """Figures about one day.

    Attributes:
        answered: the newest day with an answer.
        daily: compared with the days before.
        slow: compared over weeks.
        bounded: compared with fixed limits.
        version: the bundle that answered. None if none did.
        is_new: whether its first answer was on that day or the day before.
    """

    day: date
    answered: date
    daily: list[Check] = field(default_factory=list)
    slow: list[Check] = field(default_factory=list)
    bounded: list[Check] = field(default_factory=list)
    version: Version | None
    is_new: bool = False

    @property
    def checks(self) -> list[Check]:
        """All figures."""
        return [*self.daily, *self.slow, *self.bounded]


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
    before = [
        (date.fromisoformat(alarm.day), base_name(alarm.figure))
        for alarm in kept(registry.objects)
        if not alarm.figure.endswith(SINCE_PROMOTION)  # it stays until a promotion, and says nothing of its days
    ]
    days = traffic.read(log, end, most)
    facts = _facts(days, registry)
    sent = _sent(days, before, registry, facts)
    parts = [sent]
    problems: list[InputError | Unavailable] = []
    if clicks:
        try:
            share = min(1.0, _MORE_CLICKED * days[-1].share)
            parts.append(_clicked(outcomes.read(workspace, log, clicks, sent.day, share), before, facts))
        except (InputError, Unavailable) as error:
            problems.append(type(error)(f"the clicks can't be read: {error}"))
        else:
            wait = (sent.answered - parts[-1].day) / DAY
            sent.bounded.append(Check(WAIT, wait, high=clicks.window_hours / 24 + _LATE_DAYS))
    promoted = registry.record(champion.version)  # the first time: a rollback makes no bundle younger
    age = end.replace(tzinfo=UTC) - datetime.fromisoformat(promoted.at)
    champions = _Judged(
        day=sent.day,
        answered=sent.answered,
        bounded=[Check(AGE, age / DAY, high=max_age / DAY)],
        version=champion.version,
    )
    parts.append(champions)
    checks = [check for part in parts for check in part.checks]
    alarms = _raised(parts, before, end)
    _print(log, end, checks, alarms)
    if metrics:
        try:
            write_metrics(metrics, registry, end, checks, alarms)
        except InputError as error:
            problems.append(error)
    for alarm in alarms:
        keep(registry.objects, alarm)
    for problem in problems:
        print(problem)
    return Watched(f"{end:%Y-%m-%d %H:%M} UTC", checks, alarms, problems)


def alarmed(registry: Registry, alarms: Sequence[Alarm]) -> Event:
    """Return one event for all alarms kept about these days. Its id changes only when another alarm is added."""
    days = {alarm.day for alarm in alarms}
    about = [alarm for alarm in kept(registry.objects) if alarm.day in days]
    lines = [f"{alarm.figure} on {alarm.day}: {alarm.action} ({alarm.why})" for alarm in about]
    facts = {"alarms": [asdict(alarm) for alarm in about]}
    return Event("alarm", lines, f"{len(about)} alarms: {'; '.join(lines)}", facts, registry)


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


def _facts(days: Sequence[traffic.Day], registry: Registry) -> dict[Version, Facts]:
    """Return the facts of the bundles that answered, as far as the registry has them."""
    answered = {row["version"] for day in days for row in day.rows} & {*registry.versions()}
    facts = {}
    for version in answered:
        with suppress(InputError):  # damaged, or of an earlier form
            facts[version] = registry.facts(version)
    return facts


def _drawn(version: str | None, facts: Mapping[Version, Facts]) -> bool:
    """Return whether a bundle has drawn negatives, as far as its facts are known."""
    return version in facts and facts[Version(version or "")].negatives_drawn


def _incomparable(are_drawn: Mapping[date, bool], figures: Collection[str]) -> list[tuple[date, str]]:
    """Return the days and figures that say nothing about the last day, since only one of the two is calibrated.

    Args:
        are_drawn: whether the bundle of each day has drawn negatives, oldest first.
        figures: the figures that depend on it.
    """
    *before, last = are_drawn.items()
    return [(day, figure) for day, is_drawn in before if is_drawn != last[1] for figure in figures]


def _sent(
    days: Sequence[traffic.Day], alarms: Sequence[tuple[date, str]], registry: Registry, facts: Mapping[Version, Facts]
) -> _Judged:
    unusual = [
        *alarms,
        *_incomparable({day.day: _drawn(traffic.version_of([day]), facts) for day in days}, PREDICTIONS),
    ]
    version = traffic.version_of(days)
    is_new = not any(row["version"] == version for day in days[:-_NEW_DAYS] for row in day.rows)
    answered = max((day.day for day in days if day.answered), default=days[-1].day)
    mixed = Check(VERSIONS, traffic.hours_of_several_versions(days[-1]), high=_MOST_MIXED_HOURS)
    figures = traffic.figures(days, unusual, registry)
    daily = [judge(name, figure) for name, figure in figures.items()]
    versions = [traffic.version_of([day]) for day in days]
    slow = [within_bundle(PREDICTION, figures[PREDICTION], versions)]
    return _Judged(
        day=days[-1].day,
        answered=answered,
        daily=daily,
        slow=slow,
        bounded=[mixed],
        version=version,
        is_new=is_new,
    )


def _clicked(
    days: Sequence[outcomes.Outcome], alarms: Sequence[tuple[date, str]], facts: Mapping[Version, Facts]
) -> _Judged:
    version = Version(days[-1].version)
    unusual = [*alarms, *_incomparable({day.day: _drawn(day.version, facts) for day in days}, (CALIBRATION, ENTROPY))]
    figures = outcomes.figures(days, unusual)
    bounded = since_promotion(days, facts[version]) if version in facts else []
    if _drawn(version, facts):
        promised = figures.pop(CALIBRATION)
        bounded.append(Check(CALIBRATION, promised.shown(promised.values[-1]), problem=NOT_CALIBRATED))
    is_new = not any(day.version == version for day in days[:-_NEW_DAYS])
    daily = [judge(name, figure) for name, figure in figures.items()] + slices.checks(days, alarms)
    slow = [over_weeks(name, figures[name]) for name in LEAST_CHANGE if name in figures]
    day = days[-1].day
    return _Judged(day=day, answered=day, daily=daily, slow=slow, bounded=bounded, version=version, is_new=is_new)


def _raised(parts: Sequence[_Judged], before: Sequence[tuple[date, str]], end: datetime) -> list[Alarm]:
    """Return the alarms, given the days and figures that alarmed before."""
    daily = alarms_among([check for part in parts for check in part.daily])
    slow = alarms_among([check for part in parts for check in part.slow], FALSE_ALARMS_OVER_WEEKS)
    bounded = [check for part in parts for check in part.bounded if check.is_outside]
    alarming = {check.figure for check in (*daily, *slow, *bounded)}
    raised = [(part, check) for part in parts for check in part.checks if check.figure in alarming]
    alarmed = [*before, *((part.day, base_name(check.figure)) for part, check in raised)]
    return [_alarm(check, part, {name for day, name in alarmed if day == part.day}, end) for part, check in raised]


def _alarm(check: Check, judged: _Judged, alarming: set[str], end: datetime) -> Alarm:
    advice = advise(check.figure, alarming, judged.is_new, check.observed, check.value)
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

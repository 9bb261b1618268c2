"""The command `din watch`: judge the newest day of service, keep alarms in the registry, and print both."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from prometheus_client import CollectorRegistry, Gauge, write_to_textfile

from din.errors import GateClosed, InputError
from din.params.fetch import Served
from din.printing import print_table
from din.registry.registry import Registry
from din.watch import outcomes, traffic
from din.watch.alarms import AGE, WAIT, Alarm, advise, keep
from din.watch.spread import Check, alarms_among, judge
from din.workspace import Workspace

_DAY = timedelta(days=1)
_NEW = 2 * _DAY
_PATIENCE = 2
"""The days after the window within which the clicks of a day are expected."""


@dataclass(frozen=True)
class Watched:
    """A day of service, judged.

    Attributes:
        until: the end of the day.
        checks: all figures.
        alarms: those that alarm.
    """

    until: str
    checks: list[Check]
    alarms: list[Alarm]

    def check(self) -> None:
        """Raise GateClosed if there is an alarm."""
        if self.alarms:
            told = "; ".join(f"{one.figure}: {one.action} ({one.why})" for one in self.alarms)
            raise GateClosed(f"{len(self.alarms)} alarms about the day until {self.until}: {told}")


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
    """Judge the newest day of a server's log, keep alarms, and print figures and alarms.

    Args:
        clicks: how to read the clicks; None: figures that need clicks are left out.
        end: the end of the day, UTC.
        most: how many requests of a day to read, about.
        max_age: alarm if the champion is older.
        metrics: write the figures to this file, for Prometheus' collector of text files.

    Raises:
        InputError: the log or the clicks can't be read, or there is no champion.
        Unavailable: the registry doesn't answer.
    """
    champion = registry.champion()
    if champion is None:
        raise InputError(f"{registry.name}: no champion to watch; promote a bundle first (`din promote`)")
    day = (end - timedelta(microseconds=1)).date()
    served = traffic.read(log, end, most)
    checks = [judge(name, figure) for name, figure in traffic.figures(served, registry).items()]
    days = {}
    age = end.replace(tzinfo=UTC) - datetime.fromisoformat(champion.at)
    bounded = [Check(AGE, age / _DAY, high=max_age / _DAY)]
    if clicks:
        clicked = outcomes.read(workspace, clicks, day)
        judged = [judge(name, figure) for name, figure in outcomes.figures(clicked).items()]
        judged += outcomes.decline(clicked)
        checks += judged
        days = {check.figure: clicked[-1].day for check in judged}
        bounded.append(Check(WAIT, (day - clicked[-1].day) / _DAY, high=clicks.window_hours / 24 + _PATIENCE))
    alarming = alarms_among(checks) + [check for check in bounded if (check.observed or 0) > (check.high or 0)]
    checks += bounded
    names = {check.figure for check in alarming}
    alarms = []
    for check in alarming:
        advice = advise(check.figure, names, is_new=age <= _NEW)
        alarms.append(
            Alarm(
                day=days.get(check.figure, day).isoformat(),
                at=end.replace(tzinfo=UTC).isoformat(),
                figure=check.figure,
                observed=check.observed,
                low=check.low,
                high=check.high,
                p=check.p,
                version=champion.version,
                action=advice.action,
                why=advice.why,
            )
        )
    for alarm in alarms:
        keep(registry.objects, alarm)
    if metrics:
        write_metrics(metrics, checks, alarms)
    _print(log, end, checks, alarms)
    return Watched(f"{end:%Y-%m-%d %H:%M} UTC", checks, alarms)


def write_metrics(path: Path, checks: Sequence[Check], alarms: Sequence[Alarm]) -> None:
    """Write the figures and the alarms in the format of Prometheus, for the collector of text files."""
    found = CollectorRegistry()
    figures = Gauge("din_watch_figure", "A figure of the newest day.", ["figure"], registry=found)
    alarming = Gauge("din_watch_alarm", "1 for each alarm.", ["figure", "action"], registry=found)
    for check in checks:
        if check.observed is not None:
            figures.labels(check.figure).set(check.observed)
    for alarm in alarms:
        alarming.labels(alarm.figure, alarm.action).set(1)
    write_to_textfile(str(path), found)


def _print(log: Path, end: datetime, checks: Sequence[Check], alarms: Sequence[Alarm]) -> None:
    names = {alarm.figure for alarm in alarms}
    rows = [
        (
            one.figure,
            one.observed,
            (one.low, one.high),
            one.p,
            one.problem or ("alarm" if one.figure in names else "usual"),
        )
        for one in checks
    ]
    columns = ("figure", "observed", "usual", "p", "verdict")
    print_table(f"{log}: the day until {end:%Y-%m-%d %H:%M} UTC", columns, rows)
    if alarms:
        rows = [(alarm.day, alarm.figure, alarm.action, alarm.why) for alarm in alarms]
        print_table("Alarms", ("day", "figure", "what to do", "why"), rows)
    else:
        print(f"no alarm among {len(checks)} figures")

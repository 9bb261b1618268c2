"""Find the days of today's log that a candidate never learns because it continues a champion.

Such a candidate learns only the rows after the last one that the champion has learned. These days are left out:

    late                 delivered after the champion had learned a later day: its own log did not have the day
    changed              delivered again, with other rows than in the champion's log
    before the window    after the champion's last day, but before the first day within `data.window_days`

Only a run from scratch learns a late or changed day, and only a longer window reaches a day before it. Late and changed
days that the champion itself missed are reported again, until a model from scratch replaces it.

Today's log is compared with the champion's by the hashes of the days' files, which the champion's record has. Other
settings of the source, or another release of pyarrow, change every file, so in these cases no day is called changed.
This reads a few small files of the record, and the footers of the files of the missed days.
"""

from datetime import datetime

import pyarrow as pa
import pyarrow.parquet as pq

from din.base import documents
from din.base.artifacts import MANIFEST
from din.base.errors import InputError
from din.base.printing import say
from din.contracts.facts import Facts
from din.contracts.manifests import RawManifest
from din.contracts.verdicts import GateReport, MissedDay, WhyMissed
from din.data.rawlog import day_file
from din.release.gates.evidence import Evidence
from din.release.registry.promoted import RAW_MANIFEST, Promoted
from din.release.registry.registry import Registry


def missed_days(evidence: Evidence, registry: Registry) -> list[MissedDay]:
    """Return the days that a candidate misses because it continues a champion, in order.

    If they can't be determined, print why and return none, because a warning must not stop the gate.

    Raises:
        Unavailable: the registry doesn't answer.
    """
    pinned = evidence.params.train.continues
    if pinned is None:
        return []
    try:
        missed = _missed(evidence, Promoted.find(registry, pinned))
        rows = {day: pq.read_metadata(evidence.workspace.raw / day_file(day)).num_rows for day in missed}
    except (InputError, OSError, pa.ArrowException) as error:
        say(f"warning: can't tell which days of this log the champion {pinned[:12]} has missed: {error}")
        return []
    return [MissedDay(day=day, rows=rows[day], why=why) for day, why in sorted(missed.items())]


def _missed(evidence: Evidence, champion: Promoted) -> dict[str, WhyMissed]:
    """Return the days that a candidate which continues this champion misses, with the reasons."""
    log = documents.read(RawManifest, evidence.workspace.raw / MANIFEST)
    earlier = champion.document(RawManifest, RAW_MANIFEST)
    seen = datetime.fromisoformat(champion.facts.seen_until).date().isoformat()
    first = evidence.features.manifest.first_day
    comparable = (log.params, _pyarrow(evidence.facts)) == (earlier.params, _pyarrow(champion.facts))
    report = champion.document(GateReport, "gate.json")
    missed_before: dict[str, WhyMissed] = {missed_day.day: missed_day.why for missed_day in report.missed_days}
    missed: dict[str, WhyMissed] = {}
    for day in log.days:
        name = day_file(day)
        if seen < day < first:
            missed[day] = "before the window"
        elif not first <= day <= seen:
            continue
        elif day not in earlier.days:
            missed[day] = "late"
        elif comparable and log.files.get(name) != earlier.files.get(name):
            missed[day] = "changed"
        elif day in missed_before:
            missed[day] = missed_before[day]
    return missed


def _pyarrow(facts: Facts) -> str | None:
    """Return the release of pyarrow that wrote the log of a bundle."""
    return facts.packages.get("pyarrow")

"""Gates on the candidate's place in the registry's log of promotions."""

from din.release.gates import GATES
from din.release.gates.case import Case, show_log, show_record
from din.release.gates.findings import Finding, decide
from din.release.registry.champions import removed_lesson, rolled_back, started_from, until


@GATES.register(
    "no_earlier_champion", applies=lambda case: not case.history, command=lambda case: "din registry verify"
)
def no_earlier_champion(case: Case) -> Finding:
    """Check that no other bundle was promoted. If one was, the log was lost, and this is not a first run."""
    others = [version for version in case.registry.versions_once_recorded() if version != case.evidence.version]
    return decide(not others, len(others), 0, case.registry.lost(others))


@GATES.register("data_until", run="later", compares=True, command=show_record)
def data_until(case: Case) -> Finding:
    """Check that the champion has not seen newer data than the candidate."""
    candidate = until(case.evidence.facts)
    champion = until(case.champion.facts)
    if candidate < champion and case.limits.allow_older:
        return Finding(
            "open", str(candidate), str(champion), reason="the champion saw newer data: waived by gate.allow_older"
        )
    reason = "the champion saw newer data; to promote nevertheless, set gate.allow_older: true in params.yaml"
    return decide(candidate >= champion, str(candidate), str(champion), reason)


@GATES.register("not_rolled_back", run="later", compares=True, command=show_log)
def not_rolled_back(case: Case) -> Finding:
    """Check that no rollback removed the candidate, or a bundle that it was trained from."""
    if record := rolled_back(case.history).get(case.evidence.version):
        reason = f"{record.by} rolled this bundle back ({record.reason}); reinstate it with `din registry rollback`"
        return Finding("closed", f"in record {record.number}", "no", reason=reason)
    if lesson := removed_lesson(case.registry, case.history, started_from(case.evidence.facts)):
        reason = (
            f"this candidate was trained from bundle {lesson.version[:12]}, which {lesson.record.by} rolled back "
            f"({lesson.record.reason}); continue from another one: run `din pin` and then `dvc repro`, or start a new "
            "run under a scheduler"
        )
        return Finding("closed", f"in record {lesson.record.number}", "no", reason=reason)
    return Finding("open", "no", "no")

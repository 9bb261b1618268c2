"""Train a promoted bundle again on any machine, and compare every bit: `din reproduce`.

    record ─► commit, params.yaml, dvc.lock, hashes ─► checkout ─► data by hash ─► stages up to export ─► comparison

The stages run the code of the commit: the checkout's `din` and `validation` precede the installed ones on PYTHONPATH.
Two things are checked before training. The checkout's code must be the code that made the bundle, whether or not there
were uncommitted changes. The raw log must have the recorded hash. A different machine or different packages are only
reported, because the comparison shows whether they matter.

It costs as much as the original run without parity and gate.
"""

from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from ruamel.yaml import YAML

from din import documents
from din.artifacts import read_json, write_bytes
from din.code import Machine, StageCode
from din.errors import GateClosed, InputError, Unavailable, shown
from din.facts import Evaluation
from din.git import check_out_commit, resolved
from din.manifests import FetchReport
from din.names import Commit
from din.params.overlays import make_paths_absolute
from din.pipeline import stages_of
from din.printing import flat, print_table, say
from din.process import CommandFailed, checkout_environment, query_din, stream
from din.promotion.restore import restore_raw
from din.registry.bundle import verify_bundle
from din.registry.diff import differences, machines
from din.registry.promoted import GIT, LOCK, PARAMS, PIPELINE, GitState, Promoted
from din.registry.registry import Registry
from din.workspace import Workspace

_LAST = "export"
"""The stage that writes the bundle."""

_COLUMNS = ("", "recorded", "here", "")


def reproduce(uri: str, model_name: str, name: str, repository: str, keep: Path | None = None) -> None:
    """Train a promotion's bundle again in a checkout of its commit, and print which files and metrics differ.

    Args:
        name: the number of a record, or a version or its beginning.
        repository: the folder or URL of the repository that has the commit.
        keep: an empty or new folder to work in, by default a temporary one.

    Raises:
        GateClosed: a file of the bundle differs, or a validation suite is closed in the reproduction.
        InputError: the record is incomplete, the repository lacks the commit or its code differs, or the raw log is not
            found or differs.
        Unavailable: a stage failed for another reason, or the registry doesn't answer.
    """
    promoted = Promoted.find(Registry(uri, model_name), name)
    repository = resolved(repository)
    if keep and keep.exists() and any(keep.iterdir()):
        raise InputError(f"--keep {keep}: holds files; expected an empty folder, or one that does not exist")
    with nullcontext(keep) if keep else TemporaryDirectory(prefix="din-reproduce-") as folder:
        root = Path(folder).resolve()
        checkout = Workspace(root)
        _check_out(promoted, repository, checkout)
        fingerprint = promoted.document(FetchReport, "fetch.json").fingerprint
        env = checkout_environment(root, DIN_SOURCE_FINGERPRINT=fingerprint)
        _compare_machines(promoted, checkout, env)
        _check_code(promoted, checkout, env)
        restore_raw(promoted, checkout, env, repository)
        _run_stages(checkout, env)
        _compare(promoted, checkout)


def _check_out(promoted: Promoted, repository: str, checkout: Workspace) -> None:
    """Check out the promotion's commit, and add the parameters, the lock and the fetch report of its record.

    Raises:
        InputError: the repository lacks the commit, or the commit's dvc.yaml is not the recorded one.
    """
    commit = _commit(promoted)
    say(f"reproducing record {promoted.title} at commit {commit[:12]} in {checkout.root}")
    try:
        check_out_commit(repository, commit, checkout.root)
    except CommandFailed as error:
        reason = str(error).splitlines()[-1]
        raise InputError(
            f"--repository {repository}: can't check out commit {commit} of record {promoted.record.number}; name a "
            f"repository that holds it ({reason})"
        ) from None
    if checkout.pipeline.read_bytes() != promoted.content(PIPELINE):
        raise InputError(
            f"record {promoted.record.number}: its dvc.yaml is not that of commit {commit}; it was promoted with "
            "uncommitted changes, so its stages can't be run again: commit them and promote again"
        )
    params = promoted.yaml(PARAMS)
    # Make relative locations absolute, so that they stay valid in the checkout. No bundle depends on them.
    uri = promoted.registry.uri
    params["promote"]["registry"] = uri if "://" in uri else str(Path(uri).expanduser().resolve())
    make_paths_absolute(params, repository)
    with checkout.params.open("w", encoding="utf-8") as file:
        YAML(typ="safe").dump(params, file)
    write_bytes(checkout.lock, promoted.content(LOCK))
    write_bytes(checkout.fetch, promoted.content("fetch.json"))


def _commit(promoted: Promoted) -> Commit:
    commit = promoted.document(GitState, GIT).commit
    if commit is None:
        raise InputError(
            f"record {promoted.record.number}: names no commit, since it was promoted outside a git repository; "
            "promote from a repository to reproduce later"
        )
    return commit


def _compare_machines(promoted: Promoted, checkout: Workspace, env: Mapping[str, str]) -> None:
    """Print how this machine differs from the machines that trained and evaluated."""
    here = documents.parse(Machine, query_din(["train", "--dry-run"], checkout.root, env).encode(), "machine")
    recorded = machines(promoted)
    rows = differences(recorded, {key: getattr(here, key.partition(".")[2]) for key in recorded})
    if not rows:
        say("machine: equal in everything that the bits of a model depend on")
        return
    print_table("machine", ("", "recorded", "here"), rows)
    say("This machine differs from the recorded one, so the last bits of weights and metrics may differ.\n")


def _check_code(promoted: Promoted, checkout: Workspace, env: Mapping[str, str]) -> None:
    """Check that the checkout has the code that the stages of the run had, and print which packages differ.

    Raises:
        InputError: the code of a stage up to `export` differs.
    """
    query_din(["code"], checkout.root, env)
    stages = list(stages_of(checkout))
    recorded: dict[str, StageCode] = {}
    here: dict[str, StageCode] = {}
    for stage in stages[: stages.index(_LAST) + 1]:
        if checkout.code_of(stage).exists():
            recorded[stage] = promoted.document(StageCode, f"code/{stage}.json")
            here[stage] = documents.read(StageCode, checkout.code_of(stage))
    files = _changes(recorded, here, "files")
    if files:
        dirty = promoted.document(GitState, GIT).dirty
        why = "it was promoted with uncommitted changes" if dirty else "its stages ran code from elsewhere"
        raise InputError(
            f"record {promoted.record.number}: its code differs from commit {_commit(promoted)} in {len(files)} files, "
            f"first {shown(files[0][0], quotes=False)}; {why}: commit the code and promote again"
        )
    packages = _changes(recorded, here, "packages")
    if packages:
        print_table("packages", ("", "recorded", "here"), packages)
        say("A bundle states the versions of its packages, so it will differ where they do.\n")
    else:
        say("code and packages: equal")


def _changes(
    recorded: Mapping[str, StageCode], here: Mapping[str, StageCode], part: Literal["files", "packages"]
) -> list[tuple[str, Any, Any]]:
    """Return the files or packages that differ in any stage, each once, as (name, recorded value, value here)."""
    rows = [
        row for stage in recorded for row in differences(getattr(recorded[stage], part), getattr(here[stage], part))
    ]
    return sorted({row[0]: row for row in rows}.values())


def _run_stages(checkout: Workspace, env: Mapping[str, str]) -> None:
    """Run all stages up to `export`, without restoring results from a cache.

    Raises:
        InputError: a stage found bad input.
        GateClosed: a validation suite is closed.
        Unavailable: a stage failed for another reason.
    """
    command = ["dvc", "repro", "--force", "--no-commit", _LAST]  # --force bypasses DVC's run-cache
    done = stream(command, checkout.root, env, show=say)
    if done.code == 0:
        return
    for stage in stages_of(checkout):
        outcome = checkout.outcome(stage)
        code = read_json(outcome)["exit_code"] if outcome.exists() else 0
        if code:
            message = f"the stage {stage} exited {code}; its message is above, and --keep FOLDER keeps its files"
            raise {InputError.exit_code: InputError, GateClosed.exit_code: GateClosed}.get(code, Unavailable)(message)
    raise Unavailable(f"`{' '.join(command)}` exited {done.code}; its message is above")


def _compare(promoted: Promoted, checkout: Workspace) -> None:
    """Print the bundle and metrics of the record beside those of the checkout.

    Raises:
        GateClosed: a file of the bundle differs.
    """
    record = promoted.record
    bundle = verify_bundle(checkout.bundle)
    old = _numbers(promoted.facts.evaluation)
    new = _numbers(documents.read(Evaluation, checkout.evaluation))
    files = differences(promoted.registry.files(record.version), bundle.files)
    print_table("metrics of the test rows", _COLUMNS, [_row(name, old[name], new[name]) for name in old])
    rows = [("version", record.version, bundle.version), *files]
    print_table("bundle", _COLUMNS, [_row(name, one and one[:12], other and other[:12]) for name, one, other in rows])
    if files:
        raise GateClosed(
            f"record {record.number} ({record.version[:12]}) is not reproduced: {len(files)} files of the bundle "
            f"differ, first {files[0][0]}"
        )
    say(f"record {promoted.title} is reproduced: all {len(bundle.files)} files of the bundle are equal")


def _numbers(evaluation: Evaluation) -> dict[str, Any]:
    """Return the metrics of the model and the baselines (floors), by dotted name."""
    return flat({"test": evaluation.test.model_dump(), "floors": evaluation.floors.model_dump()})


def _row(name: str, recorded: Any, found: Any) -> tuple[Any, ...]:
    """Return a row of `_COLUMNS`. For differing numbers, the last cell has the difference."""
    if recorded == found:
        return (name, recorded, found, "equal")
    both = isinstance(recorded, float | int) and isinstance(found, float | int)
    return (name, recorded, found, f"differs by {found - recorded:+.2e}" if both else "differs")

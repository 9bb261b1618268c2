"""Train a promoted bundle again on any machine, and compare every bit: `din reproduce`.

    record ─► commit, params.yaml, dvc.lock, hashes ─► checkout ─► data by hash ─► stages up to export ─► comparison

The stages run the code of the commit: the checkout's `din` and `validation` precede the installed ones on PYTHONPATH.
Two things are checked before training. The checkout's code must be the code that made the bundle, whether or not there
were uncommitted changes. The raw log must have the recorded hash. A different machine or different packages are only
reported, because the comparison shows whether they matter.

It costs as much as the original run without parity and gate.
"""

import os
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from dvc.config import Config, merge
from ruamel.yaml import YAML

from din import documents
from din.artifacts import hash_tree, write_bytes
from din.code import Machine, StageCode
from din.errors import GateClosed, InputError, Unavailable, listed, shown
from din.facts import Evaluation
from din.git import absolute, check_out_commit, is_remote, resolved
from din.manifests import FetchReport
from din.names import Commit
from din.params.overlays import make_paths_absolute
from din.pipeline import stages_of
from din.printing import say
from din.process import CommandFailed, checkout_environment, query, query_din, stream
from din.registry.bundle import verify_bundle
from din.registry.diff import Difference, differences, machines, metrics, print_differences
from din.registry.promoted import GIT, LOCK, PARAMS, PIPELINE, GitState, Promoted
from din.registry.registry import Registry
from din.stage import StageOutcome
from din.workspace import Workspace

_LAST = "export"
"""The stage that writes the bundle."""

_COLUMNS = ("recorded", "here")


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
    state = promoted.document(GitState, GIT)
    if state.commit is None:
        raise InputError(
            f"record {promoted.record.number}: names no commit, because it was promoted outside a git repository; "
            "only a promotion from a repository can be reproduced"
        )
    repository = resolved(repository)
    if keep and keep.exists() and any(keep.iterdir()):
        raise InputError(f"--keep {keep}: holds files; expected an empty folder, or one that does not exist")
    with nullcontext(keep) if keep else TemporaryDirectory(prefix="din-reproduce-") as folder:
        root = Path(folder).resolve()
        checkout = Workspace(root)
        _check_out(promoted, state.commit, repository, checkout)
        fingerprint = promoted.document(FetchReport, "fetch.json").fingerprint
        env = checkout_environment(root, DIN_SOURCE_FINGERPRINT=fingerprint)
        _check_code(promoted, state, checkout, env)
        _restore_raw(promoted, checkout, env, repository)
        _run_stages(checkout, env)
        _compare(promoted, checkout)


def _check_out(promoted: Promoted, commit: Commit, repository: str, checkout: Workspace) -> None:
    """Check out the promotion's commit, and add the parameters, the lock and the fetch report of its record.

    Raises:
        InputError: the repository lacks the commit, or the commit's dvc.yaml is not the recorded one.
    """
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
    promoted.yaml(LOCK)  # DVC would expand merge keys without end
    # Make relative locations absolute, so that they stay valid in the checkout. No bundle depends on them.
    where = f"promote in {PARAMS} of record {promoted.record.number}"
    promote = documents.check(dict[str, Any], params.get("promote"), where)
    params["promote"] = promote | {"registry": resolved(promoted.registry.uri)}
    make_paths_absolute(params, repository)
    with checkout.params.open("w", encoding="utf-8") as file:
        YAML(typ="safe").dump(params, file)
    write_bytes(checkout.lock, promoted.content(LOCK))
    write_bytes(checkout.fetch, promoted.content("fetch.json"))


def _check_code(promoted: Promoted, state: GitState, checkout: Workspace, env: Mapping[str, str]) -> None:
    """Check that the checkout has the code of the run, and print how machines and packages differ.

    Raises:
        InputError: the code of a stage up to `export` differs.
    """
    here = documents.parse(Machine, query_din(["train", "--dry-run"], checkout.root, env).encode(), "machine")
    recorded = machines(promoted)
    rows = differences(recorded, {key: getattr(here, key.partition(".")[2]) for key in recorded})
    print_differences("machine", _COLUMNS, rows)
    if rows:
        say("This machine differs from the recorded one, so the last bits of weights and metrics may differ.\n")
    query_din(["code"], checkout.root, env)
    stages = list(stages_of(checkout))
    files: dict[str, Difference] = {}
    packages: dict[str, Difference] = {}
    for stage in stages[: stages.index(_LAST) + 1]:
        if checkout.code_of(stage).exists():
            old = promoted.document(StageCode, f"code/{stage}.json")
            new = documents.read(StageCode, checkout.code_of(stage))
            files |= {row[0]: row for row in differences(old.files, new.files)}
            packages |= {row[0]: row for row in differences(old.packages, new.packages)}
    if files:
        why = "it was promoted with uncommitted changes" if state.dirty else "its stages ran code from elsewhere"
        raise InputError(
            f"record {promoted.record.number}: its code differs from commit {state.commit} in {len(files)} files, "
            f"first {shown(min(files), quotes=False)}; {why}: commit the code and promote again"
        )
    print_differences("code and packages", _COLUMNS, sorted(packages.values()))
    if packages:
        say("A bundle states the versions of its packages, so it will differ where they do.\n")


def _restore_raw(promoted: Promoted, checkout: Workspace, env: Mapping[str, str], repository: str) -> None:
    """Restore the raw log of the record into the checkout: by hash if it is stored anywhere, else from its source.

    Raises:
        InputError: the log is not found, or its hash is not the recorded one.
    """
    record = f"record {promoted.record.number}"
    raw = checkout.relative(checkout.raw)
    remotes = _remotes(checkout, repository)
    origin = next((place for name, place in remotes.items() if _pulled(name, raw, checkout, env)), None)
    if origin is None:
        origin = "its source"
        known = listed(remotes.values()) or "none is configured"
        say(f"{raw}: not found in any DVC remote or cache ({known}); reading it from its source")
        try:
            query_din(["fetch"], checkout.root, env)
        except InputError:
            reason = documents.read(StageOutcome, checkout.outcome("fetch")).message
            raise InputError(
                f"{record}: its raw log is in no DVC remote or cache, and its source can't be read ({reason}); set "
                "DIN_DVC_REMOTE to the remote that has it"
            ) from None
    digest = hash_tree(checkout.raw)
    recorded = promoted.facts.inputs.raw
    if digest != recorded:
        raise InputError(
            f"{record}: the raw log from {origin} has hash {digest[:12]}, expected {recorded[:12]}; set DIN_DVC_REMOTE "
            "to the remote that has the recorded log"
        )
    say(f"{raw}: equal, from {origin}")


def _remotes(checkout: Workspace, repository: str) -> dict[str, str]:
    """Configure the DVC remotes that may have the raw log, and return their URLs by name, in the order to try them.

    They are DIN_DVC_REMOTE, the DVC cache and the scheduler's remote of a repository that is a folder, and the default
    remote. It comes last, because it is usually far away. DVC's settings in that folder apply here too.
    """
    given = os.environ.get("DIN_DVC_REMOTE")
    places = {"reproduce-given": absolute(given, repository)} if given else {}
    config = Config(str(checkout.root / ".dvc"))
    with config.edit("local") as settings:
        if not is_remote(repository):
            folder = Workspace(Path(repository))
            stores = {"reproduce-cache": folder.root / ".dvc" / "cache", "reproduce-runs": folder.runs / "remote"}
            places |= {name: str(store) for name, store in stores.items() if store.is_dir()}
            own = Config(str(folder.root / ".dvc"))
            merge(settings, own.read("repo"))
            merge(settings, own.read("local"))
        merge(settings, {"remote": {name: {"url": place} for name, place in places.items()}})
    if default := config["core"].get("remote"):
        places[default] = config["remote"][default]["url"]
    return places


def _pulled(remote: str, path: str, checkout: Workspace, env: Mapping[str, str]) -> bool:
    try:
        query(["dvc", "pull", "--force", "--remote", remote, path], checkout.root, env)
    except CommandFailed:
        return False
    return True


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
    failures = {failure.exit_code: failure for failure in (InputError, GateClosed)}
    for stage in stages_of(checkout):
        outcome = checkout.outcome(stage)
        if outcome.exists() and (code := documents.read(StageOutcome, outcome).exit_code):
            message = f"the stage {stage} exited {code}; its message is above, and --keep FOLDER keeps its files"
            raise failures.get(code, Unavailable)(message)
    raise Unavailable(f"`{' '.join(command)}` exited {done.code}; its message is above")


def _compare(promoted: Promoted, checkout: Workspace) -> None:
    """Print which metrics and files of the bundle differ from the recorded ones.

    Raises:
        GateClosed: a file of the bundle differs.
    """
    record = promoted.record
    bundle = verify_bundle(checkout.bundle)
    old = metrics(promoted.facts.evaluation)
    new = metrics(documents.read(Evaluation, checkout.evaluation))
    print_differences("metrics of the test rows", _COLUMNS, differences(old, new))
    files = differences(promoted.registry.files(record.version), bundle.files)
    hashes = [(name, one and one[:12], other and other[:12]) for name, one, other in files]
    print_differences("bundle", _COLUMNS, hashes)
    if files:
        raise GateClosed(
            f"record {record.number} ({record.version[:12]}) is not reproduced: {len(files)} files of the bundle "
            f"differ, first {files[0][0]}"
        )
    say(f"record {promoted.title} is reproduced: all {len(bundle.files)} files of the bundle are equal")

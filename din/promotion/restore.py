"""Restore the raw log of a promotion by its hash from DVC's remotes and caches, or else from its source."""

import os
from collections.abc import Mapping
from pathlib import Path

from dvc.config import Config, merge

from din import documents
from din.artifacts import hash_tree
from din.errors import InputError, listed
from din.git import absolute, is_remote
from din.printing import say
from din.process import CommandFailed, query, query_din
from din.registry.promoted import Promoted
from din.stage import StageOutcome
from din.workspace import Workspace


def restore_raw(promoted: Promoted, checkout: Workspace, env: Mapping[str, str], repository: str) -> None:
    """Restore the raw log of the record into the checkout: by hash if it is stored anywhere, else from its source.

    Raises:
        InputError: the log is not found, or its hash is not the recorded one.
    """
    number = promoted.record.number
    raw = checkout.relative(checkout.raw)
    remotes = _remotes(checkout, repository)
    origin = next((place for name, place in remotes.items() if _pulled(name, raw, checkout, env)), None)
    if origin is None:
        origin = "its source"
        say(
            f"{raw}: in no DVC remote or cache ({listed(remotes.values()) or 'none is configured'}), reading its source"
        )
        try:
            query_din(["fetch"], checkout.root, env)
        except InputError:
            reason = documents.read(StageOutcome, checkout.outcome("fetch")).message
            raise InputError(
                f"record {number}: its raw log is in no DVC remote or cache, and its source can't be read ({reason}); "
                "set DIN_DVC_REMOTE to the remote that has it"
            ) from None
    digest = hash_tree(checkout.raw)
    recorded = promoted.facts.inputs.raw
    if digest != recorded:
        raise InputError(
            f"record {number}: the raw log from {origin} has hash {digest[:12]}, expected {recorded[:12]}; set "
            "DIN_DVC_REMOTE to the remote that has the recorded log"
        )
    say(f"{raw}: equal, from {origin}")


def _remotes(checkout: Workspace, repository: str) -> dict[str, str]:
    """Configure the DVC remotes that may have the raw log, and return their URLs by name, in the order to try them.

    They are DIN_DVC_REMOTE, the default remote, and, if the repository is a folder, its DVC cache and its scheduler's
    remote. DVC's settings in that folder apply here too.
    """
    given = os.environ.get("DIN_DVC_REMOTE")
    added = {"reproduce-given": absolute(given, repository)} if given else {}
    if not is_remote(repository):
        folder = Workspace(Path(repository))
        local = {"reproduce-cache": folder.root / ".dvc" / "cache", "reproduce-runs": folder.runs / "remote"}
        added |= {name: str(place) for name, place in local.items() if place.is_dir()}
    config = Config(str(checkout.root / ".dvc"))
    with config.edit("local") as settings:
        if not is_remote(repository):
            own = Config(str(Path(repository) / ".dvc"))
            merge(settings, own.read("repo"))
            merge(settings, own.read("local"))
        merge(settings, {"remote": {name: {"url": place} for name, place in added.items()}})
    default = config["core"].get("remote")
    known = {default: config["remote"][default]["url"]} if default else {}
    return added | known if given else known | added


def _pulled(remote: str, path: str, checkout: Workspace, env: Mapping[str, str]) -> bool:
    try:
        query(["dvc", "pull", "--force", "--remote", remote, path], checkout.root, env)
    except CommandFailed:
        return False
    return True

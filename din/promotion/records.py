"""What schedulers keep beside the promotions: a run's outcomes and reports, and what ended stages leave for equal runs.

Plain objects that may be written again; `din registry gc` removes them once nobody wrote below their key for its days,
unless a promotion names the run. The files that a promotion hashed are out of reach.
"""

from pathlib import Path

from din.artifacts import atomic_path, hash_files
from din.errors import InputError, shown
from din.names import FileName
from din.params import Params
from din.registry.objects import Objects
from din.registry.records import run_key
from din.registry.registry import PROMOTED
from din.workspace import Workspace


def objects_of(workspace: Workspace, params: Params) -> Objects:
    """Return the namespace of `promote.model_name` in `promote.registry`."""
    return Objects(workspace.located(params.promote.registry), params.model_name)


def keep(objects: Objects, key: str, folder: Path) -> None:
    """Store all files of a folder below `runs/<run id>` or `stages/<name>`, over older ones of the same names.

    Raises:
        InputError: another key, no folder, a name reserved for promotions, or a store that can't be written.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no folder; expected one that holds the files to keep")
    place = _place(key)
    for name in hash_files(folder):
        if name.startswith(PROMOTED):
            raise InputError(f"{folder / name}: {PROMOTED}* is written by `din promote` alone; use another name")
        objects.put(f"{place}/{name}", folder / name)


def take(objects: Objects, key: str, folder: Path) -> None:
    """Bring the files below a key into a folder; none is an empty folder.

    Raises:
        InputError: another key, or a store that can't be read.
    """
    place = _place(key)
    folder.mkdir(parents=True, exist_ok=True)
    for found in objects.keys(place):
        name = FileName(found.removeprefix(f"{place}/"))
        if not name.startswith(PROMOTED):
            with atomic_path(folder / name) as temporary, temporary.open("wb") as file:
                file.writelines(objects.stream(found))


def _place(key: str) -> str:
    area, _, name = key.partition("/")
    if name and (area == "runs" or area == "stages"):
        return run_key(name, area)
    raise InputError(f"{shown(key)} can't be a record's key; expected runs/<run id> or stages/<name>")

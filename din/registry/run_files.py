"""Files that schedulers keep beside the promotions: outcomes and reports of runs, and results of ended stages.

They are plain objects that may be overwritten. `din registry gc` removes them once they have not been modified for
`--days` days, unless a promotion names the run. The files that a promotion hashed can't be reached from here.
"""

from dataclasses import dataclass
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


@dataclass(frozen=True)
class Copied:
    """The files that were stored below a key, or copied from there.

    Attributes:
        key: `runs/<run id>` or `stages/<name>`.
        folder: the folder on this side.
        files: their paths within the folder.
    """

    key: str
    folder: str
    files: list[str]


def keep(objects: Objects, key: str, folder: Path) -> Copied:
    """Store all files of a folder below `runs/<run id>` or `stages/<name>`, and replace older ones of equal names.

    Raises:
        InputError: the key has another form, `folder` is not a folder, a name is reserved for promotions, or the store
            can't be written.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: not a folder; expected one with the files to keep")
    place = _place(key)
    names = list(hash_files(folder))
    for name in names:
        if name.startswith(PROMOTED):
            raise InputError(f"{folder / name}: only `din promote` writes {PROMOTED}*; use another name")
        objects.put(f"{place}/{name}", folder / name)
    return Copied(key, str(folder), names)


def take(objects: Objects, key: str, folder: Path) -> Copied:
    """Copy the files below a key into a folder, which stays empty if there are none.

    Raises:
        InputError: the key has another form, or the store can't be read.
    """
    place = _place(key)
    folder.mkdir(parents=True, exist_ok=True)
    names = []
    for found in objects.keys(place):
        name = FileName(found.removeprefix(f"{place}/"))
        if not name.startswith(PROMOTED):
            with atomic_path(folder / name) as temporary, temporary.open("wb") as file:
                file.writelines(objects.stream(found))
            names.append(name)
    return Copied(key, str(folder), names)


def _place(key: str) -> str:
    area, _, name = key.partition("/")
    if name and (area == "runs" or area == "stages"):
        return run_key(name, area)
    raise InputError(f"{shown(key)} can't be the key of a run or stage; expected runs/<run id> or stages/<name>")

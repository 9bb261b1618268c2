"""The command `din init`: guess, ask, write, and print what was guessed and what to do next."""

from collections.abc import Callable, Mapping
from pathlib import Path
from shutil import which

from din.errors import InputError, listed
from din.init.ask import decided
from din.init.guess import Asked, guess
from din.init.update import Merged, create, update
from din.params import Params
from din.workspace import Workspace


def init(workspace: Workspace, asked: Asked, given: Mapping[str, str], answer: Callable[[str], str] | None) -> None:
    """Make a repository that trains a model of a log, and print what was guessed.

    Args:
        workspace: an empty folder, or one with nothing but the log.
        asked: the paths of the tables.
        given: the columns that are known, by role.
        answer: asks a person; None = nobody is there.

    Raises:
        InputError: the log can't be read, a role can't be guessed, or the folder holds other files of these names.
    """
    found = decided(lambda known: guess(workspace, Params(), asked, known), dict(given), answer)
    written = create(workspace.root, found.sets)
    print(f"{found.rows:,} rows, {found.clicks:,} clicks")
    for one in found.sets:
        value = str(one.value)
        print(f"\n{one.key}: {value if value.isprintable() else repr(value)}")
        print("\n".join(f"    {line}" for line in one.lines))
    print(f"\nwrote {listed(written)}")
    print("Every guess and its reason is in params.yaml; correct what is wrong there. Then run:\n")
    if which("dvc") is None:
        print("    pip install --requirement requirements.txt")
    print("    dvc repro && din promote")
    print("    din tune                    # better hyperparameters for this log; needs the extra `tune`")


def init_update(root: Path) -> Merged:
    """Merge the installed release into a repository that `din init` made, print what changed, and return it.

    Raises:
        InputError: the repository has edits that are not committed, or a merge has conflicts, which are marked.
    """
    merged = update(root)
    if not merged.changed:
        print("up to date: this release renders the same files")
        return merged
    print(f"merged {listed(merged.changed)}; look at the changes with git diff")
    if merged.conflicts:
        raise InputError(
            f"{listed(merged.conflicts)}: your edits and the new release change the same lines; choose between "
            "<<<<<<< and >>>>>>> there, and commit"
        )
    return merged

"""The command `din init`: guess, write, and print what was guessed and what to do next."""

from collections.abc import Mapping
from shutil import which

from din.errors import listed
from din.init.guess import guess
from din.init.update import create
from din.workspace import Workspace


def init(workspace: Workspace, tables: Mapping[str, str], given: Mapping[str, str]) -> None:
    """Make a repository that trains a model of a log, and print what was guessed.

    Args:
        workspace: an empty folder, or one with nothing but the log.
        tables: the paths of `events`, and of `items` and `users` if there are any.
        given: the columns that are known, by role.

    Raises:
        InputError: the log can't be read, a role can't be guessed, or the folder holds other files of these names.
    """
    guessed = guess(workspace, tables, given)
    written = create(workspace.root, guessed)
    for key, choice in guessed.items():
        value = str(choice.value)
        print(f"{key}: {value if value.isprintable() else repr(value)}")
        print("\n".join(f"    {line}" for line in choice.lines), end="\n\n")
    print(f"wrote {listed(written)}")
    print("Every guess and its reason is in params.yaml; correct what is wrong there. Then run:\n")
    if which("dvc") is None:
        print("    pip install --requirement requirements.txt")
    print("    dvc repro && din promote")
    print("    din tune                    # better hyperparameters for this log; needs the extra `tune`")

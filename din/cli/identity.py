"""Who runs a command, as its environment shows it, for the record of a promotion or rollback.

Nothing of it is verified. What restricts promotions is the registry's write permission (docs/security.md).
"""

import getpass
import os

from din.base.errors import shown
from din.release.registry.records import Identity

_VARIABLES = ("DIN_AIRFLOW_USER", "GITHUB_ACTOR", "GITLAB_USER_LOGIN")


def identity() -> Identity:
    """Return who runs this command: by a scheduler's variable, or else the user of this machine."""
    for variable in _VARIABLES:
        if name := os.environ.get(variable):
            return Identity(name=shown(name, quotes=False), source=variable)
    return Identity(name=shown(_user(), quotes=False), source="user of the machine")


def _user() -> str:
    """Return the user's name, or the number of a user without a name, as in some containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # OSError from Python 3.13 on
        return str(os.getuid())

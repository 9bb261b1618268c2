"""Who runs a command, as its environment shows it, for the record of a promotion or rollback.

An ID token (OpenID Connect) is what a CI system signs for a job. Its claims are read and its signature is not checked,
so a record keeps them as unverified claims. What restricts promotions is the registry's write permission
(docs/security.md).
"""

import getpass
import json
import os
import sys
from base64 import urlsafe_b64decode
from typing import Any
from urllib.request import Request, urlopen

from din.base.errors import InputError, shown
from din.base.waiting import within
from din.release.registry.records import Identity

_ASKED = "ACTIONS_ID_TOKEN_REQUEST_URL"
_NAMES = ("actor", "user_login", "email", "sub")
"""The claims that name a person or service, the most readable first.

They are GitHub's, GitLab's, cloud providers', and the standard one.
"""
_KEPT = ("sub", "repository", "project_path", "ref", "sha", "environment", "run_id", "pipeline_id")
_VARIABLES = ("DIN_AIRFLOW_USER", "GITHUB_ACTOR", "GITLAB_USER_LOGIN")
_SECONDS = 5.0


def identity() -> Identity:
    """Return who runs this command: by an ID token, by a scheduler's variable, or else the user of this machine.

    A token is that in `DIN_ID_TOKEN`, or one that GitHub Actions issues to jobs with the permission `id-token: write`.
    A token that can't be had or read is a warning.
    """
    try:
        token = os.environ.get("DIN_ID_TOKEN") or _issued_by_github()
        if token:
            return _claimed(token)
    except Exception as error:  # whatever it is, it must not be in the way of a promotion
        cause = error if isinstance(error, InputError) else type(error).__name__  # others may quote the token
        print(f"warning: no ID token can be read, so the record shows a claimed name: {cause}", file=sys.stderr)
    for variable in _VARIABLES:
        if name := os.environ.get(variable):
            return Identity(name=shown(name, quotes=False), source=variable)
    return Identity(name=shown(_user(), quotes=False), source="user of the machine")


def _issued_by_github() -> str | None:
    """Ask GitHub Actions for a token about this job."""
    url = os.environ.get(_ASKED)
    if not url:
        return None
    key = os.environ.get("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "")
    request = Request(f"{url}&audience=din-ctr", headers={"Authorization": f"bearer {key}"})

    def ask() -> str:
        with urlopen(request, timeout=_SECONDS) as answer:
            return json.load(answer)["value"]

    return within(_SECONDS, ask)


def _claimed(token: str) -> Identity:
    """Return what a token says, without a check of its signature.

    Raises:
        InputError: it is not a token with an issuer and a subject.
    """
    parts = token.split(".")
    if len(parts) != 3:
        raise InputError(f"the ID token: has {len(parts)} parts between dots; expected header, claims and signature")
    payload = parts[1]
    claims: Any = json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    texts = {name: shown(text, quotes=False) for name, text in claims.items() if isinstance(text, str) and text}
    if "iss" not in texts or "sub" not in texts:
        raise InputError("the ID token: has no issuer or no subject; expected the claims iss and sub")
    name = next(texts[claim] for claim in _NAMES if claim in texts)
    kept = {claim: texts[claim] for claim in _KEPT if claim in texts}
    return Identity(name=name, source="ID token", issuer=texts["iss"], claims=kept)


def _user() -> str:
    """Return the user's name, or the number of a user without a name, as in some containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # OSError from Python 3.13 on
        return str(os.getuid())

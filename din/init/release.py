"""Say how pip installs the release that made a repository."""

import json
from importlib.metadata import Distribution

_EXTRA = "train"


def requirement(installed: Distribution) -> str:
    """Return the line of requirements.txt: the version, or the address that this copy of the package came from.

    pip notes the address of what it did not take from an index. Source:
    https://packaging.python.org/en/latest/specifications/direct-url
    """
    name = f"{installed.name}[{_EXTRA}]"
    noted = installed.read_text("direct_url.json")
    if noted is None:
        return f"{name}=={installed.version}"
    origin = json.loads(noted)
    url = origin["url"]
    if "vcs_info" in origin:
        url = f"{origin['vcs_info']['vcs']}+{url}@{origin['vcs_info']['commit_id']}"
    return f"{name} @ {url}"

"""Run a stage's body as its command does."""

from collections.abc import Callable

from din.base.workspace import Workspace
from din.stages import stage


def exit_code(workspace: Workspace, name: str, body: Callable[[], object]) -> int:
    """Run a body as a stage of this name; return the exit code that its command would end with."""
    try:
        with stage.running(name, workspace):
            body()
    except SystemExit as ended:
        assert isinstance(ended.code, int)
        return ended.code
    return 0

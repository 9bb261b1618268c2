"""The example for Kubernetes: its command is one that `din serve` accepts, and its probes are routes."""

from pathlib import Path
from typing import Any

import pytest
import typer.main
from ruamel.yaml import YAML
from served_world import World
from starlette.routing import Route

from din import cli
from din.server.app import app

EXAMPLE = Path(__file__).parents[2] / "examples/kubernetes/serve.yaml"


@pytest.fixture
def pod() -> dict[str, Any]:
    deployment, _ = YAML(typ="safe").load_all(EXAMPLE.read_text(encoding="utf-8"))
    return deployment["spec"]["template"]["spec"]


def test_the_command_is_accepted(pod: dict[str, Any]) -> None:
    """`din serve` has these options, the port is open, and a pod can finish its requests before it is killed."""
    (container,) = pod["containers"]
    program, name, *arguments = container["args"]
    group: Any = typer.main.get_command(cli.app)
    given = group.commands[name].make_context(name, arguments).params
    assert program == "din" and given["host"] == "0.0.0.0"
    assert [port["containerPort"] for port in container["ports"]] == [given["port"]]
    _, pause = container["lifecycle"]["preStop"]["exec"]["command"]
    assert float(pause) + 2 * given["timeout"] < pod["terminationGracePeriodSeconds"]


def test_the_probes_are_routes(pod: dict[str, Any], steady: World) -> None:
    """Kubernetes starts no pod whose probes ask for what the server does not have."""
    (container,) = pod["containers"]
    probes = {container[probe]["httpGet"]["path"] for probe in ("startupProbe", "readinessProbe", "livenessProbe")}
    routes = {route.path for route in app(steady.deploy()).routes if isinstance(route, Route)}
    assert probes <= routes

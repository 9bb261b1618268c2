"""The examples for Kubernetes: their commands are ones that `din serve` accepts, and their probes are routes."""

import os
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import typer.main
from ruamel.yaml import YAML
from starlette.routing import Route

from din import cli
from din_loop.server import run
from din_loop.server.app import app
from din_loop.server.shadow import Challenger
from tests.din_loop.served_world import World

EXAMPLES = Path(__file__).parents[3] / "examples/kubernetes"
PROBES = ("startupProbe", "readinessProbe", "livenessProbe")


def read(name: str) -> list[dict[str, Any]]:
    return [*YAML(typ="safe").load_all((EXAMPLES / name).read_text(encoding="utf-8"))]


@pytest.fixture(params=["serve.yaml", "kserve.yaml"])
def pod(request: pytest.FixtureRequest) -> dict[str, Any]:
    spec = read(request.param)[0]["spec"]
    return spec["template"]["spec"] if "template" in spec else spec["predictor"]


def options_of(container: dict[str, Any]) -> dict[str, Any]:
    """Return the options that `din serve` reads from a container's arguments."""
    program, name, *arguments = container["args"]
    assert program == "din"
    group: Any = typer.main.get_command(cli.app)
    return group.commands[name].make_context(name, arguments).params


def test_the_command_is_accepted(pod: dict[str, Any]) -> None:
    """`din serve` has these options, the port is open, and a pod can finish its requests before it is killed."""
    container = pod["containers"][0]
    options = options_of(container)
    assert options["host"] == "0.0.0.0"
    assert [port["containerPort"] for port in container["ports"]] == [options["port"]]
    _, pause = container["lifecycle"]["preStop"]["exec"]["command"]
    assert float(pause) + 2 * options["timeout"] < pod["terminationGracePeriodSeconds"]


def test_the_probes_are_routes(pod: dict[str, Any], steady: World) -> None:
    """Kubernetes starts no pod whose probes ask for what the server does not have."""
    container = pod["containers"][0]
    routes = {route.path for route in app(steady.deploy(), Challenger()).routes if isinstance(route, Route)}
    assert {container[probe]["httpGet"]["path"] for probe in PROBES} <= routes
    assert {container[probe]["httpGet"]["port"] for probe in PROBES} <= {"http", container["ports"][0]["containerPort"]}


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("rclone"), reason="rclone is missing: apt install rclone")
def test_the_sidecar_moves_finished_files(tmp_path: Path) -> None:
    """It takes the files of both logs, those of the last moment too, and no open one."""
    (sidecar,) = read("serve.yaml")[0]["spec"]["template"]["spec"]["initContainers"]
    log, bucket = tmp_path / "log", tmp_path / "bucket"
    finished = [f"{below}date=2026-01-31/hour=0{hour}/a.parquet" for hour in range(2) for below in ("", "shadow/")]
    for name in (*finished[:2], "open/b.arrows", "shadow/open/b.arrows"):
        (log / name).parent.mkdir(parents=True, exist_ok=True)
        (log / name).touch()
    script = sidecar["args"][0].replace("/log", str(log))
    end = time.monotonic() + 60
    with subprocess.Popen([*sidecar["command"], script], env=os.environ | {"LOG_TO": str(bucket)}) as process:
        while not all((bucket / name).exists() for name in finished[:2]) and time.monotonic() < end:
            time.sleep(0.1)
        for name in finished[2:]:
            (log / name).parent.mkdir(parents=True, exist_ok=True)
            (log / name).touch()
        process.terminate()
    assert {str(path.relative_to(bucket)) for path in bucket.rglob("*.*")} == {*finished}
    assert {str(path.relative_to(log)) for path in log.rglob("*.*")} == {"open/b.arrows", "shadow/open/b.arrows"}


def test_nginx_stands_before_the_server() -> None:
    """The service leads to nginx, nginx to the server, and nginx ends before the server it passes requests to."""
    deployment, service = read("serve.yaml")
    server, nginx = deployment["spec"]["template"]["spec"]["containers"]
    (port,) = nginx["ports"]
    assert [exposed["targetPort"] for exposed in service["spec"]["ports"]] == [port["name"]]
    configuration = (EXAMPLES / "nginx.conf").read_text(encoding="utf-8")
    options = options_of(server)
    assert f"listen {port['containerPort']};" in configuration
    assert f"server 127.0.0.1:{options['port']};" in configuration
    pauses = [float(container["lifecycle"]["preStop"]["exec"]["command"][1]) for container in (nginx, server)]
    assert pauses[0] + 2 * options["timeout"] < pauses[1]


def test_limits_of_nginx_leave_the_server_its_own() -> None:
    """It waits longer than the server does, takes the same bodies, and forgets an idle connection sooner."""
    limits = dict(re.findall(r"^ +(\w+) (\d+)s?;", (EXAMPLES / "nginx.conf").read_text(encoding="utf-8"), re.MULTILINE))
    options = options_of(read("serve.yaml")[0]["spec"]["template"]["spec"]["containers"][0])
    assert int(limits["proxy_read_timeout"]) > options["timeout"]
    assert int(limits["client_max_body_size"]) == options["max_request_mb"] * 1e6
    assert run.options("", 0)["timeout_keep_alive"] > 60  # for which nginx keeps a connection to a server


def test_a_pod_with_a_log_has_time_to_move_it() -> None:
    """The sidecar begins to move the last files when the server has ended."""
    pod = read("serve.yaml")[0]["spec"]["template"]["spec"]
    _, pause = pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
    assert float(pause) + run._DRAIN_SECONDS + 30 < pod["terminationGracePeriodSeconds"]


def test_kserve_finds_the_model() -> None:
    """KServe sends requests to the name of the service, by the protocol that the server speaks."""
    (service,) = read("kserve.yaml")
    (container,) = service["spec"]["predictor"]["containers"]
    assert options_of(container)["model"] == service["metadata"]["name"]
    assert {"name": "PROTOCOL", "value": "v2"} in container["env"]

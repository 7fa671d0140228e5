"""The components as processes of their own, over gRPC with TLS: each may die, and the others carry on."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.support.cluster_client import ROOT
from tests.support.components import NODE, Components

pytestmark = [pytest.mark.etcd, pytest.mark.cluster, pytest.mark.timeout(180)]

ALL = ("apiserver", "scheduler", "controller", "kubelet", "proxy")
SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "web"},
    "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]},
}


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Components]:
    """Started in the order that is worst for them: those that need the others come first."""
    made = Components(tmp_path_factory.mktemp("parts"))
    try:
        made.start(*reversed(ALL))
        made.etcd.start()
        made.wait_for("the node", lambda: made.kubectl("wait", "--for=condition=Ready", f"node/{NODE}", check=False).returncode == 0)
        made.kubectl("create", "deployment", "web", "--image=web:1", "--replicas=3")
        made.apply(SERVICE)
        made.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
        yield made
    finally:
        made.stop()


def scale(parts: Components, replicas: int) -> None:
    """Scales, and waits until pods, status and EndpointSlices agree."""
    parts.kubectl("scale", "deployment/web", f"--replicas={replicas}")
    parts.wait_for(
        f"{replicas} ready pods", lambda: len(parts.get("pods", "-l", "app=web")["items"]) == len(parts.ready_pods("app=web")) == replicas
    )

    def addresses() -> list[str]:
        slices = parts.get("endpointslices", "-l", "kubernetes.io/service-name=web")["items"]
        return [address for piece in slices for endpoint in piece.get("endpoints") or [] for address in endpoint["addresses"]]

    wanted = {pod["status"]["podIP"] for pod in parts.ready_pods("app=web")}
    parts.wait_for("the endpoints to follow", lambda: set(addresses()) == wanted)
    parts.wait_for("the proxy to follow", lambda: routes(parts, "web") == wanted)


def routes(parts: Components, service: str) -> set[str]:
    """The addresses to which the proxy carries connections of a Service."""
    answer = parts.call("proxy", "knarr.api.proxy.v1.ProxyService/GetRoutes", {"service": service})
    return {endpoint["address"] for route in (answer or {}).get("routes", []) for endpoint in route.get("endpoints", [])}


def leading(parts: Components, component: str) -> str:
    return parts.holder({"scheduler": "knarr-scheduler", "controller": "knarr-controller-manager"}[component])


def test_every_port_answers_health(parts: Components) -> None:
    for name in ALL:
        parts.wait_for(f"{name} to be healthy", partial(parts.healthy, name))


def test_the_apiserver_is_killed_and_comes_back(parts: Components) -> None:
    uids = {pod["metadata"]["uid"] for pod in parts.pods("app=web")}
    parts.kill("apiserver")
    assert parts.kubectl("get", "pods", check=False).returncode == 1
    parts.start("apiserver")
    parts.wait_for("an apiserver", lambda: parts.kubectl("get", "pods", check=False).returncode == 0)
    assert {pod["metadata"]["uid"] for pod in parts.pods("app=web")} == uids
    scale(parts, 5)
    assert uids <= {pod["metadata"]["uid"] for pod in parts.pods("app=web")}
    for name in ALL:
        parts.wait_for(f"{name} to be healthy", partial(parts.healthy, name))


@pytest.mark.parametrize("component", ["scheduler", "controller"])
def test_the_other_candidate_takes_over_from_a_killed_leader(parts: Components, component: str) -> None:
    first = parts.wait_for("a leader", lambda: leading(parts, component))
    parts.start(f"{component}-2")
    parts.wait_for("the second to stand by", lambda: parts.healthy(f"{component}-2"))
    assert leading(parts, component) == first
    parts.kill(component)
    parts.wait_for("the second to lead", lambda: leading(parts, component) not in ("", first), 20)
    scale(parts, 2)
    parts.start(component)
    parts.wait_for("the first to stand by", lambda: parts.healthy(component))
    # A leader that ends in order hands over at once.
    second = leading(parts, component)
    assert parts.terminate(f"{component}-2") == 0
    parts.wait_for("the first to lead again", lambda: leading(parts, component) not in ("", second), 20)
    scale(parts, 4)


@pytest.mark.parametrize("component", ["kubelet", "proxy"])
def test_a_killed_component_of_the_node_comes_back(parts: Components, component: str) -> None:
    before = {pod["metadata"]["name"] for pod in parts.pods("app=web")}
    parts.kill(component)
    parts.start(component)
    parts.wait_for("it to be healthy", lambda: parts.healthy(component))
    scale(parts, 3)
    assert {pod["metadata"]["name"] for pod in parts.pods("app=web")} <= before


def test_etcd_is_killed_and_comes_back(parts: Components) -> None:
    parts.etcd.kill()
    parts.etcd.start()
    parts.wait_for("writes", lambda: parts.kubectl("create", "configmap", "after", "--from-literal=a=b", check=False).returncode == 0)
    scale(parts, 2)


def command(service: str, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", f"services.{service}", *options], capture_output=True, text=True, check=False, timeout=30, cwd=ROOT
    )


def replaced(options: list[str], name: str, value: object) -> list[str]:
    """The options of a component with one of them changed."""
    return [*(option for option in options[2:] if not option.startswith(f"--{name}=")), f"--{name}={value}"]


def test_a_token_that_the_apiserver_refuses_ends_the_component(parts: Components, tmp_path: Path) -> None:
    wrong = tmp_path / "token"
    wrong.write_text("stolen\n")
    done = command("scheduler", *replaced(parts.options("scheduler-2"), "token", wrong))
    assert done.returncode == 1
    assert f"the API server at {parts.address('apiserver')} refuses the token in {wrong}" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_port_that_is_taken(parts: Components) -> None:
    done = command("scheduler", *replaced(parts.options("scheduler-2"), "listen", parts.address("apiserver")))
    assert done.returncode == 1
    assert f"scheduler: cannot listen on {parts.address('apiserver')}: Address already in use" in done.stderr
    assert len(done.stderr.splitlines()) == 1

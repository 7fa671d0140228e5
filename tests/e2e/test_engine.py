"""The Docker engine stops and starts again beneath a cluster."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.engine import IMAGE, ensure_image, pod_address
from tests.support.knarr_cluster import KnarrCluster, container_id, is_ready
from tests.support.own_engine import OwnEngine, own_engine

pytestmark = [pytest.mark.cluster, pytest.mark.docker, pytest.mark.timeout(240)]

APP = "app=hello"
SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "hello"},
    "spec": {"selector": {"app": "hello"}, "ports": [{"port": 80, "targetPort": 8080}]},
}


@pytest.fixture(scope="module")
def engine() -> Iterator[OwnEngine]:
    ensure_image()
    with own_engine() as made:
        made.load(IMAGE)
        yield made


@pytest.fixture(scope="module")
def cluster(engine: OwnEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KnarrCluster]:
    """A cluster on that engine, with three pods behind a Service."""
    made = KnarrCluster(tmp_path_factory.mktemp("engine") / "k", environment={"DOCKER_HOST": engine.url})
    try:
        made.up()
        made.kubectl("create", "deployment", "hello", f"--image={IMAGE}", "--replicas=3")
        made.apply(SERVICE)
        made.kubectl("rollout", "status", "deployment/hello", "--timeout=60s")
        yield made
    finally:
        made.down()


def ready_condition(cluster: KnarrCluster) -> dict[str, Any]:
    conditions = cluster.get("node", cluster.node)["status"]["conditions"]
    return next(condition for condition in conditions if condition["type"] == "Ready")


def restarts(pods: list[dict[str, Any]]) -> dict[str, int]:
    return {pod["metadata"]["name"]: pod["status"]["containerStatuses"][0]["restartCount"] for pod in pods}


def all_run(cluster: KnarrCluster, engine: OwnEngine) -> list[dict[str, Any]]:
    """The pods, once each is ready in a container that the engine runs; empty before."""
    running = set(engine.docker("ps", "-q", "--no-trunc").split())
    pods = cluster.get("pods", "-l", APP)["items"]
    return pods if len(pods) == 3 and all(is_ready(pod) and container_id(pod) in running for pod in pods) else []


def real_addresses(engine: OwnEngine) -> dict[str, str]:
    """Address by pod name, as the kernel knows it."""
    sandboxes = engine.docker("ps", "-q", "--filter", "name=k8s_POD_").split()
    inspected = json.loads(engine.docker("inspect", *sandboxes)) if sandboxes else []
    return {one["Name"].split("_")[2]: pod_address(one["State"]["Pid"]) for one in inspected}


def endpoints(cluster: KnarrCluster) -> set[str]:
    slices = cluster.get("endpointslices", "-l", "kubernetes.io/service-name=hello")["items"]
    found = [endpoint for piece in slices for endpoint in piece.get("endpoints") or []]
    return {address for endpoint in found if endpoint["conditions"]["ready"] for address in endpoint["addresses"]}


def answers(cluster: KnarrCluster, count: int) -> set[str]:
    """The pods that answered through the Service; empty when one request failed."""
    address = cluster.get("service", "hello")["spec"]["clusterIP"]
    try:
        return {urllib.request.urlopen(f"http://{address}/", timeout=5).read().decode().split()[-1] for _ in range(count)}
    except (urllib.error.URLError, OSError):
        return set()


@pytest.mark.parametrize(("how", "live_restore"), [("stop", False), ("kill", False), ("kill", True), ("stop", True)])
def test_the_engine_ends_and_starts_again(cluster: KnarrCluster, engine: OwnEngine, how: str, live_restore: bool) -> None:
    if live_restore:
        # Whether containers outlive the engine is its choice from its start on.
        engine.stop()
        engine.start(live_restore=True)
    # Fresh pods: those of the test before this one wait longer and longer for each restart.
    cluster.wait_for("the engine", lambda: ready_condition(cluster)["status"] == "True", 20)
    cluster.kubectl("rollout", "restart", "deployment/hello")
    cluster.kubectl("rollout", "status", "deployment/hello", "--timeout=60s")
    before = restarts(cluster.wait_for("three pods", lambda: all_run(cluster, engine)))
    containers = {container_id(pod) for pod in all_run(cluster, engine)}
    getattr(engine, how)()
    said = cluster.wait_for("NotReady", lambda: found if (found := ready_condition(cluster))["status"] == "False" else None, 20)
    assert said["reason"] == "KubeletNotReady"
    assert "Docker daemon" in said["message"]
    engine.start(live_restore=live_restore)
    cluster.wait_for("Ready", lambda: ready_condition(cluster)["status"] == "True", 20)
    pods = cluster.wait_for("three running pods", lambda: all_run(cluster, engine), 40)
    more = 0 if live_restore else 1
    assert restarts(pods) == {name: count + more for name, count in before.items()}
    assert ({container_id(pod) for pod in pods} == containers) is live_restore
    real = real_addresses(engine)
    assert {pod["metadata"]["name"]: pod["status"]["podIP"] for pod in pods} == real
    cluster.wait_for("true EndpointSlices", lambda: endpoints(cluster) == set(real.values()))
    cluster.wait_for("the Service", lambda: answers(cluster, 6) == set(before))
    held = engine.docker("ps", "-a", "--format", "{{.Names}}").split()
    assert len([name for name in held if name.startswith("k8s_POD_")]) == 3
    # Besides the one that runs, the one before it is kept for `logs --previous`.
    assert len([name for name in held if name.startswith("k8s_hello_")]) <= 6

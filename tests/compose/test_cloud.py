"""A Service of type LoadBalancer in compose: reached from the host, moved when its machine dies, given back."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from ipaddress import IPv4Address
from typing import Any

import pytest

from tests.support.cluster_client import run
from tests.support.compose import NETWORK, NODES, ComposeCluster
from tests.support.engine import IMAGE

pytestmark = [pytest.mark.compose, pytest.mark.timeout(600)]

APP = "balanced"
REPLICAS = 4
# A node is given up 40 s after its last heartbeat.
LOST_SECONDS = 60.0
MOVED_SECONDS = 5.0
HOLDER = "knarr.io/load-balancer-node"
SERVE = "hostname >/tmp/index.html; exec httpd -f -p 80 -h /tmp"


def deployment() -> dict[str, Any]:
    """Pods on every node; they stay where a node is lost."""
    container = {"name": "web", "image": IMAGE, "command": ["sh", "-c", SERVE]}
    spread = {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway"}
    spec = {"containers": [container], "terminationGracePeriodSeconds": 1}
    spec["topologySpreadConstraints"] = [{**spread, "labelSelector": {"matchLabels": {"app": APP}}}]
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": APP},
        "spec": {
            "replicas": REPLICAS,
            "selector": {"matchLabels": {"app": APP}},
            "template": {"metadata": {"labels": {"app": APP}}, "spec": spec},
        },
    }


def service(**spec: Any) -> dict[str, Any]:
    wanted = {"type": "LoadBalancer", "selector": {"app": APP}, "ports": [{"port": 80}], **spec}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": APP}, "spec": wanted}


def addresses(cluster: ComposeCluster) -> list[str]:
    found = cluster.get("service", APP)["status"]["loadBalancer"]
    return [entry["ip"] for entry in found.get("ingress", [])]


def holder(cluster: ComposeCluster) -> str:
    return str(cluster.get("service", APP)["metadata"].get("annotations", {}).get(HOLDER, ""))


def asked(address: str, seconds: float = 2.0) -> str:
    """Who answers the host at an address; empty: nobody."""
    try:
        with urllib.request.urlopen(f"http://{address}/", timeout=seconds) as answer:
            return str(answer.read().decode().strip())
    except (urllib.error.URLError, OSError):
        return ""


def held_on(cluster: ComposeCluster, node: str) -> set[str]:
    """The addresses that a machine has."""
    links = json.loads(cluster.in_node(node, "ip", "-json", "address", "show", "scope", "global"))
    return {entry["local"] for link in links for entry in link["addr_info"]}


@pytest.fixture
def app(cluster: ComposeCluster) -> Iterator[ComposeCluster]:
    """The Service with its address, and its pods ready."""
    cluster.knarr_load(IMAGE)
    cluster.apply({"apiVersion": "v1", "kind": "List", "items": [deployment(), service()]})
    try:
        cluster.wait_for("the app's pods", lambda: len(cluster.ready_pods(f"app={APP}")) == REPLICAS)
        cluster.wait_for("an address", lambda: addresses(cluster), seconds=MOVED_SECONDS)
        yield cluster
    finally:
        cluster.kubectl("delete", "deployment,service", APP, "--ignore-not-found", "--timeout=60s")


def test_an_address_answers_the_host_moves_with_the_machines_and_is_given_back(app: ComposeCluster) -> None:
    (address,) = addresses(app)
    assert IPv4Address(f"{NETWORK}.80") <= IPv4Address(address) <= IPv4Address(f"{NETWORK}.119")
    app.wait_for("an answer", lambda: asked(address), seconds=MOVED_SECONDS)
    assert len(Counter(asked(address) for _ in range(4 * REPLICAS))) == REPLICAS, "all pods answer, those of other nodes too"
    first = holder(app)
    other = next(name for name in NODES if name != first)
    assert address in held_on(app, first) and address not in held_on(app, other)
    app.compose("kill", first)
    try:
        app.wait_for("the loss to be seen", lambda: first not in app.ready_nodes(), seconds=LOST_SECONDS)
        app.wait_for("another holder", lambda: holder(app) == other, seconds=MOVED_SECONDS)
        app.wait_for("an answer from there", lambda: asked(address), seconds=MOVED_SECONDS)
        assert address in held_on(app, other)
    finally:
        app.up()
        app.wait_for("all machines", lambda: app.ready_nodes() == set(NODES))
    app.wait_for("one holder", lambda: address not in held_on(app, first))
    assert asked(address), "the machine that is back does not disturb"
    app.kubectl("delete", "service", APP, "--timeout=30s")
    app.wait_for("nobody to hold it", lambda: all(address not in held_on(app, node) for node in NODES))
    assert not asked(address, seconds=0.5)


def test_a_manager_that_is_stopped_changes_nothing_and_the_next_one_knows_all(app: ComposeCluster) -> None:
    before = addresses(app), holder(app)
    app.compose("kill", "cloud")
    assert asked(before[0][0]), "the nodes go on without it"
    app.apply({**service(), "metadata": {"name": APP, "labels": {"seen": "no"}}})
    app.up()

    def in_force() -> bool:
        done = run([*app.grpcurl, f"{NETWORK}.50:10258", "knarr.api.cloud.v1.CloudService/ListLoadBalancers"], check=False)
        listed = json.loads(done.stdout or "{}").get("load_balancers", [])
        return any(
            one["service"] == APP and one["state"] == "LOAD_BALANCER_STATE_IN_FORCE" and one.get("last_success_seconds") for one in listed
        )

    app.wait_for("the next manager to have ensured it", in_force, seconds=LOST_SECONDS)
    assert (addresses(app), holder(app)) == before and asked(before[0][0])

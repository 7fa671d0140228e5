"""Services of type LoadBalancer on one machine, from its first start."""

from __future__ import annotations

import errno
import socket
from collections import Counter
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest

from tests.support.engine import IMAGE
from tests.support.knarr_cluster import KnarrCluster

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]

APP = "balanced"
GIVEN_SECONDS = 5.0
SERVE = "hostname >/tmp/index.html; exec httpd -f -p 8080 -h /tmp"


def service(name: str = APP, address: str = "") -> dict[str, Any]:
    annotations = {"knarr.io/load-balancer-ip": address} if address else {}
    ports = [{"port": 80, "targetPort": 8080}]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "annotations": annotations},
        "spec": {"type": "LoadBalancer", "selector": {"app": APP}, "ports": ports},
    }


def pod(number: int) -> dict[str, Any]:
    container = {"name": "web", "image": IMAGE, "command": ["sh", "-c", SERVE]}
    metadata = {"name": f"{APP}-{number}", "labels": {"app": APP}}
    spec = {"containers": [container], "terminationGracePeriodSeconds": 1}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


@pytest.fixture
def app(cluster: KnarrCluster) -> Iterator[KnarrCluster]:
    items = [pod(1), pod(2), service()]
    cluster.apply({"apiVersion": "v1", "kind": "List", "items": items})
    try:
        cluster.wait_for("the pods", lambda: len(cluster.ready_pods(f"app={APP}")) == 2)
        yield cluster
    finally:
        cluster.kubectl("delete", "service", APP, "rival", "--ignore-not-found", "--timeout=30s")
        cluster.kubectl("delete", "pod", "-l", f"app={APP}", "--timeout=30s")


def address_of(cluster: KnarrCluster, name: str = APP) -> str:
    found = cluster.get("service", name)["status"]["loadBalancer"].get("ingress", [])
    return str(found[0]["ip"]) if found else ""


def asked(address: str) -> str:
    """Who answers; empty when nobody does. OSError for an address that leads nowhere."""
    with socket.create_connection((address, 80), timeout=2) as connection:
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(4096), b""))
    return answer.decode().split()[-1]


def error_of(address: str) -> int | None:
    try:
        asked(address)
    except OSError as error:
        return error.errno
    return None


def answers(address: str) -> str:
    try:
        return asked(address)
    except OSError:
        return ""


def test_an_address_of_the_pool_answers_the_machine_and_its_pods_and_is_given_back(app: KnarrCluster) -> None:
    address = app.wait_for("an address", lambda: address_of(app), seconds=GIVEN_SECONDS)
    assert IPv4Address(address) in IPv4Network(f"10.{200 + app.offset}.0.0/24")
    assert address in app.kubectl("get", "service", APP).stdout
    assert app.get("service", APP)["metadata"]["annotations"]["knarr.io/load-balancer-node"] == app.node
    app.wait_for("an answer", lambda: answers(address))
    assert Counter(asked(address) for _ in range(10)) == {f"{APP}-1": 5, f"{APP}-2": 5}
    assert app.kubectl("exec", f"{APP}-1", "--", "wget", "-qO-", f"http://{address}/").stdout.strip() in (f"{APP}-1", f"{APP}-2")
    told = app.grpcurl("cloud", "knarr.api.cloud.v1.CloudService/ListLoadBalancers")
    assert '"LOAD_BALANCER_STATE_IN_FORCE"' in told and address in told
    app.kubectl("delete", "service", APP, "--timeout=30s")
    # It leads nowhere, and no packet for it leaves the machine.
    app.wait_for("the address to be unreachable", lambda: error_of(address) in (errno.EHOSTUNREACH, errno.ENETUNREACH))


def test_a_wished_address_that_is_taken_is_told_and_given_when_it_is_free(app: KnarrCluster) -> None:
    address = app.wait_for("an address", lambda: address_of(app), seconds=GIVEN_SECONDS)
    app.apply(service("rival", address))
    app.wait_for(
        "the event", lambda: f"{address} is taken by the Service default/{APP}" in app.kubectl("describe", "service", "rival").stdout
    )
    assert not address_of(app, "rival")
    app.kubectl("patch", "service", APP, "-p", '{"spec": {"type": "ClusterIP"}}')
    app.wait_for("the address", lambda: address_of(app, "rival") == address, seconds=GIVEN_SECONDS)
    assert "finalizers" not in app.get("service", APP)["metadata"]
    app.wait_for("an answer", lambda: answers(address))

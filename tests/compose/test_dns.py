"""Names in the compose cluster: from pods of each node, over UDP and TCP, with one of the two servers gone."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.compose import NETWORK, NODES, ComposeCluster
from tests.support.lookup_image import IMAGE, ensure_lookup_image

pytestmark = [pytest.mark.compose, pytest.mark.timeout(600)]

LABEL = {"app": "names"}
SERVERS = {"dns-1": f"{NETWORK}.61", "dns-2": f"{NETWORK}.62"}
DNS_PORT = 10253
# Two tries of a resolver, five seconds each: the second must find a server that lives.
LOOKUP_SECONDS = 10.0
LOOKUPS = 12


def pod(node: str) -> dict[str, Any]:
    container = {"name": "main", "image": IMAGE, "imagePullPolicy": "Never", "ports": [{"containerPort": 8080}]}
    spec = {"nodeName": node, "terminationGracePeriodSeconds": 0, "containers": [container], "hostname": f"on-{node}", "subdomain": "each"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"names-{node}", "labels": LABEL}, "spec": spec}


def service(name: str, **spec: Any) -> dict[str, Any]:
    ports = [{"name": "http", "port": 80, "targetPort": 8080}]
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {"selector": LABEL, "ports": ports, **spec}}


@pytest.fixture(scope="module")
def names(cluster: ComposeCluster) -> Iterator[ComposeCluster]:
    """The running cluster with a pod on each node and Services of them."""
    ensure_lookup_image()
    cluster.knarr_load(IMAGE)
    wanted = [*(pod(node) for node in NODES), service("names"), service("each", clusterIP="None")]
    cluster.apply({"apiVersion": "v1", "kind": "List", "items": wanted})
    cluster.kubectl("wait", "--for=condition=Ready", "pod", "-l", "app=names", "--timeout=60s")
    yield cluster
    cluster.kubectl("delete", "pod,service", "-l", "app=names", "--now", check=False)
    cluster.kubectl("delete", "service", "names", "each")


def looked_up(cluster: ComposeCluster, node: str, name: str, *, tcp: bool = False) -> set[str]:
    options = ["RES_OPTIONS=use-vc"] if tcp else []
    found = cluster.kubectl("exec", f"names-{node}", "--", "env", *options, "getent", "ahostsv4", name, check=False).stdout
    return {line.split()[0] for line in found.splitlines()}


def endpoints(cluster: ComposeCluster) -> set[str]:
    """The addresses of the servers that kube-dns leads to."""
    pieces = cluster.get("endpointslices", "-n", "kube-system", "-l", "kubernetes.io/service-name=kube-dns")["items"]
    return {address for piece in pieces for endpoint in piece.get("endpoints") or [] for address in endpoint["addresses"]}


@pytest.mark.parametrize("node", NODES)
@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
def test_names_are_found_from_a_pod_of_each_node(names: ComposeCluster, node: str, tcp: bool) -> None:
    address = names.get("service", "names")["spec"]["clusterIP"]
    ips = {found["metadata"]["name"]: found["status"]["podIP"] for found in names.pods("app=names")}
    assert looked_up(names, node, "names", tcp=tcp) == {address}
    assert looked_up(names, node, "names.default.svc.cluster.local", tcp=tcp) == {address}
    assert looked_up(names, node, "each", tcp=tcp) == set(ips.values())
    for other in NODES:
        assert looked_up(names, node, f"on-{other}.each", tcp=tcp) == {ips[f"names-{other}"]}
    assert not looked_up(names, node, "nowhere", tcp=tcp)
    page = names.kubectl("exec", f"names-{node}", "--", "wget", "-q", "-O", "-", "http://names").stdout
    assert page.startswith("hello from on-node-")


def test_lookups_go_on_when_a_server_dies_and_when_one_is_stopped(names: ComposeCluster) -> None:
    assert endpoints(names) == set(SERVERS.values())
    for ending in (("kill",), ("stop",)):
        name, address = list(SERVERS.items())[ending == ("stop",)]
        names.compose(*ending, name)
        if ending == ("stop",):
            assert address not in endpoints(names), "a server that stops takes its endpoint away first"
        for number in range(LOOKUPS):
            started = time.monotonic()
            node = list(NODES)[number % len(NODES)]
            assert looked_up(names, node, "names"), f"lookup {number} after `{' '.join(ending)} {name}`"
            assert time.monotonic() - started < LOOKUP_SECONDS
        names.wait_for("its endpoint to go", lambda: address not in endpoints(names), seconds=10)  # noqa: B023
        names.compose("up", "--detach", "--wait", "--no-recreate", name)
        names.wait_for("its endpoint", lambda: endpoints(names) == set(SERVERS.values()), seconds=20)


def test_each_server_says_how_it_is(names: ComposeCluster) -> None:
    for address in SERVERS.values():
        status = grpcurl(names, address, "GetStatus")
        assert status["synced"] and status["api_reachable"] and status["cluster_ip"] == "10.96.0.10"
        assert {found["address"] for found in status["instances"]} == set(SERVERS.values())
        explained = grpcurl(names, address, "Explain", name="names")
        assert explained["steps"][-1]["objects"] == ["Service default/names"]


def grpcurl(cluster: ComposeCluster, address: str, method: str, **request: str) -> Any:
    command = [*cluster.grpcurl, "-d", json.dumps(request), f"{address}:{DNS_PORT}", f"knarr.api.dns.v1.DnsService/{method}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)

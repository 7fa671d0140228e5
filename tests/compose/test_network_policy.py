"""NetworkPolicies between the pods of two nodes: directly, through a Service, and to the cluster's DNS."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.support.cluster_client import ClusterClient
from tests.support.compose import ComposeCluster
from tests.support.engine import IMAGE

pytestmark = [pytest.mark.compose, pytest.mark.timeout(300)]
NAMESPACE = "guarded"
PLACES = {"web": "node-1", "near": "node-1", "far": "node-2", "friend": "node-2"}
SERVED, PORT = 8080, 80
REQUEST = "printf 'GET /cgi-bin/index.cgi HTTP/1.0\\r\\n\\r\\n' | nc -w {seconds} {address} {port} 2>&1"
DNS_ADDRESS = "10.96.0.10"


def pod(name: str, node: str) -> dict[str, Any]:
    container = {"name": "main", "image": IMAGE}
    metadata = {"name": name, "namespace": NAMESPACE, "labels": {"app": name}}
    spec = {"nodeName": node, "containers": [container], "terminationGracePeriodSeconds": 1}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def policy(name: str, app: str, **spec: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": NAMESPACE}
    whole = {"podSelector": {"matchLabels": {"app": app}}, **spec}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata, "spec": whole}


@pytest.fixture(scope="module")
def addresses(cluster: ComposeCluster) -> Iterator[tuple[str, str]]:
    """Of the pod ``web``, and of its Service; all pods are ready."""
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web", "namespace": NAMESPACE},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": PORT, "targetPort": SERVED}]},
    }
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
    pods = [pod(name, node) for name, node in PLACES.items()]
    cluster.knarr_load(IMAGE)
    cluster.apply(namespace)
    # The controllers may have lost their leader in the tests before, and take their time.
    cluster.wait_for(
        "the account", lambda: cluster.kubectl("get", "serviceaccount", "default", "-n", NAMESPACE, check=False).returncode == 0
    )
    cluster.apply({"apiVersion": "v1", "kind": "List", "items": [service, *pods]})
    cluster.kubectl("wait", "--for=condition=Ready", "pod", "--all", "-n", NAMESPACE, "--timeout=60s")
    yield (
        cluster.get("pod", "web", "-n", NAMESPACE)["status"]["podIP"],
        cluster.get("service", "web", "-n", NAMESPACE)["spec"]["clusterIP"],
    )
    cluster.kubectl("delete", "namespace", NAMESPACE, "--wait=false")


def answer(cluster: ClusterClient, name: str, address: str, port: int, seconds: int = 2) -> str:
    line = REQUEST.format(seconds=seconds, address=address, port=port)
    return cluster.kubectl("exec", name, "-n", NAMESPACE, "--", "sh", "-c", line, check=False).stdout


def reaching(cluster: ClusterClient, addresses: tuple[str, str]) -> dict[str, list[bool]]:
    """Who reaches ``web`` directly, and through its Service."""
    ways = [(name, address, port) for name in PLACES for address, port in zip(addresses, (SERVED, PORT), strict=True)]
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda way: "hello from web" in answer(cluster, *way), ways))
    return {name: [came for way, came in zip(ways, answers, strict=True) if way[0] == name] for name in PLACES}


def resolves(cluster: ClusterClient, name: str) -> bool:
    command = ["busybox", "nslookup", "kubernetes.default.svc.cluster.local", DNS_ADDRESS]
    return cluster.kubectl("exec", name, "-n", NAMESPACE, "--", *command, check=False).returncode == 0


def test_only_whom_a_policy_names_reaches_a_pod_from_either_node(cluster: ClusterClient, addresses: tuple[str, str]) -> None:
    cluster.wait_for("everybody to reach it", lambda: all(map(all, reaching(cluster, addresses).values())))
    cluster.apply(
        policy("web", "web", ingress=[{"from": [{"podSelector": {"matchLabels": {"app": "friend"}}}], "ports": [{"port": SERVED}]}])
    )
    wanted = {"web": [True, True], "near": [False, False], "far": [False, False], "friend": [True, True]}
    cluster.wait_for("only the friend to", lambda: reaching(cluster, addresses) == wanted)
    cluster.kubectl("delete", "networkpolicy", "web", "-n", NAMESPACE)
    cluster.wait_for("everybody to, again", lambda: all(map(all, reaching(cluster, addresses).values())))


def test_a_pod_that_may_ask_the_dns_alone_does(cluster: ClusterClient, addresses: tuple[str, str]) -> None:
    cluster.apply(policy("shut", "far", policyTypes=["Egress"]))
    cluster.wait_for("names to be out of reach", lambda: not resolves(cluster, "far"))
    dns = {"namespaceSelector": {}, "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}}}
    ports = [{"port": 53, "protocol": "UDP"}, {"port": 53}]
    cluster.apply(policy("shut", "far", policyTypes=["Egress"], egress=[{"to": [dns], "ports": ports}]))
    cluster.wait_for("names to resolve", lambda: resolves(cluster, "far"))
    assert "hello" not in answer(cluster, "far", addresses[0], SERVED)
    assert "hello" in answer(cluster, "friend", addresses[0], SERVED)

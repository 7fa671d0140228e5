"""Real pods of a whole cluster agree with the oracle: directly, through a Service, from the node, and from their first packet on."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from services.kubelet.runtime.catalog import bridge_name
from services.kubelet.runtime.labels import CLUSTER
from tests.policy import worlds
from tests.policy.oracle import Manifest, World, allowed
from tests.policy.probing import Probe, Prober
from tests.proxy.laboratory import Namespace
from tests.support.engine import docker, ensure_image
from tests.support.knarr_cluster import KnarrCluster

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120)]
PORTS = (("TCP", 80), ("TCP", 81), ("UDP", 53))
SERVED_PORT = 8080
SERVICE_PORT = 8000
METHOD = "knarr.api.proxy.v1.ProxyService"
RECIPES = (
    "nothing",
    "deny everything in both directions, everywhere",
    "deny traffic from other namespaces",
    "allow traffic from some pods of one namespace",
    "ports by name mean what each pod says",
    "both ends must agree",
    "several policies add up",
)
# Tries to connect for as long as it lives, and tells of the first success.
INSISTENT = "while true; do nc -w 1 {address} {port} </dev/null && echo reached && exit 0; done"


class PodNamespace(Namespace):
    """The network of a process that is there."""

    def __init__(self, pid: int) -> None:
        self.descriptor = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)


class RealWorld:
    """The pods of ``worlds`` in a cluster of one node; what the cluster gave them is in ``world``."""

    def __init__(self, cluster: KnarrCluster) -> None:
        self.cluster = cluster
        self.node = PodNamespace(os.getpid())
        self._make()
        pods = [pod for namespace in worlds.NAMESPACES for pod in cluster.get("pods", "-n", namespace)["items"]]
        labels = {item["metadata"]["name"]: item["metadata"]["labels"] for item in cluster.get("namespaces")["items"]}
        address = cluster.get("node", cluster.node)["status"]["addresses"][0]["address"]
        self.world = World(labels, pods, [], {cluster.node: address})
        self.places: dict[str, Namespace] = {address: self.node}
        for pod in pods:
            self.places[pod["status"]["podIP"]] = PodNamespace(_pid(pod))
        self.prober = Prober(self.places)
        for pod in pods:
            self.prober.serve(self.places[pod["status"]["podIP"]], PORTS)
        web = cluster.get("service", "web")["spec"]
        self.bridge = bridge_name(_cluster_id(pods[0]))
        self.cluster_ip, self.node_port = web["clusterIP"], web["ports"][0]["nodePort"]

    def _make(self) -> None:
        items: list[Manifest] = [
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
            for name, labels in worlds.NAMESPACES.items()
            if name != "default"
        ]
        for pod in worlds.cluster().pods:
            container = {**pod["spec"]["containers"][0], "image": "hello:1"}
            spec = {"containers": [container], "terminationGracePeriodSeconds": 0}
            items.append({"apiVersion": "v1", "kind": "Pod", "metadata": pod["metadata"], "spec": spec})
        ports = [{"port": SERVICE_PORT, "targetPort": SERVED_PORT}]
        spec = {"type": "NodePort", "selector": {"app": "web"}, "ports": ports}
        items.append({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": spec})
        self.cluster.apply({"apiVersion": "v1", "kind": "List", "items": items})
        for name in worlds.NAMESPACES:
            self.cluster.kubectl("wait", "--for=condition=Ready", "pod", "--all", "-n", name, "--timeout=60s")

    def enforce(self, policies: list[Manifest], tag: str) -> None:
        """Makes these the only policies, and waits until they are in force."""
        self.world.policies = []
        for number, policy in enumerate(policies):
            self.world.policies.append({**policy, "metadata": {**policy["metadata"], "name": f"{tag}-{number}"}})
        for namespace in {policy["namespace"] for policy in self.in_force()}:
            self.cluster.kubectl("delete", "networkpolicies", "--all", "-n", namespace)
        if policies:
            self.cluster.apply({"apiVersion": "v1", "kind": "List", "items": self.world.policies})
        names = {policy["metadata"]["name"] for policy in self.world.policies}
        self.cluster.wait_for("the policies to be in force", lambda: self._names_in_force() == names, 15)

    def _names_in_force(self) -> set[str]:
        """Of all that are known, as long as one is not in force: none."""
        found = self.in_force()
        return {policy["name"] for policy in found} if all("in_force_since" in policy for policy in found) else {"not yet"}

    def in_force(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.cluster.grpcurl("proxy", f"{METHOD}/GetPolicies")).get("policies", [])
        return found

    def check(self) -> None:
        direct = {probe: probe for probe in self._direct()}
        web = next(pod for pod in self.world.pods if pod["metadata"]["name"] == "web" and pod["metadata"]["namespace"] == "default")
        address, node = web["status"]["podIP"], next(iter(self.world.nodes.values()))
        through = {
            Probe(source, destination, "TCP", port): Probe(source, address, "TCP", SERVED_PORT)
            for source in self.places
            for destination, port in ((self.cluster_ip, SERVICE_PORT), (node, self.node_port))
            if source != node or destination != node
        }
        meant = direct | through
        expected = {probe for probe, real in meant.items() if allowed(self.world, real.source, real.destination, real.protocol, real.port)}
        reached = self.prober.reached(meant, expected)
        leaked, lost = sorted(map(str, reached - expected)), sorted(map(str, expected - reached))
        assert not leaked and not lost, f"got through: {leaked[:5]}; did not: {lost[:5]}"

    def _direct(self) -> Iterator[Probe]:
        pods = [pod["status"]["podIP"] for pod in self.world.pods]
        for source in self.places:
            for destination in pods:
                yield from (Probe(source, destination, protocol, port) for protocol, port in PORTS)

    def close(self) -> None:
        self.prober.close()
        for place in self.places.values():
            place.close()


def _cluster_id(pod: Manifest) -> str:
    sandbox = docker(
        "ps", "-q", "--filter", f"name=k8s_POD_{pod['metadata']['name']}_{pod['metadata']['namespace']}_{pod['metadata']['uid']}"
    )
    return docker("inspect", "-f", f'{{{{index .Config.Labels "{CLUSTER}"}}}}', sandbox.strip()).strip()


def _pid(pod: Manifest) -> int:
    metadata = pod["metadata"]
    sandbox = docker("ps", "-q", "--filter", f"name=k8s_POD_{metadata['name']}_{metadata['namespace']}_{metadata['uid']}").strip()
    return int(docker("inspect", "-f", "{{.State.Pid}}", sandbox))


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealWorld]:
    ensure_image()
    cluster = KnarrCluster(Path(tmp_path_factory.mktemp("p")))
    try:
        cluster.up()
        made = RealWorld(cluster)
        try:
            yield made
        finally:
            made.close()
    finally:
        cluster.down()


@pytest.mark.parametrize("name", RECIPES)
def test_recipe(real: RealWorld, name: str) -> None:
    real.enforce(worlds.recipes()[name], f"recipe-{RECIPES.index(name)}")
    real.check()


def test_a_pod_is_isolated_from_its_first_packet_on(real: RealWorld) -> None:
    real.enforce([worlds.policy_of({"namespace": "test", "spec": {"podSelector": {}, "policyTypes": ["Egress"]}})], "first")
    web = next(pod for pod in real.world.pods if pod["metadata"]["namespace"] == "prod" and pod["metadata"]["name"] == "web")
    script = INSISTENT.format(address=web["status"]["podIP"], port=SERVED_PORT)
    for number in range(3):
        for namespace in ("test", "default"):
            command = ["--image=hello:1", "--restart=Never", "--command", "--", "sh", "-c", script]
            real.cluster.kubectl("run", f"insistent-{number}", "-n", namespace, *command)
    # Those that nothing forbids are through: the others have tried as long.
    for number in range(3):
        real.cluster.kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", f"pod/insistent-{number}", "--timeout=60s")
        assert real.cluster.get("pod", f"insistent-{number}", "-n", "test")["status"]["phase"] in ("Pending", "Running")
        assert "reached" not in real.cluster.kubectl("logs", f"insistent-{number}", "-n", "test").stdout
    for namespace in ("test", "default"):
        names = [f"insistent-{number}" for number in range(3)]
        real.cluster.kubectl("delete", "pod", *names, "-n", namespace, "--grace-period=0", "--force")


def test_kubectl_shows_and_describes_policies(real: RealWorld) -> None:
    real.enforce(worlds.recipes()["allow only one port of an application"], "shown")
    header, line = real.cluster.kubectl("get", "netpol").stdout.splitlines()
    assert header.split() == ["NAME", "POD-SELECTOR", "AGE"] and line.split()[:2] == ["shown-0", "app=web"]
    described = real.cluster.kubectl("describe", "networkpolicy", "shown-0").stdout
    for words in ("PodSelector:     app=web", "To Port: 8080/TCP", "PodSelector: role=probe", "Not affecting egress traffic"):
        assert words in described
    refused = real.cluster.kubectl(
        "patch", "netpol", "shown-0", "--type=json", '-p=[{"op":"add","path":"/spec/policyTypes/-","value":"Both"}]', check=False
    )
    assert 'spec.policyTypes[1]: Unsupported value: "Both": supported values: "Egress", "Ingress"' in refused.stderr


def test_a_connection_is_explained_from_outside(real: RealWorld) -> None:
    real.enforce(worlds.recipes()["deny all traffic to an application"], "explained")
    asked = {"source": {"pod": "probe"}, "destination": {"pod": "web"}, "port": 80}
    answer = json.loads(real.cluster.grpcurl("proxy", f"-d={json.dumps(asked)}", f"{METHOD}/ExplainConnection"))
    assert "allowed" not in answer
    assert answer["reason"] == "ingress of pod default/web is governed by explained-0, and none allows it"


def test_the_table_is_restored_within_seconds(real: RealWorld) -> None:
    real.enforce(worlds.recipes()["deny traffic from other namespaces"], "restored")
    tables = json.loads(_nft("-j", "list", "tables"))["nftables"]
    names = [entry["table"]["name"] for entry in tables if "table" in entry]
    name = next(name for name in names if name.startswith("knarr-policy-") and _nft("list", "table", "ip", name).count(real.bridge))
    before = _nft("list", "table", "ip", name).count("jump ingress-")
    _nft("delete", "table", "ip", name)
    real.cluster.wait_for("the table", lambda: _nft("list", "table", "ip", name, check=False).count("jump ingress-") == before, 5)
    real.check()


def _nft(*arguments: str, check: bool = True) -> str:
    return subprocess.run(["nft", *arguments], capture_output=True, text=True, check=check, timeout=20).stdout

"""Three nodes on one machine that run containers: one engine, a network namespace each. Pods reach one another across them in every way; a
node that is lost is missed and comes back; what the cluster made is gone with it, also after its process was killed."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.support.engine import docker, leftovers
from tests.support.knarr_cluster import KnarrCluster, is_ready
from tests.support.lookup_image import IMAGE, ensure_lookup_image

pytestmark = [pytest.mark.etcd, pytest.mark.docker, pytest.mark.cluster, pytest.mark.timeout(240)]

PORT, HOST_PORT, OWN_PORT, NODE_PORT = 8080, 9390, 9391, 31391
SERVE = f"mkdir -p /w; hostname >/w/index.html; exec busybox httpd -f -h /w -p {PORT}"
LOST = [
    {"key": f"node.kubernetes.io/{why}", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 1}
    for why in ("unreachable", "not-ready")
]


@dataclass
class SharedMachine(KnarrCluster):
    count: int = 3

    @property
    def options(self) -> list[str]:
        return [*super().options, f"--nodes={self.count}", f"--node-cidr=10.{200 + self.offset}.1.0/24"]

    def knarr_node(self, action: str, *names: str) -> str:
        return self.knarr("node", action, "--data-dir", str(self.data_dir), *names).stdout

    def names(self) -> list[str]:
        return sorted(node["metadata"]["name"] for node in self.get("nodes")["items"])

    def ready(self, app: str) -> dict[str, Any]:
        """By the node that each is on."""
        return {pod["spec"]["nodeName"]: pod for pod in self.ready_pods(f"app={app}")}

    def fetch(self, pod: str, *urls: str) -> list[str]:
        """What each answers, a line; `-` where nothing does."""
        script = "\n".join(f"busybox timeout 3 busybox wget -qO- {url} || echo -" for url in urls)
        return self.kubectl("exec", pod, "--", "sh", "-c", script).stdout.splitlines()


def _on_all(app: str, command: str, **spec: Any) -> dict[str, Any]:
    ports = spec.pop("ports", [])
    container = {"name": "c", "image": IMAGE, "imagePullPolicy": "IfNotPresent", "command": ["sh", "-c", command], "ports": ports}
    template = {
        "metadata": {"labels": {"app": app}},
        "spec": {"terminationGracePeriodSeconds": 0, "containers": [container], **spec},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": app},
        "spec": {"selector": {"matchLabels": {"app": app}}, "template": template},
    }


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SharedMachine]:
    ensure_lookup_image()
    made = SharedMachine(tmp_path_factory.mktemp("fellows"))
    try:
        made.up()
        yield made
    finally:
        made.down()
    assert leftovers((made.data_dir / "cluster-id").read_text(), made.data_dir) == []


@pytest.fixture(scope="module")
def web(cluster: SharedMachine) -> SharedMachine:
    """A pod a node with a host port, one in the node's own network, and a Service of the former."""
    cluster.apply(_on_all("web", SERVE, ports=[{"containerPort": PORT, "hostPort": HOST_PORT}]))
    own = SERVE.replace(str(PORT), str(OWN_PORT))
    cluster.apply(_on_all("own", own, hostNetwork=True, dnsPolicy="ClusterFirstWithHostNet"))
    ports = [{"port": 80, "targetPort": PORT, "nodePort": NODE_PORT}]
    spec = {"type": "NodePort", "selector": {"app": "web"}, "ports": ports}
    cluster.apply({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": spec})
    cluster.wait_for("a pod of each on every node", lambda: len(cluster.ready("web")) == len(cluster.ready("own")) == 3)
    return cluster


def test_three_nodes_are_ready_and_say_who_they_are(cluster: SharedMachine) -> None:
    first, second, third = cluster.names()
    assert (second, third) == (f"{first}-2", f"{first}-3")
    assert all(is_ready(node) for node in cluster.get("nodes")["items"])
    found = {node["metadata"]["name"]: node for node in cluster.get("nodes")["items"]}
    addresses = [found[name]["status"]["addresses"][0]["address"] for name in (second, third)]
    assert addresses == [f"10.{200 + cluster.offset}.1.{number}" for number in (2, 3)]


def test_each_shows_its_proxy(cluster: SharedMachine) -> None:
    wanted = {f"kube-proxy-{name}" for name in cluster.names()}
    cluster.wait_for("them", lambda: wanted <= {pod["metadata"]["name"] for pod in cluster.ready_pods("k8s-app=kube-proxy", "kube-system")})
    for name in wanted:
        assert "listening" in cluster.kubectl("logs", "-n", "kube-system", name).stdout or name == f"kube-proxy-{cluster.names()[0]}"


def test_every_pod_reaches_every_other_way(web: SharedMachine) -> None:
    pods, own = web.ready("web"), web.ready("own")
    addresses = {pod["status"]["hostIP"] for pod in pods.values()}
    assert len(addresses) == 3
    names = [pod["metadata"]["name"] for pod in pods.values()]
    direct = [f"http://{pod['status']['podIP']}:{PORT}" for pod in pods.values()]
    by_host_port = [f"http://{pod['status']['hostIP']}:{HOST_PORT}" for pod in pods.values()]
    others = [f"http://{address}:{port}" for address in sorted(addresses) for port in (OWN_PORT, NODE_PORT)]
    for asking in (*pods.values(), *own.values()):
        name = asking["metadata"]["name"]
        assert web.fetch(name, *direct, *by_host_port) == [*names, *names], name
        assert "-" not in web.fetch(name, *others, "http://web", "http://web.default.svc.cluster.local"), name
    # A pod in its node's network is called as the node.
    assert {web.kubectl("exec", pod["metadata"]["name"], "--", "hostname").stdout.strip() for pod in own.values()} == set(own)


def _none_reach(web: SharedMachine, pods: list[Any], url: str) -> bool:
    return all(web.fetch(pod["metadata"]["name"], url) == ["-"] for pod in pods)


def _reaches(web: SharedMachine, pod: str, url: str, answer: str) -> bool:
    return web.fetch(pod, url) == [answer]


def test_a_policy_holds_across_nodes(web: SharedMachine) -> None:
    pods = list(web.ready("web").values())
    first = pods[0]["metadata"]["name"]
    web.kubectl("label", "pod", first, "may=yes")
    allowed = [{"from": [{"podSelector": {"matchLabels": {"may": "yes"}}}]}]
    spec = {"podSelector": {"matchLabels": {"app": "web"}}, "ingress": allowed}
    web.apply({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "few"}, "spec": spec})
    try:
        for target in pods[1:]:
            url = f"http://{target['status']['podIP']}:{PORT}"
            web.wait_for("others to be refused", partial(_none_reach, web, [pod for pod in pods[1:] if pod is not target], url))
            web.wait_for("the one to be let in", partial(_reaches, web, first, url, target["metadata"]["name"]))
    finally:
        web.kubectl("delete", "networkpolicy", "few")


def test_a_node_that_loses_its_power_is_missed_and_comes_back(web: SharedMachine) -> None:
    first, *others = web.names()
    away = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "NotIn", "values": [first]}]}
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [away]}}}
    web.apply({**_on_all("moving", "exec sleep 100000", affinity=affinity, tolerations=LOST), "kind": "Deployment"})
    (lost,) = web.wait_for("the pod", lambda: list(web.ready("moving")))
    (other,) = (name for name in others if name != lost)
    web.knarr_node("stop", lost)
    web.wait_for("the pod elsewhere", lambda: other in web.ready("moving"), 90)
    conditions = {one["type"]: one["status"] for one in web.get("node", lost)["status"]["conditions"]}
    assert conditions["Ready"] == "Unknown"
    assert not docker("ps", "-q", "--filter", f"label=io.knarr.node={lost}")
    web.knarr_node("start", lost)
    web.wait_for("its own pods again", lambda: lost in web.ready("web") and lost in web.ready("own"))
    asking, asked = web.ready("web")[lost], web.ready("web")[other]
    url = f"http://{asked['status']['podIP']}:{PORT}"
    web.wait_for("the way", partial(_reaches, web, asking["metadata"]["name"], url, asked["metadata"]["name"]))


def test_nodes_come_and_go_and_outlive_the_clusters_process(web: SharedMachine) -> None:
    first = web.names()[0]
    assert web.knarr_node("add").split()[0] == f"{first}-4"
    web.wait_for("its pods", lambda: f"{first}-4" in web.ready("web"))
    web.knarr_node("remove", f"{first}-4")
    web.wait_for("all of it to go", lambda: not (web.data_dir / f"kubelet/nodes/{first}-4").exists())
    assert not docker("ps", "-aq", "--filter", f"label=io.knarr.node={first}-4")
    before = {pod["metadata"]["uid"] for pod in web.pods("app=web")}
    os.kill(web.pid, signal.SIGKILL)
    web.up()
    assert {pod["metadata"]["uid"] for pod in web.pods("app=web")} == before
    web.wait_for("all pods", lambda: len(web.ready("web")) == 3)
    # What is frozen stands on every node, and goes on.
    web.knarr("pause", "--data-dir", str(web.data_dir))
    web.knarr("resume", "--data-dir", str(web.data_dir))
    web.wait_for("all nodes", lambda: all(is_ready(node) for node in web.get("nodes")["items"]))


def test_logs_and_ports_are_reached_on_every_node(web: SharedMachine) -> None:
    for pod in web.ready("web").values():
        name = pod["metadata"]["name"]
        assert web.kubectl("exec", name, "--", "hostname").stdout.strip() == name
        assert web.kubectl("logs", name).returncode == 0
        summary = json.loads(web.kubectl("get", "--raw", f"/api/v1/nodes/{pod['spec']['nodeName']}/proxy/stats/summary").stdout)
        assert name in [one["podRef"]["name"] for one in summary["pods"]]


def _has_containers(identity: Path) -> bool:
    return identity.exists() and bool(docker("ps", "-q", "--filter", f"label=io.knarr.cluster={identity.read_text()}"))


def test_a_start_that_is_cut_short_leaves_nothing(tmp_path: Path) -> None:
    cut = SharedMachine(tmp_path)
    process = cut.begin_up()
    deadline = time.monotonic() + 60
    while not _has_containers(tmp_path / "cluster-id") and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    assert leftovers((tmp_path / "cluster-id").read_text(), tmp_path) == []


def test_a_cluster_that_was_alone_gets_company(tmp_path: Path) -> None:
    made = SharedMachine(tmp_path, count=1)
    try:
        made.up()
        made.apply(_on_all("web", SERVE))
        made.knarr_node("add")
        first, second = made.names()
        assert second == f"{first}-2"
        made.wait_for("a pod on each", lambda: len(made.ready("web")) == 2)
        pods = made.ready("web")
        for asking, asked in ((first, second), (second, first)):
            url = f"http://{pods[asked]['status']['podIP']}:{PORT}"
            made.wait_for("the way", partial(_reaches, made, pods[asking]["metadata"]["name"], url, pods[asked]["metadata"]["name"]))
    finally:
        made.down()
    assert leftovers((tmp_path / "cluster-id").read_text(), tmp_path) == []

"""The compose cluster as its user meets it."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from functools import partial
from typing import Any

import pytest

from tests.support.cluster_client import run
from tests.support.compose import NETWORK, NODES, ComposeCluster
from tests.support.engine import IMAGE
from tests.support.load import Load

pytestmark = [pytest.mark.compose, pytest.mark.timeout(1200)]

APP = "spread"
REPLICAS = 4
NODE_PORT = 30180
# A node is given up 40 s after its last heartbeat.
LOST_SECONDS = 100.0
SERVE = 'echo "$(hostname)" >/tmp/index.html; echo serving; exec httpd -f -p 80 -h /tmp'


def deployment(name: str = APP, **pod: Any) -> dict[str, Any]:
    """``pod`` is added to the pods' spec."""
    container = {"name": "web", "image": IMAGE, "command": ["sh", "-c", SERVE]}
    spec = {"containers": [container], "terminationGracePeriodSeconds": 1, **pod}
    template = {"metadata": {"labels": {"app": name}}, "spec": spec}
    labels = {"matchLabels": {"app": name}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {"replicas": REPLICAS, "selector": labels, "template": template},
    }


def service() -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": APP},
        "spec": {"type": "NodePort", "selector": {"app": APP}, "ports": [{"port": 80, "nodePort": NODE_PORT}]},
    }


@pytest.fixture(scope="module")
def deployed(cluster: ComposeCluster) -> ComposeCluster:
    """The cluster with an app on both nodes."""
    cluster.knarr_load(IMAGE)
    cluster.apply({"apiVersion": "v1", "kind": "List", "items": [deployment(), service()]})
    return cluster


@pytest.fixture
def app(deployed: ComposeCluster) -> ComposeCluster:
    """The app at rest, whatever the test before has left: its replicas are ready and none is leaving any more."""
    deployed.kubectl("scale", "deployment", APP, f"--replicas={REPLICAS}")

    def at_rest() -> bool:
        return len(deployed.get("pods", "-l", f"app={APP}")["items"]) == REPLICAS == len(deployed.ready_pods(f"app={APP}"))

    deployed.wait_for("the app's pods alone", at_rest)
    return deployed


def answers(cluster: ComposeCluster, where: str, url: str, count: int) -> Counter[str]:
    """Who answered ``count`` requests made from a node's network namespace; one that fails counts for nobody."""
    ask = f"exec 3<>/dev/tcp/{url.replace(':', '/')}; printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3; tail -n1 <&3"
    script = f"for _ in $(seq {count}); do (trap '' PIPE; {ask}) 2>/dev/null || true; done"
    return Counter(cluster.in_node(where, "timeout", "20", "bash", "-c", script).split())


def cluster_ip(cluster: ComposeCluster) -> str:
    return str(cluster.get("service", APP)["spec"]["clusterIP"])


def test_both_nodes_are_ready_and_known_by_their_addresses(cluster: ComposeCluster) -> None:
    assert cluster.ready_nodes() == set(NODES)
    wide = cluster.kubectl("get", "nodes", "-o", "wide").stdout
    for name, address in NODES.items():
        assert any(name in line and address in line for line in wide.splitlines())


def test_no_container_is_privileged_and_components_have_few_capabilities(cluster: ComposeCluster) -> None:
    files, commands = {"CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID"}, {"KILL", "SYS_PTRACE"}
    # Its HAProxy is another user, who may listen and nothing else: what makes it so, and then reads its files and ends it.
    another = {"CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "NET_BIND_SERVICE", "SETGID", "SETPCAP", "SETUID"}
    allowed = {
        "proxy": {"NET_ADMIN", "NET_RAW"},
        "kubelet": {*files, *commands, "NET_ADMIN", "SYS_ADMIN", "SYS_CHROOT"},
        "gateway": another,
    }
    for container in cluster.containers():
        name = container["Config"]["Labels"]["com.docker.compose.service"]
        assert not container["HostConfig"]["Privileged"], name
        if not name.startswith("node-"):
            added = {capability.removeprefix("CAP_") for capability in container["HostConfig"]["CapAdd"] or []}
            assert added <= allowed.get(name.partition("-")[0], set()), name
            assert container["HostConfig"]["CapDrop"] == ["ALL"], name


def test_a_component_holds_no_secret_of_another(cluster: ComposeCluster) -> None:
    folders = cluster.in_node("kubelet-1", "find", "/etc/knarr", "-name", "*.key", "-o", "-name", "token*").split()
    assert sorted(folders) == sorted(f"/etc/knarr/{name}/server.key" for name in ("kubelet", "proxy"))
    for component in ("scheduler", "etcd", "gateway-1"):
        subject = cluster.in_node(component, "find", "/etc/knarr", "-type", "f").split()
        assert sorted(subject) == [f"/etc/knarr/{file}" for file in ("ca.crt", "server.crt", "server.key")]


def test_all_certificates_are_listed_where_they_are_made(cluster: ComposeCluster) -> None:
    lines = cluster.shell("docker compose run --rm -T --no-deps setup services.command certs list --folder /trust").stdout.splitlines()
    found = {line.split()[0]: line.split() for line in lines[1:]}
    assert all(line[-1] == "good" for line in found.values())
    assert found["apiserver/etcd"][1:4] == ["kube-apiserver-etcd-client", "-", "knarr-etcd-ca"]
    assert {"etcd-3/server", "node-2/proxy/server", "apiserver/kubelet-client", "authority/ca"} <= found.keys()
    assert {name for name in found if name.endswith("gateway/server")} == {"node-1/gateway/server", "node-2/gateway/server"}


LOOK = """
import socket, ssl
context = ssl.create_default_context(cafile="/etc/knarr/etcd-ca.crt")
context.load_cert_chain(f"/etc/knarr/{NAME}.crt", f"/etc/knarr/{NAME}.key")
with socket.create_connection((ADDRESS, PORT), 5) as plain, context.wrap_socket(plain, server_hostname=ADDRESS) as connection:
    connection.sendall(b"GET /health HTTP/1.0\\r\\n\\r\\n")
    print(connection.recv(64))
"""


@pytest.mark.parametrize(("name", "known"), [("etcd", True), ("server", False), ("kubelet-client", False), ("front-proxy", False)])
@pytest.mark.parametrize("port", [2379, 2382])
def test_the_store_knows_the_api_server_by_a_certificate_for_it_alone(cluster: ComposeCluster, name: str, known: bool, port: int) -> None:
    code = LOOK.replace("ADDRESS", f'"{NETWORK}.131"').replace("PORT", str(port)).replace("{NAME}", name)
    done = cluster.shell(f"docker compose exec -T apiserver python -c '{code}'", check=False)
    assert (b"HTTP/1.0 " in done.stdout.encode()) is known, done.stderr
    assert done.returncode == 0 or any(words in done.stderr for words in ("alert", "reset", "Broken pipe", "EOF")), done.stderr


@pytest.mark.parametrize(
    ("address", "service"),
    [
        (f"{NETWORK}.10:6445", "knarr.api.apiserver.v1.ResourceService"),
        (f"{NETWORK}.20:10259", "knarr.api.scheduler.v1.SchedulerService"),
        (f"{NETWORK}.30:10257", "knarr.api.controller.v1.ControllerService"),
        (f"{NETWORK}.50:10258", "knarr.api.cloud.v1.CloudProviderService"),
        (f"{NODES['node-1']}:10250", "knarr.api.kubelet.v1.KubeletService"),
        (f"{NODES['node-2']}:10256", "knarr.api.proxy.v1.ProxyService"),
    ],
)
def test_grpcurl_reaches_every_component(cluster: ComposeCluster, address: str, service: str) -> None:
    assert service in run([*cluster.grpcurl, address, "list"]).stdout.split()
    assert '"SERVING"' in run([*cluster.grpcurl, address, "grpc.health.v1.Health/Check"]).stdout


def test_a_token_opens_the_port_for_tokens_alone(cluster: ComposeCluster) -> None:
    token = (cluster.data_dir / "token").read_text().strip()
    command = [cluster.grpcurl[0], f"-cacert={cluster.data_dir / 'ca.crt'}", "-max-time=5", "-H", f"authorization: Bearer {token}"]
    assert "knarr.api.apiserver.v1.ResourceService" in run([*command, f"{NETWORK}.10:6444", "list"]).stdout
    for address in (f"{NETWORK}.10:6445", f"{NETWORK}.20:10259", f"{NODES['node-1']}:10250", f"{NODES['node-1']}:10256"):
        assert run([*command, address, "list"], check=False).returncode != 0


def test_an_image_is_copied_to_the_nodes_that_lack_it(cluster: ComposeCluster) -> None:
    cluster.knarr_load(IMAGE)
    cluster.engine("node-2", "tag", IMAGE, "kept:1")
    cluster.engine("node-2", "rmi", IMAGE)
    said = cluster.knarr_load(IMAGE).splitlines()
    # Under another name it has all layers: only the name goes over.
    assert said[:2] == [f"node-1: has {IMAGE}", f"node-2: lacks {IMAGE} (1 of 1 layers are there)"]
    assert said[2].startswith(f"loaded {IMAGE} into node-2 in ") and said[2].endswith(", 0.0 MB")
    assert IMAGE in cluster.engine("node-2", "image", "ls", "--format", "{{.Repository}}:{{.Tag}}").split()
    with pytest.raises(AssertionError, match="this machine's engine has no image nowhere:1"):
        cluster.knarr_load("nowhere:1")


def test_a_deployment_runs_on_both_nodes(app: ComposeCluster) -> None:
    pods = app.ready_pods(f"app={APP}")
    assert {pod["spec"]["nodeName"] for pod in pods} == set(NODES)
    assert len({pod["status"]["podIP"] for pod in pods}) == REPLICAS


def test_logs_and_exec_reach_pods_of_both_nodes(app: ComposeCluster) -> None:
    for pod in app.ready_pods(f"app={APP}"):
        name = pod["metadata"]["name"]
        assert app.kubectl("logs", name).stdout == "serving\n"
        assert app.kubectl("exec", name, "--", "hostname").stdout == f"{name}\n"


@pytest.mark.parametrize("node", NODES)
def test_every_node_shares_a_services_connections_equally(app: ComposeCluster, node: str) -> None:
    names = {pod["metadata"]["name"] for pod in app.ready_pods(f"app={APP}")}
    url = f"{cluster_ip(app)}:80"
    app.wait_for("all endpoints in the node's table", lambda: answers(app, node, url, REPLICAS).keys() == names)
    assert answers(app, node, url, 3 * REPLICAS) == dict.fromkeys(names, 3)


def test_a_pod_reaches_a_pod_of_the_other_node_by_its_address(app: ComposeCluster) -> None:
    pods = app.ready_pods(f"app={APP}")
    here = next(pod for pod in pods if pod["spec"]["nodeName"] == "node-1")
    there = next(pod for pod in pods if pod["spec"]["nodeName"] == "node-2")
    ask = f"printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 5 {there['status']['podIP']} 80"
    got = app.kubectl("exec", here["metadata"]["name"], "--", "sh", "-c", ask).stdout
    assert got.splitlines()[-1] == there["metadata"]["name"]


def test_a_pods_volumes_are_those_of_its_machine(app: ComposeCluster) -> None:
    mounts = [{"name": "memory", "mountPath": "/memory"}, {"name": "host", "mountPath": "/host"}]
    volumes = [
        {"name": "memory", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
        {"name": "host", "hostPath": {"path": "/var/tmp/of-the-machine", "type": "DirectoryOrCreate"}},
    ]
    write = "grep ' /memory ' /proc/mounts >/host/mounts; sleep 3600"
    container = {"name": "web", "image": IMAGE, "command": ["sh", "-c", write], "volumeMounts": mounts}
    spec = {"nodeName": "node-2", "containers": [container], "volumes": volumes, "terminationGracePeriodSeconds": 0}
    app.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "volumes", "labels": {"app": "volumes"}}, "spec": spec})
    app.wait_for("the pod", lambda: app.ready_pods("app=volumes"))
    seen = app.wait_for("its file on the machine", lambda: app.in_node("node-2", "sh", "-c", "cat /var/tmp/of-the-machine/mounts || true"))
    assert seen.startswith("tmpfs /memory tmpfs") and "size=1024k" in seen
    app.kubectl("delete", "pod", "volumes")
    app.wait_for("the mount to go", lambda: "/volumes/memory" not in app.in_node("node-2", "cat", "/proc/1/mounts"))


def running_uids(cluster: ComposeCluster, node: str) -> list[str]:
    """The pods whose container runs in a node's engine, with repetitions."""
    ids = cluster.engine(node, "ps", "-q", "--filter", "label=io.kubernetes.container.name=web").split()
    return cluster.engine(node, "inspect", "--format", '{{index .Config.Labels "io.kubernetes.pod.uid"}}', *ids).split() if ids else []


def wanted_uids(cluster: ComposeCluster, node: str) -> list[str]:
    return [pod["metadata"]["uid"] for pod in cluster.get("pods")["items"] if pod["spec"].get("nodeName") == node]


def runs_what_it_should(cluster: ComposeCluster, node: str) -> bool:
    return sorted(running_uids(cluster, node)) == sorted(wanted_uids(cluster, node))


def test_a_rolling_update_loses_no_request(app: ComposeCluster) -> None:
    wait = {"preStop": {"exec": {"command": ["sleep", "2"]}}}
    probe = {"tcpSocket": {"port": 80}, "periodSeconds": 1}
    careful: dict[str, Any] = {
        "spec": {"strategy": {"rollingUpdate": {"maxUnavailable": 0}}, "template": {"spec": {"terminationGracePeriodSeconds": 5}}}
    }
    careful["spec"]["template"]["spec"]["containers"] = [{"name": "web", "lifecycle": wait, "readinessProbe": probe}]
    before = {pod["metadata"]["name"] for pod in app.ready_pods(f"app={APP}")}
    app.kubectl("patch", "deployment", APP, "-p", json.dumps(careful))
    app.kubectl("rollout", "status", "deployment", APP, "--timeout=60s")
    middle = {pod["metadata"]["name"] for pod in app.ready_pods(f"app={APP}")}
    with Load(NODES["node-1"], NODE_PORT) as load:
        app.wait_for("a share for each", lambda: middle <= load.answers.keys())
        app.kubectl("rollout", "restart", "deployment", APP)
        app.kubectl("rollout", "status", "deployment", APP, "--timeout=60s")
        after = {pod["metadata"]["name"] for pod in app.ready_pods(f"app={APP}")}
        app.wait_for("answers of the new pods", lambda: after <= load.answers.keys())
    assert not before & middle and not middle & after
    assert load.failures == []
    assert load.answers.total() > 100


def web_containers(cluster: ComposeCluster, node: str) -> set[str]:
    """Ids of the app's containers that run in a node's engine."""
    return set(cluster.engine(node, "ps", "-q", "--filter", "label=io.kubernetes.container.name=web").split())


def test_a_killed_kubelet_returns_and_adopts_its_pods(app: ComposeCluster) -> None:
    def kubelet() -> dict[str, Any]:
        return next(found for found in app.containers() if found["Config"]["Labels"]["com.docker.compose.service"] == "kubelet-1")

    before, killed = web_containers(app, "node-1"), kubelet()
    os.kill(killed["State"]["Pid"], signal.SIGKILL)
    app.wait_for("another kubelet", lambda: kubelet()["RestartCount"] > killed["RestartCount"])
    app.up()
    app.wait_for("both nodes", lambda: app.ready_nodes() == set(NODES))
    for pod in app.ready_pods(f"app={APP}"):
        assert app.kubectl("exec", pod["metadata"]["name"], "--", "hostname").stdout.strip() == pod["metadata"]["name"]
    assert web_containers(app, "node-1") == before


def test_a_node_cut_off_goes_on_and_comes_back_without_duplicates(app: ComposeCluster) -> None:
    before = web_containers(app, "node-2")
    app.in_node("node-2", "ip", "route", "add", "blackhole", f"{NETWORK}.10")

    def bound() -> int:
        return sum(pod["spec"].get("nodeName") == "node-2" for pod in app.pods(f"app={APP}"))

    try:
        app.kubectl("scale", "deployment", APP, f"--replicas={REPLICAS + 4}")
        app.wait_for("pods bound to the lost node", lambda: bound() > len(before))
        assert web_containers(app, "node-2") == before
        assert answers(app, "node-2", f"{cluster_ip(app)}:80", 2 * REPLICAS).total() == 2 * REPLICAS
    finally:
        app.in_node("node-2", "ip", "route", "del", "blackhole", f"{NETWORK}.10")
    app.wait_for("the pods of both nodes", lambda: len(app.ready_pods(f"app={APP}")) == REPLICAS + 4)
    assert before <= web_containers(app, "node-2")
    app.kubectl("scale", "deployment", APP, f"--replicas={REPLICAS}")
    for node in NODES:
        app.wait_for(f"{node} to run what it should", partial(runs_what_it_should, app, node))
    app.wait_for("the app's pods alone", lambda: len(app.get("pods", "-l", f"app={APP}")["items"]) == REPLICAS)


def test_a_killed_cluster_comes_back_as_the_same(app: ComposeCluster) -> None:
    before = {node["metadata"]["name"]: node["metadata"]["uid"] for node in app.get("nodes")["items"]}
    pods = {pod["metadata"]["uid"] for pod in app.pods(f"app={APP}")}
    app.docker("kill", *(container["Id"] for container in app.containers()))
    app.up()
    app.wait_for("both nodes", lambda: app.ready_nodes() == set(NODES))
    assert {node["metadata"]["name"]: node["metadata"]["uid"] for node in app.get("nodes")["items"]} == before
    app.wait_for("the app's pods", lambda: {pod["metadata"]["uid"] for pod in app.ready_pods(f"app={APP}")} == pods)
    names = {pod["metadata"]["name"] for pod in app.ready_pods(f"app={APP}")}
    app.wait_for("the Service", lambda: answers(app, "node-1", f"{cluster_ip(app)}:80", REPLICAS) == dict.fromkeys(names, 1))


def test_a_lost_machine_is_replaced_and_rejoins_clean(app: ComposeCluster) -> None:
    name = "mobile"
    keys = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
    tolerations = [{"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 1} for key in keys]

    def places() -> Counter[str]:
        return Counter(pod["spec"]["nodeName"] for pod in app.ready_pods(f"app={name}"))

    app.apply(deployment(name, tolerations=tolerations))
    app.wait_for("the pods", lambda: places().total() == REPLICAS)
    assert places().keys() == set(NODES)

    app.compose("kill", "node-2")
    app.wait_for("the pods on the node that is left", lambda: places() == {"node-1": REPLICAS}, seconds=LOST_SECONDS)

    # The machine alone is started: its kubelet and its proxy follow.
    app.compose("start", "node-2")
    app.wait_for("both nodes", lambda: app.ready_nodes() == set(NODES))
    for node in NODES:
        app.wait_for(f"{node} to run what it should", partial(runs_what_it_should, app, node))
    app.kubectl("delete", "deployment", name)
    app.up()


def test_a_machine_is_added_to_a_running_cluster_and_given_up_again(app: ComposeCluster) -> None:
    before = {container["Id"] for container in app.containers()}
    app.compose("--profile", "node-3", "up", "--detach", "--wait", "--wait-timeout", "120")
    app.wait_for("three nodes", lambda: app.ready_nodes() == {*NODES, "node-3"})
    assert before <= {container["Id"] for container in app.containers()}
    app.knarr_load(IMAGE)
    app.kubectl("scale", "deployment", APP, f"--replicas={REPLICAS + 2}")
    app.wait_for("a pod on it", lambda: any(pod["spec"]["nodeName"] == "node-3" for pod in app.ready_pods(f"app={APP}")))
    names = app.wait_for("all pods", lambda: found if len(found := app.ready_pods(f"app={APP}")) == REPLICAS + 2 else None)
    url = f"{cluster_ip(app)}:80"
    once = {pod["metadata"]["name"]: 1 for pod in names}
    app.wait_for("a share for each", lambda: answers(app, "node-3", url, len(once)) == once)

    app.compose("--profile", "node-3", "rm", "--stop", "--force", "kubelet-3", "proxy-3", "node-3")
    app.kubectl("delete", "node", "node-3")
    app.kubectl("scale", "deployment", APP, f"--replicas={REPLICAS}")
    app.wait_for("two nodes", lambda: app.ready_nodes() == set(NODES))
    app.wait_for("the app on them", lambda: {pod["spec"]["nodeName"] for pod in app.ready_pods(f"app={APP}")} <= set(NODES))
    app.wait_for("its pods", lambda: len(app.ready_pods(f"app={APP}")) == REPLICAS)

"""What happens to a machine: processes killed, networks and rules removed by others, a reboot. The cluster repairs it by itself."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from services.kubelet.runtime.catalog import bridge_name
from services.kubelet.runtime.labels import CLUSTER
from tests.e2e.test_faults import etcd_pid
from tests.support.engine import docker, ensure_image, leftovers, pod_address
from tests.support.knarr_cluster import BIN, KnarrCluster

pytestmark = [pytest.mark.cluster, pytest.mark.docker, pytest.mark.timeout(180)]

APP = "app=hello"
REPLICAS = 3
REPAIR_SECONDS = 10.0
SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "hello"},
    "spec": {"selector": {"app": "hello"}, "ports": [{"port": 80, "targetPort": 8080}]},
}


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KnarrCluster]:
    """A cluster with three pods behind a Service; every test finds it well and must leave it so."""
    ensure_image()
    made = KnarrCluster(tmp_path_factory.mktemp("machine") / "k")
    try:
        made.up()
        made.kubectl("create", "deployment", "hello", "--image=hello:1", f"--replicas={REPLICAS}")
        made.apply(SERVICE)
        made.kubectl("rollout", "status", "deployment/hello", "--timeout=60s")
        serves(made)
        yield made
    finally:
        made.down()
    assert leftovers((made.data_dir / "cluster-id").read_text(), made.data_dir) == []


def label(cluster: KnarrCluster) -> str:
    return f"label={CLUSTER}={(cluster.data_dir / 'cluster-id').read_text().strip()}"


def addresses(cluster: KnarrCluster) -> dict[str, str]:
    """Address by pod name, as the kernel knows it; sandboxes that do not run included, by their container's name."""
    found = docker("ps", "-aq", "--filter", label(cluster), "--filter", "name=k8s_POD_").split()
    inspected = json.loads(docker("inspect", *found, check=False)) if found else []
    return {one["Name"].split("_")[2] if one["State"]["Running"] else one["Name"]: pod_address(one["State"]["Pid"]) for one in inspected}


def ask(cluster: KnarrCluster, count: int = 2 * REPLICAS) -> set[str]:
    """The pods that answered through the Service; empty when a request failed."""
    address = cluster.get("service", "hello")["spec"]["clusterIP"]
    try:
        return {urllib.request.urlopen(f"http://{address}/", timeout=2).read().decode().split()[-1] for _ in range(count)}
    except (urllib.error.URLError, OSError):
        return set()


def serves(cluster: KnarrCluster, replicas: int = REPLICAS, seconds: float = 60.0) -> list[dict[str, Any]]:
    """Waits until exactly these pods run, the engine holds no others, status tells the truth and the Service reaches each."""
    pods: list[dict[str, Any]] = []

    def well() -> bool:
        pods[:] = cluster.ready_pods(APP)
        status = {pod["metadata"]["name"]: pod["status"]["podIP"] for pod in pods}
        return len(pods) == replicas and addresses(cluster) == status and ask(cluster, 2 * replicas) == status.keys()

    cluster.wait_for(f"{replicas} pods that the Service reaches", well, seconds)
    return pods


def restarts(pods: list[dict[str, Any]]) -> dict[str, int]:
    return {pod["metadata"]["uid"]: pod["status"]["containerStatuses"][0]["restartCount"] for pod in pods}


def test_killed_in_the_middle_of_a_rollout(machine: KnarrCluster) -> None:
    before = {pod["metadata"]["name"] for pod in serves(machine)}
    machine.kubectl("set", "env", "deployment/hello", "COLOUR=blue")
    machine.wait_for("the rollout to begin", lambda: {pod["metadata"]["name"] for pod in machine.pods(APP)} - before)
    os.kill(machine.pid, signal.SIGKILL)
    machine.up()
    machine.kubectl("rollout", "status", "deployment/hello", "--timeout=60s")
    assert not {pod["metadata"]["name"] for pod in serves(machine)} & before


def test_etcd_alone_is_killed(machine: KnarrCluster) -> None:
    machine.kubectl("create", "configmap", "kept", "--from-literal=a=b")
    before, process = restarts(serves(machine)), machine.pid
    command = [str(BIN / "kubectl"), "--kubeconfig", str(machine.data_dir / "kubeconfig"), "get", "pods", "--watch", "-o", "name"]
    seen: list[str] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdout is not None
        reader = threading.Thread(target=lambda: seen.extend(line.strip() for line in watching.stdout or ()))
        reader.start()
        try:
            machine.wait_for("the watch", lambda: len(set(seen)) == REPLICAS)
            os.kill(etcd_pid(machine), signal.SIGKILL)
            machine.wait_for("writes", lambda: machine.kubectl("label", "configmap", "kept", "c=d", check=False).returncode == 0)
            machine.kubectl("scale", "deployment/hello", f"--replicas={REPLICAS + 1}")
            pods = serves(machine, REPLICAS + 1)
            machine.wait_for("the watch to go on", lambda: {f"pod/{pod['metadata']['name']}" for pod in pods} <= set(seen))
        finally:
            watching.terminate()
            reader.join()
    assert machine.pid == process
    assert machine.get("configmap", "kept")["data"] == {"a": "b"}
    assert before.items() <= restarts(pods).items()
    machine.kubectl("scale", "deployment/hello", f"--replicas={REPLICAS}")
    serves(machine)


def test_a_sandbox_is_killed(machine: KnarrCluster) -> None:
    before = restarts(serves(machine))
    victim = machine.ready_pods(APP)[0]
    docker("kill", docker("ps", "-q", "--filter", label(machine), "--filter", f"name=k8s_POD_{victim['metadata']['name']}_").strip())
    uid = victim["metadata"]["uid"]
    machine.wait_for("the restart", lambda: restarts(machine.ready_pods(APP)).get(uid, 0) == before[uid] + 1)
    assert restarts(serves(machine)) == {**before, uid: before[uid] + 1}


def table(cluster: KnarrCluster) -> str:
    return f"knarr-{(cluster.data_dir / 'cluster-id').read_text().strip()}"


def table_handle(cluster: KnarrCluster) -> int:
    """The kernel's number of our nftables table, which a table made anew does not share; 0 when there is none."""
    listed = subprocess.run(["nft", "--json", "list", "tables"], capture_output=True, text=True, check=True).stdout
    found = [entry["table"] for entry in json.loads(listed)["nftables"] if "table" in entry]
    return next((int(one["handle"]) for one in found if one["name"] == table(cluster)), 0)


def test_our_rules_are_deleted(machine: KnarrCluster) -> None:
    serves(machine)
    before = table_handle(machine)
    assert before
    subprocess.run(["nft", "delete", "table", "ip", table(machine)], check=True)
    machine.wait_for("another table", lambda: table_handle(machine) not in (0, before), REPAIR_SECONDS)
    serves(machine, seconds=REPAIR_SECONDS)


def link_index(name: str) -> int:
    """The kernel's number of an interface, which one made anew does not share; 0 when there is none."""
    listed = json.loads(subprocess.run(["ip", "-json", "link"], capture_output=True, text=True, check=True).stdout)
    return next((int(link["ifindex"]) for link in listed if link["ifname"] == name), 0)


def test_the_bridge_of_the_pods_is_removed(machine: KnarrCluster) -> None:
    restarted = restarts(serves(machine))
    bridge = bridge_name((machine.data_dir / "cluster-id").read_text().strip())
    before = link_index(bridge)
    assert before
    subprocess.run(["ip", "link", "delete", bridge], check=True)
    machine.wait_for("another bridge", lambda: link_index(bridge) not in (0, before), REPAIR_SECONDS)
    assert restarts(serves(machine, seconds=2 * REPAIR_SECONDS)) == restarted


def test_a_reboot(machine: KnarrCluster) -> None:
    """Nothing runs any more, and the kernel has forgotten rules and routes; files are kept."""
    before = restarts(serves(machine))
    process = machine.pid
    os.kill(process, signal.SIGKILL)
    docker("kill", *docker("ps", "-q", "--filter", label(machine)).split())
    subprocess.run(["nft", "delete", "table", "ip", table(machine)], check=True)
    for option in machine.options:
        if "service-cidr" in option or "cluster-cidr" in option:
            subprocess.run(["ip", "route", "flush", "root", option.partition("=")[2], "proto", "75"], check=True)
    machine.up()
    assert restarts(serves(machine)) == {uid: count + 1 for uid, count in before.items()}

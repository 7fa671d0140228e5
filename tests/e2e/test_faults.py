"""Faults for real: what people and machines do to a cluster, and that it converges by itself."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.engine import docker, ensure_image, leftovers
from tests.support.knarr_cluster import KnarrCluster, container_id

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

ETCD_AWAY_SECONDS = 10.0


MEMORY_POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "memory", "labels": {"app": "memory"}},
    "spec": {
        "containers": [{"name": "web", "image": "hello:1", "volumeMounts": [{"name": "fast", "mountPath": "/fast"}]}],
        "volumes": [{"name": "fast", "emptyDir": {"medium": "Memory"}}],
    },
}


def waiting_reason(cluster: KnarrCluster, pod: str) -> str:
    statuses = cluster.get("pod", pod)["status"].get("containerStatuses", [])
    return str(statuses[0]["state"].get("waiting", {}).get("reason", "")) if statuses else ""


def test_an_image_that_does_not_exist(cluster: KnarrCluster) -> None:
    cluster.kubectl("run", "lost", "--image=registry.invalid/none:1")
    cluster.wait_for("ErrImagePull or ImagePullBackOff", lambda: waiting_reason(cluster, "lost") in ("ErrImagePull", "ImagePullBackOff"))
    cluster.wait_for("ImagePullBackOff", lambda: waiting_reason(cluster, "lost") == "ImagePullBackOff")
    events = cluster.kubectl("get", "events", "--field-selector", "involvedObject.name=lost").stdout
    assert "Failed to pull image" in events
    assert "registry.invalid" in events
    cluster.kubectl("delete", "pod", "lost")


def test_a_container_that_exits_at_once(cluster: KnarrCluster) -> None:
    cluster.kubectl("run", "flash", "--image=hello:1", "--command", "--", "sh", "-c", "echo last words; exit 7")
    cluster.wait_for("CrashLoopBackOff", lambda: waiting_reason(cluster, "flash") == "CrashLoopBackOff")
    status = cluster.get("pod", "flash")["status"]["containerStatuses"][0]
    assert status["lastState"]["terminated"]["exitCode"] == 7
    assert "BackOff" in cluster.kubectl("get", "events", "--field-selector", "involvedObject.name=flash").stdout
    assert "last words" in cluster.kubectl("logs", "flash", "--previous").stdout
    cluster.kubectl("delete", "pod", "flash")


@pytest.fixture
def own(tmp_path: Path) -> Iterator[KnarrCluster]:
    """A cluster that the test may break; whatever is left of it afterwards is a failure."""
    ensure_image()
    made = KnarrCluster(tmp_path / "k")
    made.up()
    cluster_id = (made.data_dir / "cluster-id").read_text()
    try:
        yield made
    finally:
        made.down()
    assert leftovers(cluster_id, made.data_dir) == []


def deploy(cluster: KnarrCluster, replicas: int = 3) -> list[dict[str, Any]]:
    cluster.kubectl("create", "deployment", "web", "--image=hello:1", f"--replicas={replicas}")
    return cluster.wait_for(f"{replicas} ready pods", lambda: found if len(found := cluster.ready_pods("app=web")) == replicas else None)


def containers_of(pods: list[dict[str, Any]]) -> set[str]:
    return {container_id(pod) for pod in pods}


def test_a_killed_cluster_adopts_its_pods_and_loses_nothing(own: KnarrCluster) -> None:
    before = containers_of(deploy(own))
    own.kubectl("create", "configmap", "kept", "--from-literal=a=b")
    os.kill(own.pid, signal.SIGKILL)
    own.up()
    own.wait_for("three ready pods", lambda: len(own.ready_pods("app=web")) == 3)
    after = own.ready_pods("app=web")
    assert containers_of(after) == before
    assert [pod["status"]["containerStatuses"][0]["restartCount"] for pod in after] == [0, 0, 0]
    assert own.get("configmap", "kept")["data"] == {"a": "b"}


def test_down_and_up_bring_the_same_cluster_back(own: KnarrCluster) -> None:
    deploy(own, 2)
    assert leftovers((own.data_dir / "cluster-id").read_text(), own.data_dir), "the check itself must see a running cluster"
    own.apply(MEMORY_POD)
    own.wait_for("a pod with a memory volume", lambda: own.ready_pods("app=memory"))
    uids = {pod["metadata"]["uid"] for pod in own.pods("app=web")}
    address = own.get("service", "kubernetes")["spec"]["clusterIP"]
    own.down()
    assert leftovers((own.data_dir / "cluster-id").read_text(), own.data_dir) == []
    own.up()
    own.wait_for("two ready pods", lambda: len(own.ready_pods("app=web")) == 2)
    assert {pod["metadata"]["uid"] for pod in own.pods("app=web")} == uids
    assert own.get("service", "kubernetes")["spec"]["clusterIP"] == address


def test_a_container_killed_while_nobody_looks_is_replaced_at_the_start(own: KnarrCluster) -> None:
    (pod,) = deploy(own, 1)
    os.kill(own.pid, signal.SIGKILL)
    docker("kill", container_id(pod))
    own.up()

    def replaced() -> bool:
        (now,) = own.pods("app=web")
        status = now["status"]["containerStatuses"][0]
        return bool(status["restartCount"] == 1 and status["ready"])

    own.wait_for("the container to be replaced", replaced)


def etcd_pid(cluster: KnarrCluster) -> int:
    children = Path(f"/proc/{cluster.pid}/task/{cluster.pid}/children").read_text().split()
    return next(int(child) for child in children if Path(f"/proc/{child}/comm").read_text().strip() == "etcd")


def test_etcd_away_for_ten_seconds(own: KnarrCluster) -> None:
    before = containers_of(deploy(own))
    pid = etcd_pid(own)
    os.kill(pid, signal.SIGSTOP)
    stopped = time.monotonic()
    refused = own.kubectl("create", "configmap", "later", "--from-literal=a=b", "--request-timeout=8s", check=False)
    assert refused.returncode == 1
    assert "etcd" in refused.stderr
    own.wait_for("ten seconds without etcd", lambda: time.monotonic() - stopped > ETCD_AWAY_SECONDS)
    os.kill(pid, signal.SIGCONT)
    os.kill(pid, signal.SIGKILL)
    own.wait_for("a new etcd", lambda: own.kubectl("create", "configmap", "after", "--from-literal=a=b", check=False).returncode == 0)
    own.kubectl("scale", "deployment/web", "--replicas=4")
    own.wait_for("four ready pods", lambda: len(own.ready_pods("app=web")) == 4)
    assert before <= containers_of(own.ready_pods("app=web"))


def test_up_twice_and_down_twice_say_so(own: KnarrCluster) -> None:
    assert "runs already" in own.up()
    own.down()
    assert "no cluster process was running" in own.down()

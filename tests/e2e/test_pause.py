"""`knarr pause` and `resume` with containers of an engine: nothing of a cluster moves, and all goes on where it was."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from services.kubelet.runtime.groups import MOUNTS
from services.kubelet.runtime.labels import CLUSTER
from tests.support.engine import docker, ensure_image, leftovers
from tests.support.knarr_cluster import KnarrCluster, container_id

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

# Longer than each of its probes may take.
PAUSE_SECONDS = 4.0
# Its probes take a good part of their period, so that a pause falls into one.
COUNTER: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "counter"},
    "spec": {
        "terminationGracePeriodSeconds": 1,
        "containers": [
            {
                "name": "counter",
                "image": "hello:1",
                "command": ["sh", "-c", "n=0; while true; do n=$((n+1)); echo $n; sleep 0.1; done"],
                "livenessProbe": {
                    "exec": {"command": ["sleep", "0.7"]},
                    "periodSeconds": 1,
                    "timeoutSeconds": 2,
                    "failureThreshold": 1,
                },
            },
            {"name": "other", "image": "hello:1", "command": ["sh", "-c", "trap exit TERM; while true; do sleep 1; done"]},
        ],
    },
}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KnarrCluster]:
    ensure_image()
    made = KnarrCluster(tmp_path_factory.mktemp("pause") / "k")
    made.up()
    cluster_id = (made.data_dir / "cluster-id").read_text()
    made.apply(COUNTER)
    made.kubectl("create", "deployment", "web", "--image=hello:1", "--replicas=2")
    made.kubectl("expose", "deployment", "web", "--port=80", "--target-port=8080")
    made.wait_for("the counter", lambda: made.kubectl("get", "pod", "counter", "-o", "jsonpath={.status.phase}").stdout == "Running")
    made.wait_for("two replicas", lambda: len(made.ready_pods("app=web")) == 2)
    try:
        yield made
    finally:
        # One that was left paused goes down as well.
        made.down()
    assert leftovers(cluster_id, made.data_dir) == []


def turn(cluster: KnarrCluster, command: str) -> str:
    return cluster.knarr(command, "--data-dir", str(cluster.data_dir)).stdout


def frozen(cluster: KnarrCluster) -> list[bool]:
    """Of each of the cluster's containers that run, sandboxes included."""
    own = (cluster.data_dir / "cluster-id").read_text()
    listed = docker("ps", "--quiet", "--filter", f"label={CLUSTER}={own}").split()
    return [stands(int(pid)) for pid in docker("inspect", "--format", "{{.State.Pid}}", *listed).split()] if listed else []


def stands(pid: int) -> bool:
    """By the control group that the process is in."""
    groups: dict[str, str] = dict(line.split(":", 2)[1:] for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines())
    if "freezer" in groups:
        return (MOUNTS / "freezer" / groups["freezer"].lstrip("/") / "freezer.state").read_text().strip() == "FROZEN"
    return "frozen 1" in (MOUNTS / groups[""].lstrip("/") / "cgroup.events").read_text()


def count(cluster: KnarrCluster) -> int:
    """How far the counter is, by its log as the engine has it."""
    pod = cluster.get("pod", "counter")
    return int(docker("logs", "--tail=1", container_id(pod)))


def test_containers_are_frozen_and_go_on_where_they_were(cluster: KnarrCluster) -> None:
    before = cluster.get("pod", "counter")
    counter = container_id(before)
    for _ in range(3):
        told = turn(cluster, "pause")
        assert told.startswith("frozen: the cluster's process, etcd, ") and "containers" in told
        assert set(frozen(cluster)) == {True} and f" {len(frozen(cluster))} containers" in told
        at = int(docker("logs", "--tail=1", counter))
        began = time.monotonic()
        assert "is paused" in cluster.knarr("status", "--data-dir", str(cluster.data_dir), check=False).stdout
        # What is frozen can only be waited for.
        time.sleep(max(PAUSE_SECONDS - (time.monotonic() - began), 0))
        assert int(docker("logs", "--tail=1", counter)) == at
        turn(cluster, "resume")
        assert set(frozen(cluster)) == {False}
        cluster.wait_for("it counts on", lambda at=at: count(cluster) > at)  # type: ignore[misc]
        lines = docker("logs", counter).split()
        assert lines == [str(number) for number in range(1, len(lines) + 1)], "it was the same process all the time"
    after = cluster.get("pod", "counter")
    assert [found["restartCount"] for found in after["status"]["containerStatuses"]] == [0, 0]
    assert container_id(after) == counter and after["metadata"]["uid"] == before["metadata"]["uid"]
    events = cluster.kubectl("get", "events", "--field-selector", "involvedObject.name=counter").stdout
    assert "Unhealthy" not in events and "Killing" not in events


def test_afterwards_everything_works(cluster: KnarrCluster) -> None:
    turn(cluster, "pause")
    turn(cluster, "pause")
    turn(cluster, "resume")
    turn(cluster, "resume")
    assert cluster.kubectl("exec", "counter", "-c", "other", "--", "hostname").stdout == "counter\n"
    cluster.kubectl("scale", "deployment", "web", "--replicas=3")
    cluster.wait_for("a third replica", lambda: len(cluster.ready_pods("app=web")) == 3)
    address = cluster.get("service", "web")["spec"]["clusterIP"]
    asks = f"printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc {address} 80"
    assert "hello from web-" in cluster.kubectl("exec", "counter", "-c", "other", "--", "sh", "-c", asks).stdout


def test_a_pod_that_was_being_made_is_made_after_the_pause(cluster: KnarrCluster) -> None:
    """The pause comes at any moment of a start: sandbox, network, containers."""
    for number in range(3):
        cluster.kubectl("run", f"late-{number}", "--image=hello:1", "--restart=Never", "--command", "--", "sleep", "1000")
        turn(cluster, "pause")
        assert set(frozen(cluster)) == {True}
        turn(cluster, "resume")
        phase = ("get", "pod", f"late-{number}", "-o", "jsonpath={.status.phase}")
        cluster.wait_for("it runs", lambda phase=phase: cluster.kubectl(*phase).stdout == "Running")  # type: ignore[misc]
    cluster.kubectl("delete", "pod", *(f"late-{number}" for number in range(3)), "--grace-period=0", "--force")


def test_a_paused_cluster_goes_down_with_its_containers(cluster: KnarrCluster) -> None:
    turn(cluster, "pause")
    assert set(frozen(cluster)) == {True}
    assert "the cluster's process has stopped" in cluster.down()
    assert frozen(cluster) == []
    # … and up again, as it was.
    cluster.up()
    cluster.wait_for("three replicas", lambda: len(cluster.ready_pods("app=web")) == 3)


def test_who_is_killed_while_it_is_paused_comes_back_with_its_containers(cluster: KnarrCluster) -> None:
    turn(cluster, "pause")
    os.kill(cluster.pid, signal.SIGKILL)
    cluster.up()
    assert set(frozen(cluster)) == {False}
    cluster.wait_for("three replicas", lambda: len(cluster.ready_pods("app=web")) == 3)
    turn(cluster, "pause")
    os.kill(cluster.pid, signal.SIGKILL)
    cluster.down()
    assert frozen(cluster) == []

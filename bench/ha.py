"""How long the control plane is without a leader after the leader died, at default lease settings."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench.result import Result
from knarr.client.leader import LeaseSettings
from tests.support.components import NODE, Components

RUNS = 3
TARGET_SECONDS, STOP_TARGET_SECONDS = 15.0, 3.0
TIMEOUT_SECONDS = 60.0
POLL_SECONDS = 0.02
LEASE = "knarr-scheduler"


class DefaultLeases(Components):
    """Components as processes, with the lease settings that they have by themselves."""

    def options(self, name: str) -> list[str]:
        kept = [option for option in super().options(name) if not option.startswith("--leader-elect")]
        return [*kept, "--leader-elect"] if name.startswith("scheduler") else kept


def pod(name: str) -> dict[str, object]:
    container = {"name": "app", "image": "hello:1"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"containers": [container]}}


def bound(cluster: Components, name: str) -> bool:
    found = cluster.kubectl("get", "pod", name, "-o", "jsonpath={.spec.nodeName}", check=False)
    return found.stdout == NODE


def wait_for(what: str, condition: Callable[[], object]) -> float:
    """The time.monotonic() at which a condition was first seen true."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"waited {TIMEOUT_SECONDS:.0f} s in vain for {what}")
        time.sleep(POLL_SECONDS)
    return time.monotonic()


def fail_over(cluster: Components, number: int, end: Callable[[str], object]) -> float:
    """Seconds from the leader's end to the binding of a pod that is made right after it."""
    candidates = [name for name in cluster.processes if name.startswith("scheduler")]
    # Only the leader has a queue to show.
    leader = next(name for name in candidates if cluster.call(name, "knarr.api.scheduler.v1.SchedulerService/GetQueue") is not None)
    ended = time.monotonic()
    end(leader)
    cluster.apply(pod(f"pod-{number}"))
    seconds = wait_for("the pod's node", lambda: bound(cluster, f"pod-{number}")) - ended
    cluster.start(leader)
    wait_for("the candidate's return", lambda: cluster.healthy(leader))
    return seconds


def measure() -> tuple[list[float], list[float]]:
    """Seconds after a crash, and after an orderly stop."""
    with tempfile.TemporaryDirectory(prefix="knarr-bench-") as folder:
        cluster = DefaultLeases(Path(folder))
        try:
            cluster.etcd.start()
            cluster.start("apiserver", "controller", "scheduler", "scheduler-2", "kubelet")
            wait_for("a node and a leader", lambda: cluster.healthy("apiserver") and cluster.holder(LEASE) and _node_ready(cluster))
            wait_for("both candidates", lambda: cluster.healthy("scheduler") and cluster.healthy("scheduler-2"))
            crashes = [fail_over(cluster, number, cluster.kill) for number in range(RUNS)]
            stops = [fail_over(cluster, RUNS + number, cluster.terminate) for number in range(RUNS)]
            return crashes, stops
        finally:
            cluster.stop()


def _node_ready(cluster: Components) -> bool:
    path = 'jsonpath={.status.conditions[?(@.type=="Ready")].status}'
    return cluster.kubectl("get", "node", NODE, "-o", path, check=False).stdout == "True"


async def leader_failover() -> list[Result]:
    """A scheduler's leader, by kubectl and two processes; the peer is the time for which Kubernetes leaves a silent leader its lease."""
    crashes, stops = await asyncio.to_thread(measure)
    crash, stop = statistics.median(crashes), statistics.median(stops)
    peer, lease_seconds = "Kubernetes' lease duration", LeaseSettings().duration_seconds
    return [
        Result("failover-crash", crash, "s", peer, lease_seconds, f"at most {TARGET_SECONDS:.0f} s", crash <= TARGET_SECONDS),
        Result("failover-stop", stop, "s", peer, lease_seconds, f"at most {STOP_TARGET_SECONDS:.0f} s", stop <= STOP_TARGET_SECONDS),
    ]

"""A node that runs short: what it tells, whom it ends and whom it takes, on a hollow runtime with what is left as the test says."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.objects.conditions import get_condition
from services.kubelet.eviction import keeper, local_storage
from services.kubelet.eviction.signals import GivenSignals, disk_signals, machine_signals
from services.kubelet.eviction.usage import Observation
from services.kubelet.node.machine import Machine, Pressure, read_huge_pages
from services.kubelet.node.resources import resources
from services.kubelet.pod.admission import pressed
from services.kubelet.runtime.hollow import HollowRuntime
from services.kubelet.runtime.usage import Storage, Usage
from services.kubelet.thresholds import parse_amounts, thresholds_of
from tests.kubelet.support import NODE, Cluster, FiledRuntime, condition, make_pod, running, settings

CIDR = "10.244.0.0/24"
MI = 1 << 20


class MeasuredRuntime(HollowRuntime):
    """One whose containers use memory as the test says, by the pod's name."""

    def __init__(self, cidr: str, **memory: int) -> None:
        super().__init__(cidr)
        self.memory = memory

    async def usage(self) -> list[Usage]:
        pods = [found.ref for found in self.observed().values()]
        return [Usage(ref, "app", 0, self.memory.get(ref.name, 0)) for ref in pods]


def given(cluster: Cluster) -> GivenSignals:
    found = cluster.kubelet.signals
    assert isinstance(found, GivenSignals)
    return found


def node(cluster: Cluster) -> core.Node:
    return next(found for found in cluster.api.all(core.Node) if found.metadata.name == NODE)


async def test_a_node_short_of_memory_ends_the_greediest_and_takes_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "PERIOD_SECONDS", 0.02)
    runtime = MeasuredRuntime(CIDR, modest=10 * MI, greedy=500 * MI)
    async with running(runtime, tmp_path) as cluster:
        for name in ("modest", "greedy"):
            await cluster.client.create(make_pod(name))
            await cluster.ready(name)

        async def read() -> dict[str, Observation]:
            greedy = cluster.observed("greedy")
            return {"memory.available": Observation((50 if greedy is not None and greedy.containers else 500) * MI, 1024 * MI)}

        # There is memory again from the moment that the greedy one is gone: another look meanwhile would end the other pod, too.
        monkeypatch.setattr(given(cluster), "read", read)
        evicted = await cluster.phase("Failed", "greedy")
        message = (
            "The node was low on resource: memory. Threshold quantity: 100Mi, available: 50Mi. "
            "Container app was using 500Mi, request is 0, has larger consumption of memory. "
        )
        assert (evicted.status.reason, evicted.status.message) == ("Evicted", message)
        disrupted = get_condition(evicted.status, "DisruptionTarget")
        assert disrupted is not None
        assert (disrupted.status, disrupted.reason, disrupted.message) == ("True", "TerminationByKubelet", message)
        await cluster.until(lambda: cluster.events("Evicted") == [message])
        await cluster.until(lambda: cluster.events("EvictionThresholdMet")[:1] == ["Attempting to reclaim memory"])
        await cluster.until(lambda: cluster.observed("greedy") is None)
        final = cluster.pod("greedy")
        assert final is not None
        assert final.status.container_statuses[0].state.HasField("terminated"), "how it ended is known when nothing is left of it"
        await cluster.until(lambda: condition(node(cluster), "MemoryPressure") == "True")
        await cluster.until(
            lambda: cluster.events("NodeHasInsufficientMemory") == [f"Node {NODE} status is now: NodeHasInsufficientMemory"]
        )
        assert condition(cluster.pod("modest"), "Ready") == "True"
        await cluster.client.create(make_pod("late"))
        late = await cluster.phase("Failed", "late")
        words = "Pod was rejected: The node had condition: [MemoryPressure]. "
        assert (late.status.reason, late.status.message) == ("Evicted", words)
        asking = make_pod("asking")
        asking.spec.containers[0].resources.requests["cpu"].string = "10m"
        await cluster.client.create(asking)
        await cluster.ready("asking")


async def test_a_kubelet_that_comes_anew_keeps_nothing_of_an_evicted_pod(tmp_path: Path) -> None:
    pod = make_pod()
    runtime = HollowRuntime(CIDR)
    async with running(runtime, tmp_path) as cluster:
        await cluster.client.create(pod)
        found = await cluster.ready()
        api = cluster.api
    found.status.phase, found.status.reason, found.status.message = "Failed", "Evicted", "The node was low on resource: memory. "
    await api.client().update(found, subresource="status")
    async with running(runtime, tmp_path, api) as cluster:
        await cluster.until(lambda: cluster.observed() is None)
        assert (await cluster.phase("Failed")).status.reason == "Evicted"


async def test_what_has_ended_is_given_up_before_anybody_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "PERIOD_SECONDS", 0.02)
    runtime = HollowRuntime(CIDR)
    async with running(runtime, tmp_path) as cluster:
        await cluster.client.create(make_pod("serving"))
        await cluster.client.create(make_pod("done", restart_policy="Never"))
        await cluster.ready("done")
        await cluster.ready("serving")
        done = cluster.observed("done")
        assert done is not None
        runtime.exit(done.ref.uid, "app", 0)
        await cluster.phase("Succeeded", "done")
        signals = given(cluster)

        async def read() -> dict[str, Observation]:
            return {"nodefs.available": Observation(5 if cluster.observed("done") else 50, 100)}

        monkeypatch.setattr(signals, "read", read)
        await cluster.until(lambda: cluster.observed("done") is None)
        await cluster.until(lambda: condition(node(cluster), "DiskPressure") == "True")
        assert condition(cluster.pod("serving"), "Ready") == "True"
        left = cluster.pod("done")
        assert left is not None
        assert (left.status.phase, left.status.container_statuses[0].state.terminated.reason) == ("Succeeded", "Completed")
        assert not cluster.events("Evicted")


class StoredRuntime(FiledRuntime):
    """One whose containers have written what lies in the folder ``layer``."""

    layer: Path = Path("/nonexistent")

    async def storage(self, uids: Collection[str]) -> list[Storage]:
        return [
            Storage(self.observed()[uid].ref, "app", str(self.layer), str(self.layer / "logs")) for uid in uids if uid in self.observed()
        ]


@pytest.mark.parametrize(
    ("limits", "written", "message"),
    [
        (["1Mi", ""], ["layer/a"], "Pod ephemeral local storage usage exceeds the total limit of containers 1Mi. "),
        (["1Mi", "10Mi"], ["layer/a"], 'Container app exceeded its local ephemeral storage limit "1Mi". '),
        (["1Mi", "1Mi"], ["layer/a"], "Pod ephemeral local storage usage exceeds the total limit of containers 2Mi. "),
        (["1Mi", ""], ["volume/a"], "Pod ephemeral local storage usage exceeds the total limit of containers 1Mi. "),
    ],
    ids=["the only limit", "one of two", "both together", "a volume"],
)
async def test_a_pod_that_writes_more_than_it_may_is_ended(
    limits: list[str], written: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_storage, "PERIOD_SECONDS", 0.02)
    pod = make_pod("web", "app", "beside")
    for spec, limit in zip(pod.spec.containers, limits, strict=True):
        if limit:
            spec.resources.limits["ephemeral-storage"].string = limit
    pod.spec.volumes.add(name="data").volume_source.empty_dir.SetInParent()
    runtime = StoredRuntime(CIDR)
    runtime.layer = tmp_path / "layer"
    runtime.layer.mkdir()
    async with running(runtime, tmp_path / "kubelet") as cluster:
        await cluster.client.create(pod)
        uid = (await cluster.ready()).metadata.uid
        volume = cluster.kubelet.manager.workers[uid].volume_path("data")
        for place in written:
            folder = volume if place.startswith("volume") else runtime.layer
            # Over one limit, and over two of them where both are 1Mi.
            (folder / "a").write_bytes(b"x" * 3 * MI if limits != ["1Mi", "10Mi"] else b"x" * 2 * MI)
        evicted = await cluster.phase("Failed")
        assert (evicted.status.reason, evicted.status.message) == ("Evicted", message)
        await cluster.until(lambda: not volume.exists())


def tolerating(pod: core.Pod, key: str) -> core.Pod:
    pod.spec.tolerations.add(key=key, operator="Exists", effect="NoSchedule")
    return pod


def asking(pod: core.Pod) -> core.Pod:
    pod.spec.containers[0].resources.requests["cpu"].string = "1m"
    return pod


@pytest.mark.parametrize(
    ("pod", "pressure", "told"),
    [
        (make_pod(), Pressure(), ""),
        (make_pod(), Pressure(memory=True), "[MemoryPressure]"),
        (asking(make_pod()), Pressure(memory=True), ""),
        (tolerating(make_pod(), "node.kubernetes.io/memory-pressure"), Pressure(memory=True), ""),
        (tolerating(make_pod(), "node.kubernetes.io/disk-pressure"), Pressure(disk=True), "[DiskPressure]"),
        (asking(make_pod()), Pressure(memory=True, disk=True), "[MemoryPressure DiskPressure]"),
        (asking(make_pod()), Pressure(pids=True), "[PIDPressure]"),
        (make_pod(priority=2_000_000_000), Pressure(memory=True, disk=True, pids=True), ""),
    ],
)
def test_whom_a_node_that_is_short_takes(pod: core.Pod, pressure: Pressure, told: str) -> None:
    refused = pressed(pod, pressure)
    assert (refused.message if refused is not None else "") == (f"The node had condition: {told}. " if told else "")


def test_what_is_left_for_pods(tmp_path: Path) -> None:
    machine = Machine(4, 8 << 30, 100 << 30, "", "", "amd64", "", "", "", {2 << 20: 512, 1 << 30: 0})
    changes: dict[str, Any] = {
        "kube_reserved": {"cpu": 500, "memory": 1 << 30, "ephemeral-storage": 1 << 30},
        "system_reserved": {"cpu": 250},
        "thresholds": thresholds_of(parse_amounts("memory.available<1Gi,nodefs.available<10%", "<", zero=False), {}, {}, {}),
    }
    found = resources(settings(tmp_path, **changes), machine)
    assert {name: left for name, (_, left) in found.items()} == {
        "cpu": "3250m",
        "memory": f"{5 << 20}Ki",
        "ephemeral-storage": str(89 << 30),
        "pods": "110",
        "hugepages-2Mi": "1Gi",
        "hugepages-1Gi": "0",
    }
    assert found["memory"][0] == f"{8 << 20}Ki"
    none = resources(settings(tmp_path, kube_reserved={"cpu": 1 << 40, "memory": 1 << 60}), machine)
    assert (none["cpu"][1], none["memory"][1]) == ("0", "0Ki"), "more than there is cannot be kept"


def test_the_machine_is_read(tmp_path: Path) -> None:
    for name, text in {
        "meminfo": "MemTotal: 2000 kB\nMemAvailable: 500 kB\n",
        "loadavg": "0.1 0.2 0.3 1/250 4711\n",
        "sys/kernel/pid_max": "4096\n",
        "sys/kernel/threads-max": "1000\n",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert machine_signals(tmp_path) == {"memory.available": Observation(512_000, 2_048_000), "pid.available": Observation(750, 1000)}
    disks, apart = disk_signals(tmp_path / "not" / "yet", tmp_path)
    assert not apart
    assert disks["nodefs.available"] == disks["imagefs.available"]
    assert 0 < disks["nodefs.inodesFree"].available <= disks["nodefs.inodesFree"].capacity
    assert disk_signals(tmp_path, tmp_path / "elsewhere")[0].keys() == {"nodefs.available", "nodefs.inodesFree"}
    (tmp_path / "hugepages-2048kB").mkdir()
    (tmp_path / "hugepages-2048kB" / "nr_hugepages").write_text("3\n")
    assert read_huge_pages(tmp_path) == {2 << 20: 3}

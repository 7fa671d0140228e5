"""A pod whose resources change while it runs: granted or not, told to its engine, and told to the API."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery import codec
from knarr.machinery.errors import StatusError
from knarr.objects.conditions import get_condition
from services.apiserver.admission.catalog import PLUGINS
from services.apiserver.admission.pod_resize_validator.plugin import PodResizeValidator
from services.kubelet.cgroups.values import of_pod
from services.kubelet.pod.actions import HoldPod, ResizeContainer
from services.kubelet.pod.decide import decide
from services.kubelet.pod.facts import PodFacts
from services.kubelet.pod.resources import resource_limits, told_resources
from services.kubelet.pod.spec import container_hash
from services.kubelet.runtime.hollow import HollowRuntime
from services.kubelet.runtime.plan import Limits, PodRef
from services.kubelet.runtime.port import RUNNING, Container, PodObservation, Sandbox
from tests.kubelet.support import Cluster, make_pod, running, until
from tests.support.api import FaultyApi

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def resources(cpu: str = "", memory: str = "", *, most_cpu: str = "", most_memory: str = "") -> core.ResourceRequirements:
    found = core.ResourceRequirements()
    for kind, name, text in (
        ("requests", "cpu", cpu),
        ("requests", "memory", memory),
        ("limits", "cpu", most_cpu),
        ("limits", "memory", most_memory),
    ):
        if text:
            getattr(found, kind)[name].string = text
    return found


def test_what_a_container_is_granted_is_what_its_engine_is_told() -> None:
    granted = resources("100m", "64Mi", most_cpu="500m", most_memory="128Mi")
    assert resource_limits(granted) == Limits(102, 50_000, 128 << 20)
    assert told_resources(granted, None) == told_resources(granted, Limits(102, 50_000, 128 << 20, 900)) == granted


def test_a_limit_of_no_cpu_is_no_limit_and_no_weight_is_more_than_the_kernel_takes() -> None:
    granted = core.ResourceRequirements()
    granted.limits["cpu"].string, granted.requests["cpu"].string = "0", "1000"
    assert resource_limits(granted) == Limits(cpu_shares=262_144)


def test_what_it_still_has_is_told_until_it_has_the_other() -> None:
    granted = resources("1", "64Mi", most_cpu="2", most_memory="256Mi")
    told = told_resources(granted, Limits(512, 50_000, 128 << 20))
    assert codec.to_dict(told) == {"requests": {"cpu": "500m", "memory": "64Mi"}, "limits": {"cpu": "500m", "memory": "128Mi"}}
    assert codec.to_dict(told_resources(granted, Limits(1024, 0, 0))) == {"requests": {"cpu": "1", "memory": "64Mi"}}


def asking(name: str = "web", cpu: str = "100m", policy: str = "") -> core.Pod:
    pod = make_pod(name)
    pod.spec.containers[0].resources.CopyFrom(resources(cpu, "64Mi", most_cpu="4", most_memory="128Mi"))
    if policy:
        pod.spec.containers[0].resize_policy.add(resource_name="memory", restart_policy=policy)
    return pod


@asynccontextmanager
async def node(tmp_path: Path, api: FaultyApi | None = None) -> AsyncIterator[tuple[Cluster, HollowRuntime]]:
    runtime = HollowRuntime("10.244.0.0/24")
    async with running(runtime, tmp_path, api) as cluster:
        yield cluster, runtime


async def resize(cluster: Cluster, name: str = "web", **amounts: Any) -> None:
    patch = {"spec": {"containers": [{"name": "app", "resources": amounts}]}}
    await cluster.client.patch(core.Pod, name, "default", patch=patch, patch_type="strategic", subresource="resize")


def limits(cluster: Cluster, runtime: HollowRuntime, name: str = "web") -> Limits | None:
    pod = cluster.pod(name)
    observation = None if pod is None else runtime.observe(pod.metadata.uid)
    container = None if observation is None else observation.latest("app")
    return None if container is None else container.limits


def status(cluster: Cluster, name: str = "web") -> core.ContainerStatus:
    pod = cluster.pod(name)
    return pod.status.container_statuses[0] if pod is not None and pod.status.container_statuses else core.ContainerStatus()


def pending(cluster: Cluster, name: str = "web") -> tuple[str, str] | None:
    pod = cluster.pod(name)
    found = None if pod is None else get_condition(pod.status, "PodResizePending")
    return None if found is None else (found.reason, found.message)


def in_progress(cluster: Cluster) -> Any:
    pod = cluster.pod("web")
    return None if pod is None else get_condition(pod.status, "PodResizeInProgress")


def told(cluster: Cluster) -> list[str]:
    return [event.reason for event in cluster.api.all(core.Event) if event.reason.startswith("Resize")]


async def test_a_running_container_gets_what_is_asked_for_without_a_restart(tmp_path: Path) -> None:
    async with node(tmp_path) as (cluster, runtime):
        await cluster.client.create(asking())
        await cluster.ready()
        assert status(cluster).allocated_resources["cpu"].string == "100m"
        assert status(cluster).resources == asking().spec.containers[0].resources
        await resize(cluster, requests={"cpu": "200m"}, limits={"memory": "256Mi"})
        await until(lambda: status(cluster).resources.limits["memory"].string == "256Mi")
        found = limits(cluster, runtime)
        assert found is not None and (found.cpu_shares, found.memory_bytes) == (204, 256 << 20)
        assert (status(cluster).restart_count, status(cluster).allocated_resources["cpu"].string) == (0, "200m")
        await until(lambda: told(cluster) == ["ResizeStarted", "ResizeCompleted"] and in_progress(cluster) is None)
        pod = cluster.pod("web")
        assert pod is not None and pod.status.observed_generation == pod.metadata.generation == 2
        (started,) = [event.message for event in cluster.api.all(core.Event) if event.reason == "ResizeStarted"]
        head, _, said = started.partition(": ")
        assert head == "Pod resize started" and json.loads(said)["generation"] == 2
        assert json.loads(said)["containers"][0]["resources"]["requests"] == {"cpu": "200m", "memory": "64Mi"}


async def test_one_that_asks_for_it_is_started_anew(tmp_path: Path) -> None:
    async with node(tmp_path) as (cluster, runtime):
        await cluster.client.create(asking(policy="RestartContainer"))
        await cluster.ready()
        await resize(cluster, requests={"cpu": "200m"})
        await until(lambda: status(cluster).resources.requests["cpu"].string == "200m")
        assert status(cluster).restart_count == 0
        await resize(cluster, limits={"memory": "256Mi"})
        await until(lambda: status(cluster).state.HasField("running") and status(cluster).restart_count == 1, seconds=20)
        found = limits(cluster, runtime)
        assert found is not None and found.memory_bytes == 256 << 20
        assert any(event.message == "Container app resize requires restart" for event in cluster.api.all(core.Event))


def trusting() -> FaultyApi:
    """An API server that leaves it to the kubelet to say what could never be had, as older ones do."""
    return FaultyApi(plugins=[make for make in PLUGINS if make is not PodResizeValidator])


async def test_what_no_node_of_its_size_has_is_infeasible(tmp_path: Path) -> None:
    async with node(tmp_path, trusting()) as (cluster, runtime):
        await cluster.client.create(asking())
        await cluster.ready()
        before = limits(cluster, runtime)
        await resize(cluster, requests={"cpu": "1000"}, limits={"cpu": "1000"})
        await until(lambda: pending(cluster))
        found = pending(cluster)
        assert found is not None and found[0] == "Infeasible"
        assert found[1].startswith("Node didn't have enough capacity: cpu, requested: 1000000, capacity: ")
        assert limits(cluster, runtime) == before and status(cluster).resources.requests["cpu"].string == "100m"
        assert told(cluster) == ["ResizeInfeasible"]
        await resize(cluster, requests={"cpu": "100m"}, limits={"cpu": "4"})
        await until(lambda: pending(cluster) is None)


async def test_what_others_have_now_is_waited_for(tmp_path: Path) -> None:
    async with node(tmp_path) as (cluster, _):
        capacity = int(cluster.kubelet.context.node.allocatable["cpu"])
        most = str(capacity * 1000 - 300) + "m"
        greedy = asking("greedy", cpu="100m")
        await cluster.client.create(greedy)
        await cluster.client.create(asking())
        await cluster.ready("greedy")
        await cluster.ready()
        await resize(cluster, "greedy", requests={"cpu": most}, limits={"cpu": str(capacity)})
        await until(lambda: status(cluster, "greedy").resources.requests["cpu"].string == most)
        await resize(cluster, requests={"cpu": "500m"})
        await until(lambda: pending(cluster))
        found = pending(cluster)
        assert found is not None and found[0] == "Deferred" and "Node didn't have enough resource: cpu" in found[1]
        assert status(cluster).allocated_resources["cpu"].string == "100m"
        # A pod that is gone makes room.
        await cluster.client.delete(core.Pod, "greedy", "default", grace_period_seconds=0)
        await until(lambda: pending(cluster) is None and status(cluster).allocated_resources["cpu"].string == "500m")


async def test_what_the_engine_refuses_is_told_and_tried_again(tmp_path: Path) -> None:
    async with node(tmp_path) as (cluster, runtime):
        await cluster.client.create(asking())
        await cluster.ready()
        runtime.fail_update["app"] = "device or resource busy"
        await resize(cluster, limits={"memory": "96Mi"})
        await until(lambda: (found := in_progress(cluster)) is not None and found.reason)
        found = in_progress(cluster)
        assert (found.status, found.reason, found.message) == ("True", "Error", "device or resource busy")
        assert status(cluster).resources.limits["memory"].string == "128Mi"
        runtime.fail_update.clear()
        await resize(cluster, limits={"memory": "112Mi"})
        await until(lambda: in_progress(cluster) is None and status(cluster).resources.limits["memory"].string == "112Mi")


async def test_a_kubelet_that_comes_anew_knows_what_was_granted(tmp_path: Path) -> None:
    runtime = HollowRuntime("10.244.0.0/24")
    async with running(runtime, tmp_path, trusting()) as cluster:
        await cluster.client.create(asking())
        await cluster.ready()
        before = limits(cluster, runtime)
        await resize(cluster, requests={"cpu": "1000"}, limits={"cpu": "1000"})
        await until(lambda: pending(cluster))
    async with running(runtime, tmp_path, cluster.api) as again:
        await asyncio.sleep(0)
        await until(lambda: pending(again))
        assert limits(again, runtime) == before and status(again).allocated_resources["cpu"].string == "100m"
        await resize(again, requests={"cpu": "300m"}, limits={"cpu": "4"})
        await until(lambda: status(again).resources.requests["cpu"].string == "300m")


def whole(name: str = "web") -> core.Pod:
    """One that asks as a whole; its container has limits of CPU alone."""
    pod = make_pod(name)
    pod.spec.resources.CopyFrom(resources("1", "128Mi", most_cpu="2", most_memory="256Mi"))
    pod.spec.containers[0].resources.CopyFrom(resources("100m", most_cpu="500m"))
    return pod


async def test_a_pod_is_resized_as_a_whole(tmp_path: Path) -> None:
    async with node(tmp_path, trusting()) as (cluster, runtime):
        await cluster.client.create(whole())
        pod = await cluster.ready()
        assert codec.to_dict(pod.status.resources) == codec.to_dict(pod.spec.resources)
        assert {name: amount.string for name, amount in pod.status.allocated_resources.items()} == {"cpu": "1", "memory": "128Mi"}
        found = limits(cluster, runtime)
        assert found is not None and replace(found, oom_score_adj=0) == Limits(102, 50_000, 256 << 20), "its pod's limit where it has none"
        patch = {"spec": {"resources": {"requests": {"memory": "256Mi"}, "limits": {"memory": "512Mi"}}}}
        await cluster.client.patch(core.Pod, "web", "default", patch=patch, patch_type="strategic", subresource="resize")
        await cluster.until(lambda: (found := limits(cluster, runtime)) is not None and found.memory_bytes == 512 << 20)
        await cluster.until(lambda: (p := cluster.pod()) is not None and p.status.resources.limits["memory"].string == "512Mi")
        await cluster.until(lambda: len(cluster.events("ResizeCompleted")) == 1)
        told = json.loads(cluster.events("ResizeStarted")[0].partition(": ")[2])
        assert told["pod"] == {"resources": {"requests": {"cpu": "1", "memory": "256Mi"}, "limits": {"cpu": "2", "memory": "512Mi"}}}
        patch = {"spec": {"resources": {"requests": {"cpu": "1000"}, "limits": {"cpu": "1000"}}}}
        await cluster.client.patch(core.Pod, "web", "default", patch=patch, patch_type="strategic", subresource="resize")
        await cluster.until(lambda: (found := pending(cluster)) is not None and found[0] == "Infeasible")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"resources": {"requests": {"hugepages-2Mi": "2Mi"}, "limits": {"hugepages-2Mi": "2Mi"}}},
            "only cpu and memory resources are mutable",
        ),
        ({"resources": None}, "pod-level resources may not be added or removed on resize"),
        ({"resources": {"requests": {"cpu": "50m"}}}, "must be greater than or equal to aggregate container requests of 100m"),
        ({"resources": {"requests": {"cpu": "2", "memory": "256Mi"}}}, "Pod QOS Class may not change as a result of resizing"),
    ],
)
async def test_what_a_resize_of_the_whole_may_not(change: dict[str, Any], words: str) -> None:
    api = FaultyApi()
    client = api.client()
    await client.create(whole())
    with pytest.raises(StatusError) as refused:
        await client.patch(core.Pod, "web", "default", patch={"spec": change}, patch_type="strategic", subresource="resize")
    assert words in str(refused.value)


def at(facts: PodFacts, granted: core.Pod, running_with: Limits) -> list[object]:
    """What is decided of a pod that runs so."""
    ref = PodRef("default", "web", "u")
    container = Container("c1", "app", 0, RUNNING, spec_hash=container_hash(granted.spec.containers[0]), limits=running_with)
    observation = PodObservation(ref, (Sandbox("s", ref, 0, True, "10.0.0.1"),), (container,))
    facts.of("c1").started = True
    return list(decide(granted, observation, facts, NOW).actions)


def test_a_pod_gets_room_before_its_containers_and_gives_it_back_after_them() -> None:
    small, large = whole(), whole()
    large.spec.resources.limits["memory"].string = "512Mi"
    had, has = (resource_limits(pod.spec.containers[0].resources, pod.spec) for pod in (small, large))
    facts = PodFacts(NOW, volumes_ready=True, grouped=True, held=of_pod(small, swap_bytes=0))
    grown = at(facts, large, had)
    assert grown == [HoldPod(of_pod(large, swap_bytes=0))], "its container waits"
    facts.held = of_pod(large, swap_bytes=0)
    assert [type(action) for action in at(facts, large, had)] == [ResizeContainer]
    assert at(facts, large, has) == []
    assert [type(action) for action in at(facts, small, has)] == [ResizeContainer], "less: the container first"
    assert at(facts, small, had) == [HoldPod(of_pod(small, swap_bytes=0))]
    unknown = PodFacts(NOW, volumes_ready=True, grouped=True)
    assert at(unknown, small, had) == [HoldPod(of_pod(small, swap_bytes=0))], "a kubelet that comes anew holds it again"
    assert at(PodFacts(NOW, volumes_ready=True), small, had) == [], "where there are no groups nobody is held"

"""How much swap pods may use: Kubernetes' share, who has none, and what a machine cannot do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.service.errors import CommandError
from services.kubelet.cgroups.values import GroupLimits, of_pod, properties, v1_files, v2_files, widest
from services.kubelet.component import Kubelet
from services.kubelet.node.machine import read_machine
from services.kubelet.node_flags import node_settings_of
from services.kubelet.pod.admission import swap_refusal
from services.kubelet.pod.swap import NodeSwap, node_swap, swap_trouble
from services.kubelet.runtime.cri.configs import changed_resources, resources
from services.kubelet.runtime.docker.bodies import update_body
from services.kubelet.runtime.hollow import HollowRuntime
from services.kubelet.runtime.plan import Limits
from services.kubelet.swap_behavior import LIMITED_SWAP
from tests.kubelet.support import make_pod, running, settings
from tests.support.api import FaultyApi

GIB = 1 << 30
NODE = NodeSwap(limited=True, memory_bytes=40 * GIB, swap_bytes=2 * GIB)


def asking(memory: str = "", most: str = "", name: str = "app") -> core.Pod:
    pod = make_pod("web", name)
    for amounts, text in ((pod.spec.containers[0].resources.requests, memory), (pod.spec.containers[0].resources.limits, most)):
        if text:
            amounts["memory"].string = text
    return pod


@pytest.mark.parametrize(
    ("memory", "most", "expected"),
    [("2Gi", "4Gi", 107_374_182), ("2Gi", "", 107_374_182), ("2Gi", "2Gi", 0), ("", "", 0)],
    ids=["burstable", "without-a-limit", "all-that-it-asks-for", "asks-for-nothing"],
)
def test_a_container_has_the_share_that_it_asks_for_of_the_memory(memory: str, most: str, expected: int) -> None:
    pod = asking(memory, most)
    assert NODE.of(pod, pod.spec.containers[0]) == expected
    assert replace(NODE, limited=False).of(pod, pod.spec.containers[0]) == 0
    assert NodeSwap(limited=True).of(pod, pod.spec.containers[0]) == 0


def test_critical_and_guaranteed_pods_have_none() -> None:
    pod = asking("2Gi", "4Gi")
    pod.spec.priority = 2_000_000_000
    assert NODE.of_pod(pod) == 0
    guaranteed = asking("2Gi", "2Gi")
    guaranteed.spec.containers[0].resources.limits["cpu"].string = "1"
    assert NODE.of_pod(guaranteed) == 0


def test_a_pod_may_use_what_its_containers_may() -> None:
    pod = asking("2Gi", "4Gi")
    pod.spec.containers.add(name="other").resources.requests["memory"].string = "4Gi"
    pod.spec.init_containers.add(name="first").resources.requests["memory"].string = "2Gi"
    assert NODE.of_pod(pod) == 2 * 107_374_182 + 214_748_364


def test_groups_of_version_2_hold_swap_by_itself() -> None:
    limits = of_pod(asking("2Gi", "4Gi"), swap_bytes=5)
    assert ("swap", "memory.swap.max", "5") in v2_files(limits)
    assert ("swap", "memory.swap.max", "0") in v2_files(of_pod(asking(), swap_bytes=0)), "nobody who was given none"
    assert not [name for _, name, _ in v2_files(GroupLimits()) if "swap" in name], "classes of service and all pods together are not held"
    assert not [name for _, name, _ in v1_files(limits) if "sw" in name]
    assert "MemorySwapMax=5" in properties(limits, version=2) and not [text for text in properties(limits, version=1) if "Swap" in text]
    assert widest(limits, replace(limits, swap_bytes=7)).swap_bytes == 7


def test_engines_are_told_of_memory_and_swap_together() -> None:
    limits = Limits(memory_bytes=100, swap_bytes=10)
    assert (update_body(limits)["Memory"], update_body(limits)["MemorySwap"]) == (100, 110)
    made = changed_resources(limits)
    assert (made.memory_limit_in_bytes, made.memory_swap_limit_in_bytes, dict(made.unified)) == (100, 110, {})
    assert dict(resources(Limits(swap_bytes=10)).unified) == {"memory.swap.max": "10"}
    assert resources(Limits(memory_bytes=100)).memory_swap_limit_in_bytes == 100


def test_memory_is_not_resized_in_place_where_some_may_lie_in_swap() -> None:
    granted, asked = asking("2Gi", "4Gi"), asking("2Gi", "5Gi")
    found = swap_refusal(asked, granted, NODE)
    assert found is not None and (found.reason, found.message) == (
        "Infeasible",
        "In-place resize of containers with swap is not supported.",
    )
    assert swap_refusal(asked, granted, NodeSwap()) is None and swap_refusal(granted, granted, NODE) is None
    asked.spec.containers[0].resize_policy.add(resource_name="memory", restart_policy="RestartContainer")
    assert swap_refusal(asked, granted, NODE) is None


def test_what_a_machine_cannot_do_is_told(tmp_path: Path) -> None:
    machine = replace(read_machine(tmp_path), swap_bytes=GIB)
    limited = settings(tmp_path, swap_behavior=LIMITED_SWAP)
    assert "needs control groups of version 2" in swap_trouble(limited, machine, unified=False)
    assert swap_trouble(limited, machine, unified=True) == "" == swap_trouble(settings(tmp_path), machine, unified=False)
    failing = settings(tmp_path, fail_swap_on=True)
    assert "this machine has swap" in swap_trouble(failing, machine, unified=True)
    assert swap_trouble(failing, replace(machine, swap_bytes=0), unified=True) == ""
    assert node_swap(limited, machine) == NodeSwap(True, machine.memory_bytes, GIB)


async def test_a_kubelet_does_not_start_where_it_cannot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.kubelet.component.is_unified", lambda: False)
    monkeypatch.setattr(HollowRuntime, "uses_machine", True)
    with pytest.raises(CommandError, match="memory-swap-behavior LimitedSwap needs control groups of version 2"):
        await Kubelet(FaultyApi().client(), settings(tmp_path, swap_behavior=LIMITED_SWAP), HollowRuntime("10.244.0.0/24")).run()


async def test_a_container_is_made_with_its_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.kubelet.component.node_swap", lambda *_: NODE)
    runtime = HollowRuntime("10.244.0.0/24")
    async with running(runtime, tmp_path) as cluster:
        await cluster.client.create(asking("64Mi", "128Mi"))
        ready = await cluster.ready()
        container = runtime.observe(ready.metadata.uid).latest("app")  # type: ignore[union-attr]
        assert container.limits.swap_bytes == (64 << 20) * 2 // 40  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("", ("NoSwap", False)),
        ("--memory-swap-behavior LimitedSwap --fail-swap-on=false", ("LimitedSwap", False)),
        ("--fail-swap-on", ("NoSwap", True)),
    ],
)
def test_flags(flags: str, expected: tuple[str, bool]) -> None:
    made = node_settings_of(flags)
    assert (made["swap_behavior"], made["fail_swap_on"]) == expected
    with pytest.raises(ValueError, match="--fail-swap-on: 'perhaps' is neither true nor false"):
        node_settings_of("--fail-swap-on=perhaps")

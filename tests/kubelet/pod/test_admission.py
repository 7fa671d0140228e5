"""A pod bound by hand to a node that has no room for it fails; one that runs already is never asked again."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.client.clock import SYSTEM_CLOCK
from knarr.objects.amounts import Amounts
from services.kubelet.node.view import HostSecurity
from services.kubelet.pod import admission
from services.kubelet.pod.admission import Taken, refusal
from services.kubelet.pod.protection import check_unsafe_sysctls
from services.kubelet.runtime.hollow import HollowRuntime
from tests.kubelet.support import make_pod, running
from tests.support.api import FaultyApi

CIDR = "10.244.0.0/24"


def asking(name: str, **requests: str) -> core.Pod:
    pod = make_pod(name)
    for resource, amount in requests.items():
        pod.spec.containers[0].resources.requests[resource].string = amount
    return pod


@pytest.mark.parametrize(
    ("wanted", "taken", "reason"),
    [
        ({"cpu": "1500m"}, [], ""),
        ({"cpu": "2001m"}, [], "OutOfcpu"),
        ({"cpu": "1"}, [{"cpu": "1"}], ""),
        ({"cpu": "1"}, [{"cpu": "500m"}, {"cpu": "501m"}], "OutOfcpu"),
        ({"memory": "1Gi"}, [{"memory": "1Gi"}], "OutOfmemory"),
        ({}, [{"cpu": "5"}], ""),
        ({}, [{}, {}, {}], "OutOfpods"),
        ({"example.com/dongle": "1"}, [], ""),
    ],
)
def test_a_pod_is_taken_or_refused(wanted: dict[str, str], taken: list[dict[str, str]], reason: str) -> None:
    others = [asking(f"other-{number}", **requests) for number, requests in enumerate(taken)]
    found = refusal(asking("web", **wanted), map(Taken, others), {"cpu": "2", "memory": "1536Mi", "pods": "3"})
    assert (found.reason if found else "") == reason


def test_the_message_counts_in_whole_units() -> None:
    found = refusal(asking("web", cpu="1"), [Taken(asking("other", cpu="1500m"))], {"cpu": "2"})
    assert found is not None
    assert found.message == "Node didn't have enough resource: cpu, requested: 1000, used: 1500, capacity: 2000"


def exposing(name: str, port: int, protocol: str = "TCP", address: str = "") -> core.Pod:
    pod = make_pod(name)
    pod.spec.containers[0].ports.add(container_port=80, host_port=port, protocol=protocol, host_ip=address)
    return pod


@pytest.mark.parametrize(
    ("port", "protocol", "address", "refused"),
    [
        (8080, "TCP", "", True),
        (8080, "TCP", "127.0.0.1", True),
        (8080, "UDP", "", False),
        (8081, "TCP", "", False),
    ],
)
def test_a_host_port_is_had_once(port: int, protocol: str, address: str, refused: bool) -> None:
    found = refusal(exposing("web", port, protocol, address), [Taken(exposing("other", 8080))], {})
    words = "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports"
    assert ((found.reason, found.message) if found else None) == (("NodePorts", words) if refused else None)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("kernel.shm_rmid_forced", ""),
        ("net/ipv4/tcp_syncookies", ""),
        ("kernel.msgmax", 'forbidden sysctl: "kernel.msgmax" not allowlisted'),
        ("net.core.somaxconn", 'forbidden sysctl: "net.core.somaxconn" not allowlisted'),
    ],
)
def test_only_safe_sysctls_are_taken(name: str, message: str) -> None:
    pod = asking("web")
    pod.spec.security_context.sysctls.add(name=name, value="1")
    found = refusal(pod, [], {})
    assert ((found.reason, found.message) if found else ("", "")) == ("SysctlForbidden" if message else "", message)


@pytest.mark.parametrize(
    ("name", "shared", "message"),
    [
        ("net.core.somaxconn", "", ""),
        ("net/core/somaxconn", "", ""),
        ("kernel.msgmax", "", ""),
        ("kernel.sem", "", 'forbidden sysctl: "kernel.sem" not allowlisted'),
        ("net.core.somaxconn", "host_network", 'forbidden sysctl: "net.core.somaxconn" not allowed with host net enabled'),
        ("kernel.msgmax", "host_ipc", 'forbidden sysctl: "kernel.msgmax" not allowed with host ipc enabled'),
    ],
)
def test_a_node_may_allow_more_sysctls(name: str, shared: str, message: str) -> None:
    pod = asking("web")
    pod.spec.security_context.sysctls.add(name=name, value="1")
    if shared:
        setattr(pod.spec, shared, True)
    found = refusal(pod, [], {}, HostSecurity(unsafe_sysctls=("net.core.*", "kernel.msgmax")))
    assert (found.message if found else "") == message


def test_what_the_kernel_keeps_once_for_all_cannot_be_allowed() -> None:
    assert check_unsafe_sysctls(("net.*", "kernel.msg*", "kernel.sem")) == ""
    assert 'the sysctl "vm.swappiness" is not known to be namespaced' in check_unsafe_sysctls(("net.*", "vm.swappiness"))


async def test_a_refused_pod_fails_and_its_room_is_free(tmp_path: Path) -> None:
    runtime = HollowRuntime(CIDR)
    async with running(runtime, tmp_path, max_pods=2) as cluster:
        await cluster.client.create(make_pod("first"))
        await cluster.ready("first")
        await cluster.client.create(asking("huge", cpu="1000000"))
        huge = await cluster.phase("Failed", "huge")
        assert huge.status.reason == "OutOfcpu"
        assert huge.status.message.startswith("Pod was rejected: Node didn't have enough resource: cpu, requested: 1000000000, used: 0")
        assert not huge.status.container_statuses
        assert await cluster.until(lambda: cluster.events("OutOfcpu"))
        await cluster.client.create(make_pod("second"))
        await cluster.ready("second")
        await cluster.client.create(make_pod("third"))
        assert (await cluster.phase("Failed", "third")).status.reason == "OutOfpods"
        assert runtime.observe(huge.metadata.uid) is None
        await cluster.client.delete(core.Pod, "huge", "default")
        await cluster.until(lambda: cluster.pod("huge") is None)


async def test_a_restart_refuses_nothing_that_was_taken(tmp_path: Path) -> None:
    api, runtime = FaultyApi(SYSTEM_CLOCK), HollowRuntime(CIDR)
    async with running(runtime, tmp_path, api, max_pods=2) as cluster:
        for name in ("first", "second"):
            await cluster.client.create(make_pod(name))
            await cluster.ready(name)
        await cluster.client.create(make_pod("third"))
        await cluster.phase("Failed", "third")
    async with running(runtime, tmp_path, api, max_pods=1) as cluster:
        await cluster.client.create(make_pod("fourth"))
        third = cluster.pod("third")
        assert (await cluster.phase("Failed", "fourth")).status.reason == "OutOfpods"
        assert cluster.pod("third") == third
        assert [cluster.pod(name).status.phase for name in ("first", "second")] == ["Running", "Running"]  # type: ignore[union-attr]


def test_what_a_pod_that_was_taken_needs_is_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else who takes many pods counts each of them as often as there are others."""
    counted: list[str] = []
    count = admission.needs

    def needs(pod: core.Pod) -> Amounts:
        counted.append(pod.metadata.name)
        return count(pod)

    monkeypatch.setattr(admission, "needs", needs)
    taken = [Taken(asking("other", cpu="500m")), Taken(asking("third", cpu="500m"))]
    for _ in range(3):
        found = refusal(asking("web", cpu="1500m"), taken, {"cpu": "2"})
        assert found is not None and "requested: 1500, used: 1000, capacity: 2000" in found.message
    assert Counter(counted) == {"web": 3, "other": 1, "third": 1}

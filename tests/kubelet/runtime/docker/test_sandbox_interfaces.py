"""The interfaces of sandboxes: whole after whatever happened to them, and gone with what they were for."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import subprocess
import uuid
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import dataclass, replace

import pytest

from knarr.netlink.route_socket import RouteSocket
from services.kubelet.runtime.bridge import BridgeKeeper
from services.kubelet.runtime.docker import DockerRuntime, DockerSettings, remove_everything
from services.kubelet.runtime.docker.bodies import NO_NETWORK, sandbox_body, sandbox_name
from services.kubelet.runtime.interface import name_of, read_ends
from services.kubelet.runtime.pause import PAUSE_IMAGE
from services.kubelet.runtime.plan import ContainerPlan, PodRef, Process, SandboxPlan
from services.kubelet.runtime.port import RuntimeFailure, Sandbox
from tests.kubelet.docker_support import BUSYBOX, docker

pytestmark = pytest.mark.docker

PORT = 8080


@dataclass
class Node:
    runtime: DockerRuntime
    settings: DockerSettings
    image: str

    @property
    def own(self) -> dict[str, str]:
        return self.runtime._own

    async def pod(self, name: str = "web", **changes: object) -> Sandbox:
        plan = SandboxPlan(PodRef("default", name, str(uuid.uuid4())), 0, name)
        return await self.runtime.create_sandbox(replace(plan, **changes))  # type: ignore[arg-type]

    async def serving(self, name: str = "web") -> Sandbox:
        """A pod that serves its files at PORT."""
        sandbox = await self.pod(name)
        process = Process(("/bin/httpd", "-f", "-p", str(PORT), "-h", "/etc"))
        container = await self.runtime.create_container(ContainerPlan(sandbox.pod, sandbox.id, "app", 0, self.image, "", process=process))
        await self.runtime.start_container(container, sandbox.pod)
        return sandbox

    async def engine_made(self, network: str, ip: str) -> str:
        """The id of a sandbox that runs, which nobody has made an interface for but perhaps the engine."""
        plan = SandboxPlan(PodRef("default", "other", str(uuid.uuid4())), 0, "other")
        body, name = sandbox_body(plan, ip, PAUSE_IMAGE, network, self.own), sandbox_name(plan.pod, 0)
        made = await self.runtime._engine.request("POST", "containers/create", params={"name": name}, body=body)
        await self.runtime._engine.request("POST", f"containers/{made['Id']}/start")
        return str(made["Id"])

    def whole(self, sandbox_id: str) -> bool:
        ends = read_ends(self.settings.bridge)
        return bool(ends.bridge) and ends.whole(sandbox_id)

    def names(self) -> set[str]:
        return set(read_ends(self.settings.bridge).links)

    def observed(self, sandbox_id: str) -> Sandbox:
        return next(found for pod in self.runtime.observed().values() for found in pod.sandboxes if found.id == sandbox_id)


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    async with docker() as (runtime, settings, image):
        await runtime.start()
        yield Node(runtime, settings, image)


def run(*words: str) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


def ip(*words: str) -> str:
    return run("ip", *words)


async def inside(node: Node, sandbox: Sandbox, *words: str) -> str:
    pid = (await node.runtime._engine.request("GET", f"containers/{sandbox.id}/json"))["State"]["Pid"]
    return run("nsenter", "-t", str(pid), "-n", *words)


async def serves(address: str) -> bool:
    """Whether a connection is made, as soon as the program listens that was started."""
    pause = asyncio.Event()
    async with asyncio.timeout(20):
        while True:
            try:
                async with asyncio.timeout(2):
                    _, writer = await asyncio.open_connection(address, PORT)
            except OSError:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(pause.wait(), 0.02)
            else:
                writer.close()
                await writer.wait_closed()
                return True


async def test_a_pod_has_its_address_the_way_out_and_a_port_that_leads_back(node: Node) -> None:
    sandbox = await node.serving()
    shown = await inside(node, sandbox, "ip", "-4", "addr", "show", "eth0")
    assert f"inet {sandbox.ip}/24" in shown and "state UP" in shown and "mtu 1500" in shown
    assert (await inside(node, sandbox, "ip", "route", "show", "default")).startswith("default via 10.254.77.1 dev eth0")
    assert "inet6" not in await inside(node, sandbox, "ip", "addr", "show", "eth0")
    assert node.whole(sandbox.id) and await serves(sandbox.ip)
    with closing(RouteSocket()) as kernel:
        assert dict(kernel.ports(socket.if_nametoindex(node.settings.bridge))) == {socket.if_nametoindex(name_of(sandbox.id)): True}


async def test_who_gets_the_address_of_another_is_found_by_who_knew_that_one(node: Node) -> None:
    """By a hardware address that follows from it: no neighbour asks again."""
    first = await node.pod()
    before = await inside(node, first, "ip", "link", "show", "eth0")
    await node.runtime.remove_sandbox(first)
    assert name_of(first.id) not in node.names(), "and nobody answers for the address meanwhile"
    again = await node.runtime.create_sandbox(SandboxPlan(first.pod, 1, "web"))
    assert again.ip == first.ip
    assert mac(await inside(node, again, "ip", "link", "show", "eth0")) == mac(before)


def mac(shown: str) -> str:
    return shown.partition("link/ether ")[2].split()[0]


@pytest.mark.parametrize("harm", ["deleted", "down", "detached"])
async def test_what_happened_to_an_interface_is_mended_in_the_sandbox_that_has_it(node: Node, harm: str) -> None:
    sandbox = await node.serving()
    assert await serves(sandbox.ip)
    words = {"deleted": ["delete"], "down": ["set", "down", "dev"], "detached": ["set", "nomaster", "dev"]}[harm]
    ip("link", *words, name_of(sandbox.id))
    await node.runtime._observer.relist()
    assert node.whole(sandbox.id) and await serves(sandbox.ip)
    assert node.observed(sandbox.id).ready


async def test_one_whose_maker_was_cut_off_before_its_interface_is_finished_by_the_next(node: Node) -> None:
    left = await node.engine_made(NO_NETWORK, "10.254.77.9")
    assert not node.whole(left)
    successor = DockerRuntime(node.settings)
    try:
        await successor.start()
        (found,) = [sandbox for pod in successor.observed().values() for sandbox in pod.sandboxes]
        assert (found.id, found.ready, found.ip) == (left, True, "10.254.77.9")
        assert node.whole(left)
    finally:
        await successor.close()


async def test_one_that_cannot_have_its_interface_is_not_ready(node: Node) -> None:
    taken = name_of("0" * 64)
    left = await node.engine_made(NO_NETWORK, "10.254.77.9")
    pid = (await node.runtime._engine.request("GET", f"containers/{left}/json"))["State"]["Pid"]
    # Its name inside is taken by a stranger.
    ip("link", "add", taken[:11], "type", "veth", "peer", "name", "eth0", "netns", str(pid))
    await node.runtime._observer.relist()
    assert not node.observed(left).ready


async def test_pods_outlive_the_bridge(node: Node) -> None:
    sandbox = await node.serving()
    assert await serves(sandbox.ip)
    keeper = BridgeKeeper(node.settings.bridge, node.runtime._renew_network)
    await keeper.look()
    ip("link", "delete", node.settings.bridge)
    await keeper.look()
    assert node.whole(sandbox.id) and await serves(sandbox.ip)
    assert node.observed(sandbox.id).ready


async def test_pods_outlive_somebody_who_tidies_up_networks(node: Node) -> None:
    """The engine knows of nobody who is on ours."""
    sandbox = await node.serving()
    assert await serves(sandbox.ip)
    keeper = BridgeKeeper(node.settings.bridge, node.runtime._renew_network)
    await keeper.look()
    labels = json.dumps({"label": [f"{key}={value}" for key, value in node.own.items()]})
    pruned = await node.runtime._engine.request("POST", "networks/prune", params={"filters": labels})
    assert pruned["NetworksDeleted"] == [node.settings.network]
    await keeper.look()
    assert node.whole(sandbox.id) and await serves(sandbox.ip)


async def test_a_port_that_is_no_sandboxes_is_taken_away(node: Node) -> None:
    sandbox, lost = await node.pod(), name_of("f" * 64)
    ip("link", "add", lost, "type", "veth", "peer", "name", f"p{uuid.uuid4().hex[:8]}")
    ip("link", "set", lost, "master", node.settings.bridge)
    await node.runtime._observer.relist()
    assert lost not in node.names() and node.whole(sandbox.id)


async def test_a_pod_that_an_earlier_kubelet_let_the_engine_join_goes_on(node: Node) -> None:
    joined = await node.engine_made(node.settings.network, "10.254.77.2")
    await node.runtime._observer.relist()
    found = node.observed(joined)
    assert (found.ready, found.ip) == (True, "10.254.77.2") and name_of(joined) not in node.names()
    beside = await node.serving("beside")
    assert beside.ip != found.ip
    assert await serves(beside.ip)
    assert "root:" in await inside(node, found, str(BUSYBOX), "wget", "-q", "-O", "-", f"http://{beside.ip}:{PORT}/passwd")
    await node.runtime.remove_sandbox(found)


async def test_kernel_settings_of_the_interface_are_the_engines_to_make(node: Node) -> None:
    sandbox = await node.pod(sysctls={"net.ipv4.conf.eth0.arp_notify": "1"})
    assert name_of(sandbox.id) not in node.names()
    assert (await inside(node, sandbox, "sysctl", "-n", "net.ipv4.conf.eth0.arp_notify")).strip() == "1"


async def test_what_goes_through_is_counted(node: Node) -> None:
    sandbox = await node.serving()
    assert await serves(sandbox.ip)
    (usage,) = await node.runtime.sandbox_usage()
    (use,) = usage.details.networks
    assert use.interface == "eth0" and use.received_packets > 0 and use.sent_packets > 0
    (app,) = await node.runtime.usage()
    assert app.memory_bytes > 0


async def test_another_range_is_not_taken_while_pods_have_the_one_there_was(node: Node) -> None:
    await node.pod()
    successor = DockerRuntime(replace(node.settings, pod_cidr="10.254.78.0/24"))
    try:
        with pytest.raises(RuntimeFailure, match="1 pods are on it"):
            await successor.start()
    finally:
        await successor.close()


async def test_nothing_is_left(node: Node) -> None:
    for name in ("one", "two"):
        await node.serving(name)
    await node.runtime.create_sandbox(SandboxPlan(PodRef("default", "host", str(uuid.uuid4())), 0, "host", host_network=True))
    made = node.names()
    assert len(made) == 2
    assert await remove_everything(node.settings.cluster_id, image=False) == 5
    assert not made & node.names() and read_ends(node.settings.bridge).bridge == 0


async def test_the_engine_does_not_know_the_network_and_use_is_told_all_the_same(node: Node) -> None:
    """Which 20.10 is quicker without; what it tells of use then is nothing."""
    assert node.runtime._facts.hooks_networks, "of this engine; later ones have nothing to spare"
    sandbox = await node.serving()
    inspected = await node.runtime._engine.request("GET", f"containers/{sandbox.id}/json")
    assert inspected["Config"]["NetworkDisabled"] and inspected["NetworkSettings"]["SandboxKey"] == ""
    assert await serves(sandbox.ip)
    (usage,), (own,) = await node.runtime.usage(), await node.runtime.sandbox_usage()
    assert usage.memory_bytes > 0 and usage.cpu_nanoseconds > 0 and usage.processes == 1
    assert own.memory_bytes > 0 and own.details.networks


@pytest.mark.parametrize("reason", ["its use would be unseen", "nothing to spare"])
async def test_the_engine_knows_the_network_where_it_must_or_may(node: Node, reason: str) -> None:
    if reason == "nothing to spare":
        node.runtime._facts.version = "28.5.2"
    else:
        node.runtime._meter.reads_groups = False
    sandbox = await node.serving()
    inspected = await node.runtime._engine.request("GET", f"containers/{sandbox.id}/json")
    assert not inspected["Config"].get("NetworkDisabled") and inspected["NetworkSettings"]["SandboxKey"]
    assert node.whole(sandbox.id) and await serves(sandbox.ip)
    (usage,) = await node.runtime.usage()
    assert usage.memory_bytes > 0


async def test_a_container_has_its_pods_name_names_and_kernel_settings(node: Node) -> None:
    """Though the engine makes no files for a network that it does not know."""
    sandbox = await node.pod("web", sysctls={"net.ipv4.ip_unprivileged_port_start": "80"})
    process = Process(("/bin/sleep", "1000"))
    container = await node.runtime.create_container(ContainerPlan(sandbox.pod, sandbox.id, "app", 0, node.image, "", process=process))
    await node.runtime.start_container(container, sandbox.pod)
    told = run("docker", "exec", container.id, "/bin/sh", "-c", "hostname; cat /etc/hostname /proc/sys/net/ipv4/ip_unprivileged_port_start")
    assert told.split() == ["web", "web", "80"]


async def test_where_the_network_is_not_ours_the_engine_joins_pods_to_its_own(node: Node) -> None:
    """As on another machine, or without the right to change this one's network."""
    node.runtime._interfaces._may_lay = False
    sandbox = await node.serving()
    assert name_of(sandbox.id) not in node.names()
    assert await serves(sandbox.ip)

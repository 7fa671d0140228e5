"""The pod network within the component: from Nodes to the kernel, and what GetPodNetwork answers."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator, Callable
from ipaddress import IPv4Network

import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.proxy.v1 import proxy_service_pb2 as messages
from services.proxy.podnetwork.kernel import PodKernel
from services.proxy.podnetwork.network import PodNetwork
from services.proxy.podnetwork.plan import Member, Underlay, make_plan, without
from services.proxy.servicer import ProxyServicer
from services.proxy.settings import ProxySettings
from tests.proxy.machines import Machines
from tests.proxy.test_component import RecordingDatapath
from tests.support.api import FaultyApi
from tests.support.rights import PROXY

SETTINGS = ProxySettings(pod_network="auto", node_name="node-0", retry_first_seconds=0.001, check_seconds=60.0)


def node(member: Member, seconds: int = 1) -> core.Node:
    made = core.Node()
    made.metadata.name = member.name
    made.metadata.creation_timestamp.seconds = seconds
    made.spec.pod_cidr = member.pod_cidr
    if member.pod_cidr:
        made.spec.pod_cidrs.append(member.pod_cidr)
    made.status.addresses.add(type="InternalIP", address=member.address)
    return made


class RecordingKernel(PodKernel):
    """Decides as the true one does; puts nothing in force."""

    def __init__(self, settings: ProxySettings) -> None:
        super().__init__(settings)
        self.failures = 0
        self.calls = 0
        self.refused: dict[str, str] = {}

    def bring(self, found):  # type: ignore[no-untyped-def]
        self.calls += 1
        if self.failures:
            self.failures -= 1
            raise PermissionError(1, "NET_ADMIN is needed for the pod network")
        plan = make_plan(self._settings, found, Underlay(IPv4Network("192.168.50.0/24"), 1500))
        return without(plan, self.refused), ["a limitation"]


def recorded(network: PodNetwork) -> RecordingKernel:
    assert isinstance(network._kernel, RecordingKernel)
    return network._kernel


@contextlib.asynccontextmanager
async def running(api: FaultyApi, kernel: Callable[[ProxySettings], PodKernel] = RecordingKernel) -> AsyncIterator[PodNetwork]:
    network = PodNetwork(api.client(PROXY), SETTINGS, kernel(SETTINGS))
    task = asyncio.create_task(network.run())
    try:
        async with asyncio.timeout(20):
            yield network
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def until(condition: Callable[[], object]) -> None:
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0.001)


async def answer(network: PodNetwork | None) -> messages.GetPodNetworkResponse:
    servicer = ProxyServicer(None, RecordingDatapath(), network)  # type: ignore[arg-type]
    return await servicer.GetPodNetwork(messages.GetPodNetworkRequest(), None)


OWN = Member("node-0", "10.244.0.0/24", "192.168.50.10")
OTHER = Member("node-1", "10.244.1.0/24", "192.168.50.11")
FAR = Member("node-2", "10.244.2.0/24", "172.16.0.2")


async def test_it_says_what_is_missing_until_the_node_has_its_range() -> None:
    api = FaultyApi()
    async with running(api) as network:
        await until(lambda: network.tried)
        assert (await answer(network)).problem == "the node node-0 has not registered with an InternalIP yet"
        api.seed(node(OWN), node(OTHER, 2), node(FAR, 3))
        await until(lambda: len(network.in_force.plan.peers) == 2)
        found = await answer(network)
        assert (found.mode, found.node, found.pod_cidr, found.device, found.mtu) == ("auto", "node-0", "10.244.0.0/24", "knarr-vx", 1450)
        assert [(peer.node, peer.way, peer.HasField("in_force_since")) for peer in found.peers] == [
            ("node-1", "routes", True),
            ("node-2", "vxlan", True),
        ]
        assert found.HasField("in_force_since") and list(found.limitations) == ["a limitation"] and not found.problem


async def test_heartbeats_cost_nothing_and_a_peer_that_stays_keeps_its_time() -> None:
    api = FaultyApi()
    api.seed(node(OWN), node(OTHER, 2))
    async with running(api) as network:
        await until(lambda: network.in_force.peers_since)
        since, calls = network.in_force.peers_since["node-1"], recorded(network).calls
        beat = await api.client().get(core.Node, "node-1")
        beat.status.conditions.add(type="Ready", status="True")
        await api.client().update(beat, subresource="status")
        for _ in range(100):
            await asyncio.sleep(0)
        assert recorded(network).calls == calls
        api.seed(node(FAR, 3))
        await until(lambda: "node-2" in network.in_force.peers_since)
        assert network.in_force.peers_since["node-1"] == since
        await api.client().delete(core.Node, "node-1")
        await until(lambda: "node-1" not in network.in_force.peers_since)


async def test_what_failed_is_tried_again_and_told_meanwhile() -> None:
    api = FaultyApi()
    api.seed(node(OWN), node(OTHER, 2))
    async with running(api) as network:
        kernel = recorded(network)
        await until(lambda: network.in_force.peers_since)
        kernel.refused = {OTHER.pod_cidr: "no route"}
        api.seed(node(FAR, 3))
        await until(lambda: any(peer.problem == "no route" for peer in network.in_force.plan.peers))
        assert [(peer.way, peer.problem) for peer in (await answer(network)).peers] == [("", "no route"), ("vxlan", "")]
        kernel.refused, kernel.failures = {}, 3
        await until(lambda: len(network.in_force.peers_since) == 2 and not kernel.failures)


async def test_without_a_pod_network_it_is_off() -> None:
    assert await answer(None) == messages.GetPodNetworkResponse(mode="off")


def test_it_needs_the_name_of_its_node() -> None:
    with pytest.raises(ValueError, match="name of its node"):
        PodNetwork(FaultyApi().client(), ProxySettings(pod_network="auto"))


@pytest.mark.net
async def test_a_node_that_comes_and_goes_is_followed_in_the_kernel() -> None:
    with Machines(2).opened() as lab:
        here, there = lab.nodes
        api = FaultyApi()
        api.seed(node(here.member), node(there.member, 2))
        await lab.serve_everywhere()
        with here.namespace.entered():
            # Its thread begins, and stays, where this one is now.
            async with running(api, PodKernel) as network:
                await until(lambda: network.in_force.peers_since)
                assert (await lab.ask(there.pod_address(), 8080, origin=here.namespace))[0] == there.pod_address()
                await api.client().delete(core.Node, there.name)
                await until(lambda: not network.in_force.plan.peers)
                with pytest.raises(OSError):
                    await lab.ask(there.pod_address(), 8080, origin=here.namespace)
        await lab.close_servers()
        await asyncio.sleep(0.01)
    gc.collect()

"""The userspace datapath relays only what policies allow, although pods see the node as the source."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from knarr.api.core.v1 import core_pb2 as core
from services.proxy.datapath.userspace.datapath import UserspaceDatapath
from services.proxy.policy.enforcement import PolicyEnforcement
from services.proxy.routing.host_ports import routes_of_pod
from services.proxy.routing.table import Endpoint, Route, RouteKey, diff
from services.proxy.settings import ProxySettings
from tests.policy import walk, worlds
from tests.policy.oracle import World
from tests.policy.test_enforcement import RecordingTable, objects, until
from tests.proxy.laboratory import Laboratory, Namespace
from tests.support.api import FaultyApi

pytestmark = pytest.mark.net
SETTINGS = ProxySettings(network_policies=True)
CLUSTER_IP, NODE_PORT, HOST_PORT = "10.96.0.10", 30080, 18080
# Pod 0 is the server.
CLIENT, STRANGER = 1, 2


def pod(number: int, labels: dict[str, str]) -> core.Pod:
    return walk.pod(worlds.pod("default", f"pod-{number}", labels, "node-0", Laboratory.pod_address(number)))


ONLY_CLIENTS = worlds.policy_of(
    {
        "spec": {
            "podSelector": {"matchLabels": {"app": "server"}},
            "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "client"}}}], "ports": [{"port": 8080}]}],
        }
    }
)


@dataclass
class Relay:
    """One node with the userspace datapath, and what tells it of policies."""

    lab: Laboratory
    api: FaultyApi
    policies: PolicyEnforcement


@pytest.fixture
async def relay() -> AsyncIterator[Relay]:
    """The Service is up, the policies are followed, and only pod 1 is a client."""
    with Laboratory().opened() as made:
        datapath, api = UserspaceDatapath(SETTINGS), FaultyApi()
        api.seed(*objects(World({"default": {}, "other": {}}, [], [])))
        api.seed(pod(0, {"app": "server"}), pod(1, {"app": "client"}), pod(2, {}))
        policies = PolicyEnforcement(api.client(), SETTINGS, RecordingTable)
        datapath.judge_by(policies.admits)
        await made.serve(0)
        await datapath.start()
        endpoints = (Endpoint(Laboratory.pod_address(0), 8080, "pod-0"),)
        route = Route(RouteKey("default", "web", "http"), "tcp", (CLUSTER_IP,), 80, NODE_PORT, endpoints)
        server = pod(0, {"app": "server"})
        server.spec.containers.add(name="c").ports.add(container_port=8080, host_port=HOST_PORT, protocol="TCP")
        await datapath.apply(diff({}, {made_of.key: made_of for made_of in (route, *routes_of_pod(server))}))
        task = asyncio.create_task(policies.run())
        try:
            await until(lambda: policies.tried)
            yield Relay(made, api, policies)
        finally:
            task.cancel()
            await asyncio.wait([task])
            await datapath.close()
            await made.close_servers()
            await asyncio.sleep(0.01)
    gc.collect()


async def reached(relay: Relay, origin: Namespace, address: str = CLUSTER_IP, port: int = 80) -> bool:
    try:
        return (await relay.lab.ask(address, port, origin=origin))[0] == "pod0"
    except (ConnectionError, TimeoutError):
        return False


async def test_only_clients_that_a_policy_names_are_relayed(relay: Relay) -> None:
    assert await reached(relay, relay.lab.pods[STRANGER])
    relay.api.seed(walk.policy(ONLY_CLIENTS))
    await until(lambda: relay.policies.in_force_since)
    for address, port in ((CLUSTER_IP, 80), (Laboratory.NODE_ADDRESS, NODE_PORT), (Laboratory.NODE_ADDRESS, HOST_PORT)):
        assert await reached(relay, relay.lab.pods[CLIENT], address, port)
        assert not await reached(relay, relay.lab.pods[STRANGER], address, port)
        assert await reached(relay, relay.lab.pods[0], address, port), "a pod may reach itself"
        assert await reached(relay, relay.lab.node, address, port), "the node may reach its pods"
    for port in (NODE_PORT, HOST_PORT):
        assert not await reached(relay, relay.lab.outside, Laboratory.NODE_ADDRESS, port)


async def test_a_pod_that_is_not_known_yet_is_not_relayed_once_there_are_policies(relay: Relay) -> None:
    client = relay.api.client()
    elsewhere = worlds.policy_of({"namespace": "other", "spec": {"podSelector": {}}})
    await client.create(walk.policy(elsewhere))
    await until(lambda: relay.policies.in_force_since)
    assert await reached(relay, relay.lab.pods[STRANGER])
    await client.delete(core.Pod, "pod-2", "default", grace_period_seconds=0)
    await until(lambda: relay.policies.engine.pods.get(("default", "pod-2")) is None)
    assert not await reached(relay, relay.lab.pods[STRANGER])


async def test_egress_is_judged_by_where_it_really_goes(relay: Relay) -> None:
    spec = {"podSelector": {"matchLabels": {"app": "client"}}, "policyTypes": ["Egress"], "egress": [{"ports": [{"port": 80}]}]}
    relay.api.seed(walk.policy(worlds.policy_of({"spec": spec})))
    await until(lambda: relay.policies.in_force_since)
    assert not await reached(relay, relay.lab.pods[CLIENT])
    assert await reached(relay, relay.lab.pods[STRANGER])

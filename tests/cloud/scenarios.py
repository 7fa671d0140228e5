"""What happens to each of the cloud's controllers when it is tried with mishaps: one small scenario for each of the catalog."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, TypeVar

from knarr.api.cloud.v1 import provider_pb2 as cloud
from knarr.api.core.v1 import core_pb2 as core
from knarr.client.client import Client
from knarr.objects.conditions import set_condition
from knarr.objects.tolerations import UNINITIALIZED
from services.cloud.component import CloudControllerManager
from services.cloud.controller import CloudController
from services.cloud.controllers.node.controller import NodeController
from services.cloud.controllers.nodelifecycle.controller import NodeLifecycleController
from services.cloud.controllers.route.controller import RouteController
from services.cloud.controllers.service.controller import ServiceController
from services.cloud.provider import CloudProvider, ProviderType
from services.cloud.settings import CloudSettings
from tests.cloud.cluster import FakeProvider, node, service
from tests.support.mishaps import Fate, Scenario, World
from tests.support.rights import CLOUD

R = TypeVar("R")
A = TypeVar("A")

# Longer than whatever a component waits for, a relist after a lost event included.
STEP_SECONDS = 30.0


class FatedProvider(CloudProvider):
    """The provider as one life of the manager reaches it: what changes something counts as a write."""

    def __init__(self, inner: FakeProvider, fate: Fate) -> None:
        self._inner, self._fate, self._life = inner, fate, fate.life

    async def get_info(self, request: cloud.GetInfoRequest) -> cloud.GetInfoResponse:
        return await self._inner.get_info(request)

    async def get_instance(self, request: cloud.GetInstanceRequest) -> cloud.GetInstanceResponse:
        await self._fate.alive(self._life)
        return await self._inner.get_instance(request)

    async def ensure_load_balancer(self, request: cloud.EnsureLoadBalancerRequest) -> cloud.EnsureLoadBalancerResponse:
        return await self._change("ensure balancer", request, self._inner.ensure_load_balancer)

    async def update_load_balancer(self, request: cloud.UpdateLoadBalancerRequest) -> cloud.UpdateLoadBalancerResponse:
        return await self._change("update balancer", request, self._inner.update_load_balancer)

    async def delete_load_balancer(self, request: cloud.DeleteLoadBalancerRequest) -> cloud.DeleteLoadBalancerResponse:
        return await self._change("delete balancer", request, self._inner.delete_load_balancer)

    async def list_routes(self, request: cloud.ListRoutesRequest) -> cloud.ListRoutesResponse:
        await self._fate.alive(self._life)
        return await self._inner.list_routes(request)

    async def create_route(self, request: cloud.CreateRouteRequest) -> cloud.CreateRouteResponse:
        return await self._change("create route", request, self._inner.create_route)

    async def delete_route(self, request: cloud.DeleteRouteRequest) -> cloud.DeleteRouteResponse:
        return await self._change("delete route", request, self._inner.delete_route)

    async def _change(self, what: str, request: R, act: Callable[[R], Awaitable[A]]) -> A:
        return await self._fate.write(self._life, what, lambda: act(request))


def alone(controller: type[CloudController], act: Callable[[World], Awaitable[None]], **options: Any) -> Scenario:
    """The controller in a manager of its own."""

    def start(world: World, client: Client) -> CloudControllerManager:
        provider = FatedProvider(world.outside, world.fate)
        kind = ProviderType(dict, lambda settings, environment: provider)
        settings = replace(CloudSettings(), node_monitor_seconds=5.0)
        return CloudControllerManager(client, settings, clock=world.clock, kind=kind, controllers=(controller,))

    return Scenario(start, act, outside=FakeProvider, told=told, user=CLOUD, **options)


def told(provider: FakeProvider) -> list[str]:
    """Load balancers without their Services' uids; how many addresses were ever taken; routes."""
    balancers = [f"balancer over {', '.join(sorted(nodes))}" for nodes in provider.balancers.values()]
    return [*balancers, f"{len(provider.addresses)} addresses", *(f"route of {name} for {cidr}" for name, cidr in provider.routes)]


async def step(seconds: float = STEP_SECONDS) -> None:
    await asyncio.sleep(seconds)


def machine(state: cloud.InstanceState, number: int = 1, address: str = "203.0.113.7") -> cloud.Instance:
    made = cloud.Instance(state=state, provider_id=f"fake://i-{number}", instance_type="m.large", zone="eu-1a", region="eu-1")
    made.addresses.add(type="InternalIP", address=address)
    return made


async def machines(w: World) -> None:
    """A new node is told of its machine, whose address changes later."""
    w.outside.instances["node-1"] = machine(cloud.INSTANCE_STATE_RUNNING)
    w.api.seed(node(taint=UNINITIALIZED), node("node-2", taint=UNINITIALIZED))
    await step()
    w.outside.instances["node-2"] = machine(cloud.INSTANCE_STATE_RUNNING, 2)
    w.outside.instances["node-1"] = machine(cloud.INSTANCE_STATE_RUNNING, address="203.0.113.8")
    await step(400)


async def lost_machines(w: World) -> None:
    """One machine is switched off and comes back, the other one goes for good."""
    for number in (1, 2):
        w.outside.instances[f"node-{number}"] = machine(cloud.INSTANCE_STATE_SHUT_DOWN, number)
        w.api.seed(node(f"node-{number}", "False", provider_id=f"fake://i-{number}"))
    await step()
    w.outside.instances["node-1"] = machine(cloud.INSTANCE_STATE_RUNNING)
    w.outside.instances["node-2"] = machine(cloud.INSTANCE_STATE_GONE, 2)

    def ready(found: core.Node) -> None:
        set_condition(found.status, "Ready", "True", now=w.clock.now())

    await w.edit(core.Node, "node-1", ready, "", "status")
    await step()


async def balancers(w: World) -> None:
    """Two load balancers; a node comes, a port changes, one Service wants none any longer, and the other one goes."""
    w.api.seed(node())
    for number, name in enumerate(("web", "other")):
        made = service(name)
        made.spec.ports[0].node_port = 30100 + number
        made.spec.cluster_ip = f"10.96.0.{number + 9}"
        await w.client.create(made)
    await step()
    w.api.seed(node("node-2"))
    await w.edit(core.Service, "web", lambda found: setattr(found.spec.ports[0], "port", 81))
    await step()

    def plain(found: core.Service) -> None:
        found.spec.type = "ClusterIP"
        found.spec.ports[0].node_port = 0

    await w.edit(core.Service, "other", plain)
    await step()
    await w.client.delete(core.Service, "web", "default")
    await step()
    await w.edit(core.Service, "other", lambda found: setattr(found.spec, "type", "LoadBalancer"))
    await step()


async def routes(w: World) -> None:
    """Routes to two nodes, of which one goes and another one comes."""
    w.api.seed(node("node-1", pod_cidr="10.244.0.0/24"), node("node-2", pod_cidr="10.244.1.0/24"))
    await step()
    await w.client.delete(core.Node, "node-2")
    w.api.seed(node("node-3", pod_cidr="10.244.2.0/24"))
    await step()


SCENARIOS: dict[type[CloudController], Scenario] = {
    NodeController: alone(NodeController, machines),
    NodeLifecycleController: alone(NodeLifecycleController, lost_machines),
    ServiceController: alone(
        ServiceController, balancers, free=frozenset({"Service.status.loadBalancer.ingress.ip", "Service.spec.ports.nodePort"})
    ),
    RouteController: alone(RouteController, routes),
}

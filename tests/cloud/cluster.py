"""A small cluster in memory with the cloud controller manager, on virtual time, and a provider that does as it is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from knarr.api.cloud.v1 import provider_pb2 as cloud
from knarr.api.core.v1 import core_pb2 as core
from knarr.client.client import Client
from knarr.objects.keys import key_of
from services.cloud.catalog import CONTROLLERS
from services.cloud.component import CloudControllerManager
from services.cloud.controller import CloudController
from services.cloud.provider import CloudProvider, ProviderType
from services.cloud.settings import CloudSettings
from tests.support.api import FaultyApi
from tests.support.rights import CLOUD
from tests.support.virtual_time import VirtualClock

NAMESPACE = "default"


@dataclass
class FakeProvider(CloudProvider):
    """Gives addresses in turn and keeps what it has made by the Service's uid, as a provider in a cloud does.

    ``before`` is awaited in each call about a load balancer, with the call's name and the Service: it may wait or raise.
    """

    info: cloud.GetInfoResponse = field(
        default_factory=lambda: cloud.GetInfoResponse(name="fake", instances=True, load_balancers=True, routes=True)
    )
    before: Callable[[str, core.Service], Awaitable[None]] | None = None
    balancers: dict[str, list[str]] = field(default_factory=dict)
    addresses: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)
    limitations: list[str] = field(default_factory=list)
    instances: dict[str, cloud.Instance] = field(default_factory=dict)
    instance_error: Exception | None = None
    routes: dict[tuple[str, str], cloud.Route] = field(default_factory=dict)
    route_error: Callable[[cloud.Route], Exception | None] = lambda route: None
    calls: list[tuple[str, str]] = field(default_factory=list)
    at_work: set[str] = field(default_factory=set)

    async def get_info(self, request: cloud.GetInfoRequest) -> cloud.GetInfoResponse:
        return self.info

    async def get_instance(self, request: cloud.GetInstanceRequest) -> cloud.GetInstanceResponse:
        name = request.node.metadata.name
        self.calls.append(("instance", name))
        if self.instance_error is not None:
            raise self.instance_error
        return cloud.GetInstanceResponse(instance=self.instances.get(name, cloud.Instance(state=cloud.INSTANCE_STATE_GONE)))

    async def ensure_load_balancer(self, request: cloud.EnsureLoadBalancerRequest) -> cloud.EnsureLoadBalancerResponse:
        return cloud.EnsureLoadBalancerResponse(load_balancer=await self._make("ensure", request.service, request.nodes))

    async def update_load_balancer(self, request: cloud.UpdateLoadBalancerRequest) -> cloud.UpdateLoadBalancerResponse:
        return cloud.UpdateLoadBalancerResponse(load_balancer=await self._make("update", request.service, request.nodes))

    async def delete_load_balancer(self, request: cloud.DeleteLoadBalancerRequest) -> cloud.DeleteLoadBalancerResponse:
        await self._begin("delete", request.service)
        self.balancers.pop(request.service.metadata.uid, None)
        return cloud.DeleteLoadBalancerResponse()

    async def _make(self, call: str, service: core.Service, nodes: Iterable[core.Node]) -> cloud.LoadBalancer:
        await self._begin(call, service)
        uid = service.metadata.uid
        self.balancers[uid] = [node.metadata.name for node in nodes]
        address = self.addresses.setdefault(uid, f"198.51.100.{len(self.addresses) + 1}")
        answer = cloud.LoadBalancer(annotations=self.annotations, limitations=self.limitations)
        answer.status.ingress.add(ip=address)
        return answer

    async def _begin(self, call: str, service: core.Service) -> None:
        name = str(key_of(service))
        assert name not in self.at_work, f"two calls at once for {name}"
        self.calls.append((call, service.metadata.name))
        self.at_work.add(name)
        try:
            if self.before is not None:
                await self.before(call, service)
        finally:
            self.at_work.discard(name)

    async def list_routes(self, request: cloud.ListRoutesRequest) -> cloud.ListRoutesResponse:
        return cloud.ListRoutesResponse(routes=self.routes.values())

    async def create_route(self, request: cloud.CreateRouteRequest) -> cloud.CreateRouteResponse:
        error = self.route_error(request.route)
        if error is not None:
            raise error
        route = cloud.Route()
        route.CopyFrom(request.route)
        route.name = f"route-{len(self.calls)}"
        self.calls.append(("route", route.destination_cidr))
        self.routes[(route.node, route.destination_cidr)] = route
        return cloud.CreateRouteResponse(route=route)

    async def delete_route(self, request: cloud.DeleteRouteRequest) -> cloud.DeleteRouteResponse:
        self.routes.pop((request.route.node, request.route.destination_cidr), None)
        return cloud.DeleteRouteResponse()

    def count(self, call: str, name: str = "") -> int:
        return sum(1 for found, of in self.calls if found == call and name in ("", of))


@dataclass
class Cluster:
    api: FaultyApi
    client: Client
    manager: CloudControllerManager

    def service(self, name: str = "web") -> core.Service:
        found = self.find_service(name)
        assert found is not None, name
        return found

    def find_service(self, name: str = "web") -> core.Service | None:
        return next((found for found in self.api.all(core.Service) if found.metadata.name == name), None)

    def ingress(self, name: str = "web") -> list[str]:
        found = self.find_service(name)
        return [] if found is None else [entry.ip for entry in found.status.load_balancer.ingress]

    def node(self, name: str) -> core.Node:
        found = self.find_node(name)
        assert found is not None, name
        return found

    def find_node(self, name: str) -> core.Node | None:
        return next((found for found in self.api.all(core.Node) if found.metadata.name == name), None)

    def events(self, reason: str) -> list[str]:
        return [event.message for event in self.api.all(core.Event) if event.reason == reason]

    async def until(self, condition: Callable[[], object], seconds: float = 60.0) -> None:
        """Waits for a condition in virtual time."""
        async with asyncio.timeout(seconds):
            while not condition():  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    async def edit(self, message: Any, name: str, change: Callable[[Any], None], subresource: str = "") -> Any:
        namespace = NAMESPACE if message is core.Service else ""
        obj = await self.client.get(message, name, namespace)
        change(obj)
        return await self.client.update(obj, subresource=subresource)

    async def set_ready(self, name: str, status: str) -> None:
        def change(node: core.Node) -> None:
            node.status.conditions[0].status = status

        await self.edit(core.Node, name, change, "status")


@asynccontextmanager
async def cluster(
    provider: CloudProvider | None = None,
    api: FaultyApi | None = None,
    controllers: Sequence[type[CloudController]] = CONTROLLERS,
    **settings: Any,
) -> AsyncIterator[Cluster]:
    """Runs the manager with ``provider``, or with one of the catalog when it is None, on the virtual loop."""
    clock = VirtualClock()
    api = api or FaultyApi(clock)
    client = api.client()
    kind = None if provider is None else ProviderType(dict, lambda options, environment: provider)
    manager = CloudControllerManager(
        api.client(CLOUD), replace(CloudSettings(), **settings), clock=clock, kind=kind, controllers=controllers
    )
    task = asyncio.create_task(manager.run())
    try:
        async with asyncio.timeout(5):
            while not manager.ready:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        yield Cluster(api, client, manager)
    finally:
        if task.done():
            task.result()
        task.cancel()
        await asyncio.wait([task], timeout=10)


def service(name: str = "web", kind: str = "LoadBalancer", annotations: dict[str, str] | None = None) -> core.Service:
    made = core.Service()
    made.metadata.name, made.metadata.namespace = name, NAMESPACE
    made.metadata.annotations.update(annotations or {})
    made.spec.type = kind
    made.spec.selector["app"] = name
    made.spec.ports.add(name="http", protocol="TCP", port=80)
    return made


def node(name: str = "node-1", ready: str = "True", *, provider_id: str = "", taint: str = "", pod_cidr: str = "") -> core.Node:
    made = core.Node()
    made.metadata.name = name
    made.spec.provider_id = provider_id
    if taint:
        made.spec.taints.add(key=taint, value="true", effect="NoSchedule")
    if pod_cidr:
        made.spec.pod_cidr = pod_cidr
        made.spec.pod_cidrs.append(pod_cidr)
    made.status.conditions.add(type="Ready", status=ready)
    made.status.addresses.add(type="InternalIP", address=f"192.0.2.{sum(map(ord, name)) % 250}")
    made.status.addresses.add(type="Hostname", address=name)
    return made

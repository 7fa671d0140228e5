"""The provider ``aws``."""

from __future__ import annotations

from collections.abc import Sequence

from knarr.api.cloud.v1 import provider_pb2 as cloud
from knarr.api.core.v1 import core_pb2 as core
from services.cloud.provider import CloudProvider, Environment, ProviderType
from services.cloud.providers.aws.api import AwsApi
from services.cloud.providers.aws.inventory import Inventory
from services.cloud.providers.aws.loadbalancers import LoadBalancers
from services.cloud.providers.aws.machines import SCHEME, instance_of
from services.cloud.providers.aws.routes import Routes
from services.cloud.providers.aws.settings import AwsSettings


class AwsProvider(CloudProvider):
    """EC2 instances, network load balancers and VPC routes, for one cluster in one region."""

    def __init__(self, settings: AwsSettings, environment: Environment) -> None:
        self._settings = settings
        self._nodes = environment.informers.get(core.Node)
        self.api = AwsApi(settings)
        self._inventory = Inventory(self.api, settings.refresh_seconds, settings.vpc, self._known_nodes)
        self._balancers = LoadBalancers(self.api, settings, self._inventory)
        self._routes = Routes(self.api, settings, self._inventory, self._known_nodes)

    def _known_nodes(self) -> Sequence[core.Node]:
        return self._nodes.store.list()

    async def get_info(self, request: cloud.GetInfoRequest) -> cloud.GetInfoResponse:
        return cloud.GetInfoResponse(name=SCHEME, instances=True, load_balancers=True, routes=self._settings.routes)

    async def get_instance(self, request: cloud.GetInstanceRequest) -> cloud.GetInstanceResponse:
        machine = await self._inventory.find(request.node)
        if machine is None:
            return cloud.GetInstanceResponse(instance=cloud.Instance(state=cloud.INSTANCE_STATE_GONE))
        return cloud.GetInstanceResponse(instance=instance_of(machine, await self.api.region()))

    async def ensure_load_balancer(self, request: cloud.EnsureLoadBalancerRequest) -> cloud.EnsureLoadBalancerResponse:
        made = await self._balancers.ensure(request.cluster, request.service, request.nodes)
        return cloud.EnsureLoadBalancerResponse(load_balancer=made)

    async def update_load_balancer(self, request: cloud.UpdateLoadBalancerRequest) -> cloud.UpdateLoadBalancerResponse:
        made = await self._balancers.update(request.cluster, request.service, request.nodes)
        return cloud.UpdateLoadBalancerResponse(load_balancer=made)

    async def delete_load_balancer(self, request: cloud.DeleteLoadBalancerRequest) -> cloud.DeleteLoadBalancerResponse:
        await self._balancers.delete(request.cluster, request.service)
        return cloud.DeleteLoadBalancerResponse()

    async def list_routes(self, request: cloud.ListRoutesRequest) -> cloud.ListRoutesResponse:
        return cloud.ListRoutesResponse(routes=await self._routes.list(request.cluster))

    async def create_route(self, request: cloud.CreateRouteRequest) -> cloud.CreateRouteResponse:
        return cloud.CreateRouteResponse(route=await self._routes.create(request.cluster, request.route, request.node))

    async def delete_route(self, request: cloud.DeleteRouteRequest) -> cloud.DeleteRouteResponse:
        await self._routes.delete(request.cluster, request.route)
        return cloud.DeleteRouteResponse()

    async def close(self) -> None:
        self.api.close()


PROVIDER = ProviderType(AwsSettings, AwsProvider)

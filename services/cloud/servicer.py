"""The manager's gRPC face: ``CloudService`` tells of its work, ``CloudProviderService`` is the provider that it uses."""

from __future__ import annotations

from collections.abc import Callable

import grpc.aio

from knarr.api.cloud.v1 import cloud_service_pb2 as api
from knarr.api.cloud.v1 import cloud_service_pb2_grpc as api_grpc
from knarr.api.cloud.v1 import provider_pb2 as cloud
from knarr.api.cloud.v1 import provider_pb2_grpc as cloud_grpc
from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.errors import not_found, status_error
from knarr.objects.keys import Key, key_of
from services.cloud.controllers.service.controller import ServiceController
from services.cloud.controllers.service.decide import excluded
from services.cloud.controllers.service.records import Record, state_of
from services.cloud.nodes import is_uninitialized
from services.cloud.provider import CloudProvider
from services.cloud.work import Work

Working = Callable[[], Work | None]


def _active(working: Working) -> Work:
    """Raises ServiceUnavailable while another manager acts."""
    work = working()
    if work is None:
        raise status_error("ServiceUnavailable", "this cloud controller manager is not active: it is starting, or another one leads")
    return work


class ProviderServicer(cloud_grpc.CloudProviderServiceServicer):
    def __init__(self, working: Working) -> None:
        self._working = working

    @property
    def _provider(self) -> CloudProvider:
        return _active(self._working).provider

    async def GetInfo(self, request: cloud.GetInfoRequest, context: grpc.aio.ServicerContext) -> cloud.GetInfoResponse:
        return await self._provider.get_info(request)

    async def GetInstance(self, request: cloud.GetInstanceRequest, context: grpc.aio.ServicerContext) -> cloud.GetInstanceResponse:
        return await self._provider.get_instance(request)

    async def EnsureLoadBalancer(
        self, request: cloud.EnsureLoadBalancerRequest, context: grpc.aio.ServicerContext
    ) -> cloud.EnsureLoadBalancerResponse:
        return await self._provider.ensure_load_balancer(request)

    async def UpdateLoadBalancer(
        self, request: cloud.UpdateLoadBalancerRequest, context: grpc.aio.ServicerContext
    ) -> cloud.UpdateLoadBalancerResponse:
        return await self._provider.update_load_balancer(request)

    async def DeleteLoadBalancer(
        self, request: cloud.DeleteLoadBalancerRequest, context: grpc.aio.ServicerContext
    ) -> cloud.DeleteLoadBalancerResponse:
        return await self._provider.delete_load_balancer(request)

    async def ListRoutes(self, request: cloud.ListRoutesRequest, context: grpc.aio.ServicerContext) -> cloud.ListRoutesResponse:
        return await self._provider.list_routes(request)

    async def CreateRoute(self, request: cloud.CreateRouteRequest, context: grpc.aio.ServicerContext) -> cloud.CreateRouteResponse:
        return await self._provider.create_route(request)

    async def DeleteRoute(self, request: cloud.DeleteRouteRequest, context: grpc.aio.ServicerContext) -> cloud.DeleteRouteResponse:
        return await self._provider.delete_route(request)


class CloudServicer(api_grpc.CloudServiceServicer):
    def __init__(self, working: Working, provider: str) -> None:
        self._working = working
        self._provider = provider

    async def GetStatus(self, request: api.GetStatusRequest, context: grpc.aio.ServicerContext) -> api.GetStatusResponse:
        work = self._working()
        response = api.GetStatusResponse(leader=work is not None, provider=self._provider)
        if work is None:
            return response
        response.last_error = work.provider.last_error
        if work.info is not None:
            response.info.CopyFrom(work.info)
        for controller in work.controllers:
            status = controller.queue.status()
            counts = {"depth": status.depth, "running": status.running, "syncs": status.syncs, "errors": status.errors}
            response.queues.add(controller=controller.name, **counts)
        return response

    async def ListLoadBalancers(
        self, request: api.ListLoadBalancersRequest, context: grpc.aio.ServicerContext
    ) -> api.ListLoadBalancersResponse:
        controller = _active(self._working).services
        response = api.ListLoadBalancersResponse()
        if controller is not None:
            found = sorted(controller.services(), key=lambda entry: key_of(entry[0]))
            response.load_balancers.extend(
                _load_balancer(controller, service, record)
                for service, record in found
                if request.namespace in ("", service.metadata.namespace)
            )
        return response

    async def ListNodes(self, request: api.ListNodesRequest, context: grpc.aio.ServicerContext) -> api.ListNodesResponse:
        work = _active(self._working)
        errors = work.nodes.errors if work.nodes is not None else {}
        response = api.ListNodesResponse()
        for node in sorted(work.informers.get(core.Node).store.list(), key=lambda node: str(node.metadata.name)):
            response.nodes.add(
                name=node.metadata.name,
                provider_id=node.spec.provider_id,
                excluded=excluded(node),
                uninitialized=is_uninitialized(node),
                last_error=errors.get(node.metadata.name, ""),
            )
        return response

    async def Sync(self, request: api.SyncRequest, context: grpc.aio.ServicerContext) -> api.SyncResponse:
        controllers = {controller.name: controller for controller in _active(self._working).controllers}
        if request.controller not in controllers:
            raise not_found("controllers", request.controller)
        controllers[request.controller].sync(Key.parse(request.key))
        return api.SyncResponse()


def _load_balancer(controller: ServiceController, service: core.Service, record: Record) -> api.LoadBalancerStatus:
    key = key_of(service)
    return api.LoadBalancerStatus(
        namespace=key.namespace,
        service=key.name,
        state=state_of(service, record),
        ingress=[entry.ip or entry.hostname for entry in service.status.load_balancer.ingress],
        last_error=record.last_error,
        failures=record.failures,
        next_in_seconds=controller.queue.key_status(key).next_in_seconds,
        last_success_seconds=record.last_success_seconds,
        limitations=record.limitations,
    )

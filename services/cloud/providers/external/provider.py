"""The provider ``external``: passes each call on, and its errors back as ours."""

from __future__ import annotations

from typing import Any, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message

from knarr.api.cloud.v1 import provider_pb2 as cloud
from knarr.api.cloud.v1.provider_pb2_grpc import CloudProviderServiceStub
from knarr.client.channel import FOREIGN_PING_SECONDS, open_channel
from services.cloud.errors import ProviderError, Refused, Throttled, Unavailable, Unsupported
from services.cloud.provider import CloudProvider, Environment, ProviderType
from services.cloud.providers.external.settings import ExternalSettings

A = TypeVar("A", bound=Message)

RETRY_AFTER = "retry-after"


class ExternalProvider(CloudProvider):
    def __init__(self, settings: ExternalSettings, environment: Environment) -> None:
        self._address = settings.address
        authority = settings.ca_file.read_bytes() if settings.ca_file is not None else None
        token = settings.token_file.read_text().strip() if settings.token_file is not None else ""
        self._channel = open_channel(settings.address, authority, token, ping_seconds=FOREIGN_PING_SECONDS)
        self._stub = CloudProviderServiceStub(self._channel)

    async def get_info(self, request: cloud.GetInfoRequest) -> cloud.GetInfoResponse:
        answer: cloud.GetInfoResponse = await self._call(self._stub.GetInfo, request)
        return answer

    async def get_instance(self, request: cloud.GetInstanceRequest) -> cloud.GetInstanceResponse:
        answer: cloud.GetInstanceResponse = await self._call(self._stub.GetInstance, request)
        return answer

    async def ensure_load_balancer(self, request: cloud.EnsureLoadBalancerRequest) -> cloud.EnsureLoadBalancerResponse:
        answer: cloud.EnsureLoadBalancerResponse = await self._call(self._stub.EnsureLoadBalancer, request)
        return answer

    async def update_load_balancer(self, request: cloud.UpdateLoadBalancerRequest) -> cloud.UpdateLoadBalancerResponse:
        answer: cloud.UpdateLoadBalancerResponse = await self._call(self._stub.UpdateLoadBalancer, request)
        return answer

    async def delete_load_balancer(self, request: cloud.DeleteLoadBalancerRequest) -> cloud.DeleteLoadBalancerResponse:
        answer: cloud.DeleteLoadBalancerResponse = await self._call(self._stub.DeleteLoadBalancer, request)
        return answer

    async def list_routes(self, request: cloud.ListRoutesRequest) -> cloud.ListRoutesResponse:
        answer: cloud.ListRoutesResponse = await self._call(self._stub.ListRoutes, request)
        return answer

    async def create_route(self, request: cloud.CreateRouteRequest) -> cloud.CreateRouteResponse:
        answer: cloud.CreateRouteResponse = await self._call(self._stub.CreateRoute, request)
        return answer

    async def delete_route(self, request: cloud.DeleteRouteRequest) -> cloud.DeleteRouteResponse:
        answer: cloud.DeleteRouteResponse = await self._call(self._stub.DeleteRoute, request)
        return answer

    async def close(self) -> None:
        await self._channel.close()

    async def _call(self, method: Any, request: Message) -> Any:
        try:
            return await method(request)
        except grpc.aio.AioRpcError as error:
            raise self._converted(error) from error

    def _converted(self, error: grpc.aio.AioRpcError) -> ProviderError:
        text = error.details() or error.code().name
        match error.code():
            case grpc.StatusCode.RESOURCE_EXHAUSTED:
                return Throttled(text, _retry_after(error))
            case grpc.StatusCode.INVALID_ARGUMENT | grpc.StatusCode.FAILED_PRECONDITION:
                return Refused(text)
            case grpc.StatusCode.UNIMPLEMENTED:
                return Unsupported(text)
            case grpc.StatusCode.UNAUTHENTICATED | grpc.StatusCode.PERMISSION_DENIED:
                return Unavailable(f"the provider at {self._address} refuses the token (external.tokenFile): {text}")
            case grpc.StatusCode.UNAVAILABLE:
                return Unavailable(f"the provider at {self._address} is not reached: {text}")
            case code:
                return Unavailable(f"the provider at {self._address} failed: {code.name}: {text}")


def _retry_after(error: grpc.aio.AioRpcError) -> float:
    """Seconds to wait, as the trailing metadata say; 0 when they do not."""
    for key, value in error.trailing_metadata() or ():
        if key == RETRY_AFTER:
            try:
                return max(float(value), 0.0)
            except ValueError:
                return 0.0
    return 0.0


PROVIDER = ProviderType(ExternalSettings, ExternalProvider)

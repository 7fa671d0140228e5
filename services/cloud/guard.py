"""The one way to a provider: bounded in time, counted, never twice at once for one object, and silent while it asks for silence."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable
from contextlib import asynccontextmanager
from typing import TypeVar

from google.protobuf.message import Message

from knarr.api.cloud.v1 import provider_pb2 as cloud
from knarr.client.backoff import Backoff
from knarr.machinery.errors import StatusError
from knarr.objects.keys import key_of
from services.cloud.errors import ProviderError, Throttled, Unavailable
from services.cloud.metrics import CALL_SECONDS, CALLS
from services.cloud.provider import CloudProvider

# A provider that asks for more has made a mistake, and must not be left alone for hours.
LONGEST_SILENCE_SECONDS = 300.0
# Waits for a provider that does not answer at all yet.
ASK_AGAIN = Backoff(first_seconds=0.2, limit_seconds=5.0)

# All other calls change something.
READS = frozenset({"GetInfo", "GetInstance", "ListRoutes"})

log = logging.getLogger(__name__)

R = TypeVar("R", bound=Message)
A = TypeVar("A", bound=Message)


class Guard(CloudProvider):
    """A provider as everybody else calls it. It raises ``ProviderError`` only.

    A provider that said for how long to wait is not called before; whoever calls meanwhile is told the rest of that time.
    """

    def __init__(self, provider: CloudProvider, timeout_seconds: float, allow: Callable[[], float] = lambda: math.inf) -> None:
        """``allow`` answers, before each call that changes something, how many seconds it may take, or raises a StatusError."""
        self._provider = provider
        self._timeout_seconds = timeout_seconds
        self._allow = allow
        self._locks: dict[Hashable, _Lock] = {}
        self._silent_until = 0.0
        # Text of the last call's error; empty after a success.
        self.last_error = ""

    async def get_info(self, request: cloud.GetInfoRequest) -> cloud.GetInfoResponse:
        return await self._call("GetInfo", self._provider.get_info, request)

    async def get_instance(self, request: cloud.GetInstanceRequest) -> cloud.GetInstanceResponse:
        return await self._call("GetInstance", self._provider.get_instance, request)

    async def ensure_load_balancer(self, request: cloud.EnsureLoadBalancerRequest) -> cloud.EnsureLoadBalancerResponse:
        async with self._alone(key_of(request.service)):
            return await self._call("EnsureLoadBalancer", self._provider.ensure_load_balancer, request)

    async def update_load_balancer(self, request: cloud.UpdateLoadBalancerRequest) -> cloud.UpdateLoadBalancerResponse:
        async with self._alone(key_of(request.service)):
            return await self._call("UpdateLoadBalancer", self._provider.update_load_balancer, request)

    async def delete_load_balancer(self, request: cloud.DeleteLoadBalancerRequest) -> cloud.DeleteLoadBalancerResponse:
        async with self._alone(key_of(request.service)):
            return await self._call("DeleteLoadBalancer", self._provider.delete_load_balancer, request)

    async def list_routes(self, request: cloud.ListRoutesRequest) -> cloud.ListRoutesResponse:
        return await self._call("ListRoutes", self._provider.list_routes, request)

    async def create_route(self, request: cloud.CreateRouteRequest) -> cloud.CreateRouteResponse:
        async with self._alone(request.route.destination_cidr):
            return await self._call("CreateRoute", self._provider.create_route, request)

    async def delete_route(self, request: cloud.DeleteRouteRequest) -> cloud.DeleteRouteResponse:
        async with self._alone(request.route.destination_cidr):
            return await self._call("DeleteRoute", self._provider.delete_route, request)

    async def run(self) -> None:
        await self._provider.run()

    async def close(self) -> None:
        await self._provider.close()

    @asynccontextmanager
    async def _alone(self, what: Hashable) -> AsyncIterator[None]:
        lock = self._locks.setdefault(what, _Lock())
        lock.users += 1
        try:
            async with lock:
                yield
        finally:
            lock.users -= 1
            if not lock.users:
                del self._locks[what]

    async def _call(self, name: str, method: Callable[[R], Awaitable[A]], request: R) -> A:
        self._check_silence()
        started = time.perf_counter()
        outcome = "cancelled"
        try:
            left = self._allow() if name not in READS else math.inf
            async with asyncio.timeout(min(self._timeout_seconds, left)):
                answer = await method(request)
            outcome, self.last_error = "ok", ""
            return answer
        except Exception as error:
            failure = self._failure(name, error)
            outcome = failure.reason
            self.last_error = str(failure)
            if failure is error:
                raise
            raise failure from error
        finally:
            CALLS.labels(name, outcome).inc()
            CALL_SECONDS.labels(name).observe(time.perf_counter() - started)

    def _check_silence(self) -> None:
        left = self._silent_until - asyncio.get_running_loop().time()
        if left > 0:
            raise Throttled("the provider asked to slow down", left)

    def _failure(self, name: str, error: Exception) -> ProviderError:
        if isinstance(error, Throttled) and error.retry_after_seconds > 0:
            error.retry_after_seconds = min(error.retry_after_seconds, LONGEST_SILENCE_SECONDS)
            self._silent_until = asyncio.get_running_loop().time() + error.retry_after_seconds
        if isinstance(error, ProviderError):
            return error
        if isinstance(error, TimeoutError):
            return Unavailable(f"the provider did not answer {name} within {self._timeout_seconds:g} s")
        if isinstance(error, StatusError):
            return Unavailable(str(error))
        log.error("a call to the provider failed", extra={"method": name}, exc_info=error)
        return Unavailable(f"{name}: {type(error).__name__}: {error}")


class _Lock(asyncio.Lock):
    """A lock that knows for how many callers it is kept."""

    users: int = 0


async def supported(provider: CloudProvider) -> cloud.GetInfoResponse:
    """What a provider can do, once it answers."""
    failures = 0
    while True:
        try:
            return await provider.get_info(cloud.GetInfoRequest())
        except ProviderError as error:
            failures += 1
            log.warning("the provider does not say yet what it can do", extra={"error": str(error)})
            await asyncio.sleep(max(ASK_AGAIN.delay(failures), error.retry_after_seconds))

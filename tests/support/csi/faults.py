"""What goes wrong with a call, on the driver's side of the wire."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

import grpc
import grpc.aio

from tests.support.csi.storage import Refused


class When(Enum):
    """BEFORE: refused, nothing is done. AFTER: done, and an error is told. HANGS: nothing is done, and nothing told. SILENT: done, and
    nothing told. CRASH_BEFORE and CRASH: the driver dies before the work, or when it is done and not yet told; somebody starts it again."""

    BEFORE = "before"
    AFTER = "after"
    HANGS = "hangs"
    SILENT = "silent"
    CRASH_BEFORE = "crash before"
    CRASH = "crash"


@dataclass
class Fault:
    """For the next ``times`` calls of a method."""

    method: str
    when: When = When.BEFORE
    times: int = 1
    code: grpc.StatusCode = grpc.StatusCode.INTERNAL
    message: str = "injected"


@dataclass(frozen=True)
class Call:
    """One that the driver heard."""

    method: str
    request: Any

    @property
    def volume(self) -> str:
        return str(getattr(self.request, "volume_id", ""))


Handler = Callable[[Any, Any], Awaitable[Any]]


class Desk(grpc.aio.ServerInterceptor):
    """Through which all calls come: it keeps them, and plays the faults. ``crash`` ends the driver."""

    def __init__(self, calls: list[Call], faults: list[Fault], crash: Callable[[], None]) -> None:
        self._calls, self._faults, self._crash = calls, faults, crash

    async def intercept_service(self, continuation: Callable[..., Awaitable[Any]], details: grpc.HandlerCallDetails) -> Any:
        handler = await continuation(details)
        if handler is None or details.method.startswith("/pluginregistration."):
            return handler
        method = details.method.rpartition("/")[2]

        async def serve(request: Any, context: grpc.aio.ServicerContext) -> Any:
            return await self._serve(method, handler.unary_unary, request, context)

        return grpc.unary_unary_rpc_method_handler(serve, handler.request_deserializer, handler.response_serializer)

    async def _serve(self, method: str, work: Handler, request: Any, context: grpc.aio.ServicerContext) -> Any:
        self._calls.append(Call(method, request))
        fault = self._take(method)
        if fault is not None and fault.when is When.BEFORE:
            await context.abort(fault.code, fault.message)
        if fault is not None and fault.when in (When.HANGS, When.CRASH_BEFORE):
            await self._silence(fault)
        try:
            answer = await work(request, context)
        except Refused as error:
            await context.abort(error.code, error.message)
        if fault is not None and fault.when is When.AFTER:
            await context.abort(fault.code, fault.message)
        if fault is not None:
            await self._silence(fault)
        return answer

    async def _silence(self, fault: Fault) -> None:
        if fault.when in (When.CRASH, When.CRASH_BEFORE):
            self._crash()
        await asyncio.Event().wait()

    def _take(self, method: str) -> Fault | None:
        fault = next((found for found in self._faults if found.method == method and found.times > 0), None)
        if fault is not None:
            fault.times -= 1
        return fault

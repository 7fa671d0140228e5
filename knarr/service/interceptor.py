"""The one place where gRPC calls are authenticated, counted and their errors converted.

Health checks need no token: whoever may connect may ask whether a component lives. Everything
else, reflection included, needs ``authorization: Bearer <token>``, or a connection whose client has
shown a certificate. A token that is wrong is refused even beside a good certificate.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from prometheus_client import Counter, Histogram

from knarr.machinery.errors import REASONS, StatusError, bad_request, internal
from knarr.service.access import Access, anybody
from knarr.service.authentication import (
    IMPERSONATE_PREFIX,
    Impersonate,
    TokenAuthenticator,
    User,
    as_nobody_else,
    set_current_user,
    unauthorized,
)
from knarr.service.client_certificates import of_pem

log = logging.getLogger(__name__)

STATUS_METADATA_KEY = "knarr-status-bin"
OPEN_SERVICES = ("/grpc.health.v1.Health/",)
# What gRPC calls the certificate that a client has shown and it has verified, in PEM.
CERTIFICATE = "x509_pem_cert"
# Streams of the open services that one server has at once: each costs a task, and anybody may ask for them.
MAX_OPEN_STREAMS = 256

# How a call of somebody that has one answer is done: what is awaited in its place.
Pace = Callable[[User, Coroutine[Any, Any, Any]], Awaitable[Any]]

CALLS = Counter("knarr_grpc_calls_total", "RPCs served, by method and gRPC status code.", ["method", "code"])
CALL_SECONDS = Histogram("knarr_grpc_call_seconds", "Time an RPC took; streams count until they end.", ["method"])


def rpc_status(error: StatusError) -> tuple[grpc.StatusCode, str, tuple[tuple[str, bytes], ...]]:
    """The gRPC code, text and trailing metadata that carry a ``Status``."""
    _, name = REASONS.get(error.reason, (500, "UNKNOWN"))
    return grpc.StatusCode[name], error.status.message, ((STATUS_METADATA_KEY, error.status.SerializeToString()),)


def at_once(user: User, answering: Coroutine[Any, Any, Any]) -> Awaitable[Any]:
    """As it comes."""
    return answering


class ServerInterceptor(grpc.aio.ServerInterceptor):
    """Authenticates by bearer token and turns StatusError into gRPC errors, for every method."""

    def __init__(
        self,
        tokens: TokenAuthenticator | None,
        impersonate: Impersonate = as_nobody_else,
        access: Access = anybody,
        pace: Pace = at_once,
    ) -> None:
        """``access`` says who may make which call: not everybody who is known is meant here. Without ``tokens`` certificates alone say
        who somebody is. ``pace`` says when those go on that have one answer."""
        self._tokens, self._impersonate, self._access, self._pace = tokens, impersonate, access, pace
        self._open_streams = 0

    async def intercept_service(
        self, continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler]], details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler:
        handler = await continuation(details)
        if handler is None or details.method.startswith(OPEN_SERVICES):
            return self._numbered(handler) if handler is not None and handler.response_streaming else handler
        authorization, plays = "", False
        for key, value in details.invocation_metadata:
            if key == "authorization":
                authorization = authorization or str(value)
            elif key.startswith(IMPERSONATE_PREFIX):
                plays = True
        if not authorization or self._tokens is None:
            return self._by_certificate(handler, details, plays)
        try:
            found = self._tokens.authenticate(authorization)
            user = found if isinstance(found, User) else await found
            if plays:
                user = await self._impersonate(user, details.invocation_metadata)
            await self._access(user, details.method)
        except StatusError as error:
            return _refusal(error, details.method)
        guard = _Guard(user, details.method, self._pace)
        behaviour: Callable[..., Any]
        if handler.response_streaming:
            behaviour = guard.stream(handler.stream_stream if handler.request_streaming else handler.unary_stream)
            make = grpc.stream_stream_rpc_method_handler if handler.request_streaming else grpc.unary_stream_rpc_method_handler
        else:
            behaviour = guard.unary(handler.stream_unary if handler.request_streaming else handler.unary_unary)
            make = grpc.stream_unary_rpc_method_handler if handler.request_streaming else grpc.unary_unary_rpc_method_handler
        return make(behaviour, handler.request_deserializer, handler.response_serializer)

    def _by_certificate(self, handler: grpc.RpcMethodHandler, details: grpc.HandlerCallDetails, plays: bool) -> grpc.RpcMethodHandler:
        """Whom the connection names is known with the call only. As the handler of a stream it has no message by then: none is received or
        decoded for who is not known."""

        async def call(requests: Any, context: grpc.aio.ServicerContext) -> AsyncIterator[Any]:
            try:
                user = self._certified(context)
                if plays:
                    user = await self._impersonate(user, details.invocation_metadata)
                await self._access(user, details.method)
                asked = _decoded(requests, handler.request_deserializer)
                argument = asked if handler.request_streaming else await _first(asked)
            except StatusError as error:
                code, text, metadata = rpc_status(error)
                CALLS.labels(details.method, code.name).inc()
                await context.abort(code, text, metadata)
            guard = _Guard(user, details.method, self._pace)
            if handler.response_streaming:
                behaviour = handler.stream_stream if handler.request_streaming else handler.unary_stream
                async for answer in guard.stream(behaviour)(argument, context):
                    yield answer
            else:
                behaviour = handler.stream_unary if handler.request_streaming else handler.unary_unary
                yield await guard.unary(behaviour)(argument, context)

        return grpc.stream_stream_rpc_method_handler(call, None, handler.response_serializer)

    def _certified(self, context: grpc.aio.ServicerContext) -> User:
        """Raises Unauthorized, Forbidden."""
        shown = next(iter(context.auth_context().get(CERTIFICATE, ())), b"")
        try:
            certified = of_pem(shown) if shown else None
        except ValueError:
            raise unauthorized() from None
        user = certified.at(time.time()) if certified is not None else None
        if user is None:
            raise unauthorized()
        return user

    def _numbered(self, handler: grpc.RpcMethodHandler) -> grpc.RpcMethodHandler:
        """A stream that needs no token, while there are not too many."""

        async def stream(request: Any, context: grpc.aio.ServicerContext) -> None:
            if self._open_streams >= MAX_OPEN_STREAMS:
                text = f"{MAX_OPEN_STREAMS} streams without a token are open; try again later"
                await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, text)
            self._open_streams += 1
            try:
                # The health service's own writes its answers itself.
                await handler.unary_stream(request, context)
            finally:
                self._open_streams -= 1

        return grpc.unary_stream_rpc_method_handler(stream, handler.request_deserializer, handler.response_serializer)


async def _decoded(requests: Any, decode: Callable[[bytes], Any]) -> AsyncIterator[Any]:
    """Raises BadRequest for what is no message of the call's."""
    async for request in requests:
        try:
            decoded = decode(request)
        except DecodeError as error:
            raise bad_request(f"the request cannot be read: {error}") from None
        yield decoded


async def _first(asked: AsyncIterator[Any]) -> Any:
    """Raises BadRequest where nothing comes."""
    async for found in asked:
        return found
    raise bad_request("the call ended without its request")


def _refusal(error: StatusError, method: str) -> grpc.RpcMethodHandler:
    """Ends a call by its headers alone: as the handler of a stream it is asked for no message, so none is received or decoded."""
    code, text, metadata = rpc_status(error)

    async def refuse(requests: Any, context: grpc.aio.ServicerContext) -> AsyncIterator[bytes]:
        CALLS.labels(method, code.name).inc()
        await context.abort(code, text, metadata)
        yield b""

    return grpc.stream_stream_rpc_method_handler(refuse)


class _Guard:
    """Wraps the behaviour of one call."""

    def __init__(self, user: User, method: str, pace: Pace) -> None:
        self._user = user
        self._method = method
        self._pace = pace

    def unary(self, behaviour: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
        async def call(request: Any, context: grpc.aio.ServicerContext) -> Any:
            started = time.perf_counter()
            try:
                self._begin()
                answer = await self._pace(self._user, behaviour(request, context))
            except Exception as error:
                await self._fail(error, context, started)
            self._count("OK", started)
            return answer

        return call

    def stream(self, behaviour: Callable[..., AsyncIterator[Any]]) -> Callable[..., AsyncIterator[Any]]:
        async def call(request: Any, context: grpc.aio.ServicerContext) -> AsyncIterator[Any]:
            started = time.perf_counter()
            try:
                self._begin()
                async for answer in behaviour(request, context):
                    yield answer
            except Exception as error:
                await self._fail(error, context, started)
            self._count("OK", started)

        return call

    def _begin(self) -> None:
        set_current_user(self._user)
        task = asyncio.current_task()
        if task is not None:
            # Lets who holds up the loop be known by its call.
            task.set_name(self._method)

    async def _fail(self, error: Exception, context: grpc.aio.ServicerContext, started: float) -> None:
        """Ends the call with the error's code; raises, never returns normally."""
        if isinstance(error, grpc.aio.AbortError):
            raise error
        if not isinstance(error, StatusError):
            log.exception("unexpected error in an RPC", extra={"method": self._method})
            error = internal(f"{type(error).__name__}: {error}")
        code, text, metadata = rpc_status(error)
        self._count(code.name, started)
        await context.abort(code, text, metadata)

    def _count(self, code: str, started: float) -> None:
        CALLS.labels(self._method, code).inc()
        CALL_SECONDS.labels(self._method).observe(time.perf_counter() - started)

"""The streams of the gRPC face: logs, commands, connections to ports, and requests that are passed on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from knarr.api.apiserver.v1 import resource_service_pb2 as face
from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.catalog import version_of
from knarr.machinery.errors import bad_request
from knarr.machinery.resources import Route
from knarr.service.authentication import current_user
from services.apiserver.api import Api, Ref, Request
from services.apiserver.call_auditing import begun
from services.apiserver.exchange.passed_call import PassedCall
from services.apiserver.request import CREATE, GET, REQUEST_SECONDS

PODS = version_of(core.Pod)
# By REST's methods; nobody may do anything else there, whatever the other side makes of it.
VERBS = {"GET": GET, "HEAD": GET, "OPTIONS": GET, "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


def deadline_of(context: Any) -> float:
    """The event loop's time at which the caller of an RPC gives up; no later than any request's."""
    left = context.time_remaining()
    return asyncio.get_running_loop().time() + (REQUEST_SECONDS if left is None else min(left, REQUEST_SECONDS))


class StreamServicer:
    """Errors are raised as StatusError; the server's interceptor converts them."""

    _api: Api

    def _ref(self, ref: face.ResourceRef) -> Ref:
        raise NotImplementedError

    def _asked(self, verb: str, ref: Ref, options: Any, context: Any) -> Request:
        """The request of the caller of this RPC, who waits until the RPC's deadline."""
        user, auditor = current_user(), self._api.auditor
        audit = begun(auditor, user, verb, ref, context) if auditor is not None else None
        return Request(user, verb, ref, options, deadline_of(context), audit=audit)

    def _stream(self, verb: str, ref: Ref, options: Any, context: Any) -> Request:
        """The request of a call that goes on, which counts among those of its user. Raises TooManyRequests."""
        fairness, user = self._api.fairness, current_user()
        if fairness is not None:
            fairness.open(user)
            context.add_done_callback(lambda _: fairness.close(user))
        return self._asked(verb, ref, options, context)

    def _of_pod(self, verb: str, named: Any, subresource: str, options: Any, context: Any) -> Request:
        return self._stream(verb, Ref(PODS, named.namespace, named.pod, subresource), options, context)

    async def Log(self, request: face.LogRequest, context: Any) -> AsyncIterator[face.LogResponse]:
        async for data in await self._api.logs(self._of_pod(GET, request, "log", request, context)):
            yield face.LogResponse(data=data)

    async def Exec(self, requests: AsyncIterator[face.ExecRequest], context: Any) -> AsyncIterator[face.ExecResponse]:
        start = await _start(requests, "Exec")
        command = await self._api.exec(self._of_pod(CREATE, start, "exec", start, context))
        async for response in command(requests):
            yield response

    async def Attach(self, requests: AsyncIterator[face.AttachRequest], context: Any) -> AsyncIterator[face.AttachResponse]:
        start = await _start(requests, "Attach")
        start.ClearField("command")
        command = await self._api.attach(self._of_pod(CREATE, start, "attach", start, context))
        # Both give the parts of a stream the same numbers, so the bytes fit.
        passed = (face.ExecRequest.FromString(request.SerializeToString()) async for request in requests)
        async for response in command(passed):
            yield face.AttachResponse.FromString(response.SerializeToString())

    async def PortForward(self, requests: AsyncIterator[face.PortForwardRequest], context: Any) -> AsyncIterator[face.PortForwardResponse]:
        start = await _start(requests, "PortForward")
        if not 0 < start.port < 65536:
            raise bad_request(f"port {start.port} is none: ports are from 1 to 65535")
        options = core.PodPortForwardOptions(ports=[start.port])
        forward = await self._api.port_forward(self._of_pod(CREATE, start, "portforward", options, context))
        await context.send_initial_metadata(())
        async with aclosing(forward(start.port, _data(requests, "data"))) as pieces:  # type: ignore[type-var]
            async for data in pieces:
                yield face.PortForwardResponse(data=data)

    async def Proxy(self, requests: AsyncIterator[face.ProxyRequest], context: Any) -> AsyncIterator[face.ProxyResponse]:
        start = await _start(requests, "Proxy")
        ref = self._ref(start.ref)
        subresource = ref.resource.subresource("proxy")
        if subresource is None or subresource.route is not Route.PROXY or not ref.name:
            raise bad_request("requests are passed on to one of pods, services or nodes: name it in `ref`")
        call = PassedCall(start, context.peer())
        options = ref.version.body_of(subresource)()
        options.path = call.path  # type: ignore[attr-defined]
        verb = VERBS.get(call.method)
        if verb is None:
            raise bad_request(f"requests are passed on whose method is one of {', '.join(VERBS)}, not {call.method}")
        wanted = self._stream(verb, Ref(ref.version, ref.namespace, ref.name, "proxy"), options, context)
        destination = await self._api.proxy(wanted)
        async with aclosing(call.answers(destination.connect, destination.scheme, destination.host, _data(requests, "body"))) as answers:
            async for answer in answers:
                yield answer


async def _start(requests: Any, call: str) -> Any:
    first = await anext(requests, None)
    if first is None or first.WhichOneof("part") != "start":
        raise bad_request(f"the first request of {call} carries `start`")
    return first.start


async def _data(requests: Any, part: str) -> AsyncIterator[bytes]:
    """What comes behind the start."""
    async for request in requests:
        if request.WhichOneof("part") != part:
            raise bad_request(f"requests behind the first one carry `{part}`")
        yield getattr(request, part)

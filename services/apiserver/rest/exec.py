"""exec and attach: a client's channels to a command in a container and back, over a WebSocket or SPDY/3.1."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from knarr.api.apiserver.v1 import resource_service_pb2 as face
from knarr.machinery.errors import bad_request
from knarr.service.pipe import Pipe
from knarr.service.streams import channels, spdy_channels
from knarr.service.streams.conversation import Command, converse_by_socket
from services.apiserver.api import Api
from services.apiserver.request import CREATE
from services.apiserver.request import Request as Wanted
from services.apiserver.rest.accepted import AcceptedSocket
from services.apiserver.rest.metrics import STREAMS
from services.apiserver.rest.query import Query
from services.apiserver.rest.refs import request_of
from services.apiserver.rest.request import Receive, Request, Send
from services.apiserver.rest.response import Response, Upgrade
from services.apiserver.rest.routing import Target
from services.apiserver.rest.spdy_negotiation import head, negotiate, no_protocol

Starter = Callable[[Query, Target], face.ExecStart]


class Commands:
    """Runs commands, or attaches to containers, through the node of the pod. ``ending`` is set when the server stops."""

    def __init__(self, kind: str, ask: Callable[[Wanted], Awaitable[Command]], starter: Starter, ending: asyncio.Event) -> None:
        self._kind, self._ask, self._starter = kind, ask, starter
        self._ending = ending

    async def upgrade(self, request: Request, target: Target) -> Response | Upgrade:
        """Over SPDY, by GET or POST. Clients come here after a refused WebSocket too, so they hear the true reason first."""
        start = self._starter(request.query, target)
        command = await self._command(request, target, start)
        offer = negotiate(request, spdy_channels.PROTOCOLS)
        if offer.protocol is None:
            return no_protocol(offer, spdy_channels.PROTOCOLS)

        async def serve(pipe: Pipe) -> None:
            await spdy_channels.converse(pipe, offer.protocol or "", start, command, self._ending)

        return Upgrade(head(offer), serve, self._kind)

    async def serve(self, request: Request, target: Target, receive: Receive, send: Send) -> None:
        """Over a WebSocket, to the end. Raises, before that is accepted, what is wrong with the request."""
        start = self._starter(request.query, target)
        command = await self._command(request, target, start)
        protocol = channels.choose_protocol(request.scope["subprotocols"])
        if protocol is None:
            raise bad_request(f"none of the offered WebSocket protocols is served: {', '.join(channels.PROTOCOLS)}")
        await receive()
        await send({"type": "websocket.accept", "subprotocol": protocol or None})
        with suppress(OSError), STREAMS.labels(self._kind).track_inprogress():
            await converse_by_socket(AcceptedSocket(receive, send), protocol, start, command, self._ending)

    async def _command(self, request: Request, target: Target, start: face.ExecStart) -> Command:
        return await self._ask(request_of(request, target, CREATE, start))


def exec_commands(api: Api, ending: asyncio.Event) -> Commands:
    return Commands("exec", api.exec, exec_start, ending)


def attachments(api: Api, ending: asyncio.Event) -> Commands:
    return Commands("attach", api.attach, attach_start, ending)


def exec_start(query: Query, target: Target) -> face.ExecStart:
    """The parameters of PodExecOptions; raises BadRequest."""
    start = attach_start(query, target)
    start.command.extend(query.all("command"))
    if not start.command:
        raise bad_request("you must specify at least 1 command for the container")
    return start


def attach_start(query: Query, target: Target) -> face.ExecStart:
    """The parameters of PodAttachOptions; raises BadRequest."""
    start = face.ExecStart(
        namespace=target.namespace, pod=target.name, container=query.text("container"),
        stdin=query.flag("stdin"), stdout=query.flag("stdout"), stderr=query.flag("stderr"), tty=query.flag("tty"),
    )  # fmt: skip
    if not (start.stdin or start.stdout or start.stderr):
        raise bad_request("you must specify at least 1 of stdin, stdout, stderr")
    return start

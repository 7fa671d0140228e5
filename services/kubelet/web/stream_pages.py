"""/exec, /attach and /portForward: commands and ports of containers, in the dialects of Kubernetes' clients.

Loaded for the first who asks: most kubelets are asked by their API server alone, by gRPC.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing

from knarr.api.apiserver.v1 import resource_service_pb2 as face
from knarr.api.kubelet.v1 import kubelet_service_pb2 as pb
from knarr.machinery.errors import bad_request
from knarr.service.pipe import Pipe
from knarr.service.streams import channels, forwards, spdy_channels
from knarr.service.streams.conversation import Command, converse_by_socket
from knarr.service.streams.offer import ACCEPTED, SPDY, VERSION, negotiated, unspoken
from knarr.service.web.message import WebAnswer, WebRequest
from knarr.service.web.websocket import WebSocket, accepting, offered_protocols
from services.kubelet.conversation import converse
from services.kubelet.forwarding import relay
from services.kubelet.runtime.port import Session
from services.kubelet.servicer import KubeletServicer

WEBSOCKET = "websocket"
_ON = ("1", "true")


async def exec_page(servicer: KubeletServicer, request: WebRequest, where: Sequence[str]) -> WebAnswer:
    """``where`` is namespace, pod, perhaps its uid, and container. Raises StatusError."""
    start = start_of(request.parameters())
    start.command.extend(request.parameters().get("command", []))
    if not start.command:
        raise bad_request("you must specify at least 1 command for the container")
    container = _container(servicer, where)

    def begin() -> Awaitable[Session]:
        return servicer.begin_exec(container, tuple(start.command), stdin=start.stdin, tty=start.tty)

    return _conversation(request, start, _command(begin))


async def attach_page(servicer: KubeletServicer, request: WebRequest, where: Sequence[str]) -> WebAnswer:
    """``where`` as of a command. Raises StatusError."""
    start = start_of(request.parameters())
    container = _container(servicer, where)
    return _conversation(request, start, _command(lambda: servicer.begin_attach(container, stdin=start.stdin, tty=start.tty)))


async def port_forward_page(servicer: KubeletServicer, request: WebRequest, where: Sequence[str]) -> WebAnswer:
    """``where`` is namespace, pod and perhaps its uid. Raises StatusError."""
    namespace, pod = where[:2]
    servicer.reachable_pod(namespace, pod, "".join(where[2:]))

    async def forward(port: int, said: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        connection = await servicer.dial(pb.PortForwardStart(namespace=namespace, pod=pod, port=port))
        async with aclosing(relay(connection, said)) as pieces:  # type: ignore[type-var]
            async for piece in pieces:
                yield piece

    if request.upgrade == WEBSOCKET:
        protocol = forwards.choose_protocol(offered_protocols(request))
        asked = request.parameters()
        ports = [] if protocol == forwards.TUNNEL else forwards.ports_of((*asked.get("port", []), *asked.get("ports", [])))

        async def by_socket(socket: WebSocket, ending: asyncio.Event) -> None:
            await forwards.forward_by_socket(socket, protocol, ports, pod, forward, ending)

        return _by_socket(request, protocol, by_socket)

    async def by_spdy(pipe: Pipe, protocol: str, ending: asyncio.Event) -> None:
        await forwards.SpdyForwards(pipe, pod, forward).run(ending)

    return _by_spdy(request, forwards.SPDY_PROTOCOLS, by_spdy)


def start_of(parameters: dict[str, list[str]]) -> face.ExecStart:
    """By the names of the kubelet's own query, which are not PodExecOptions'. Raises BadRequest."""
    on = {name: (parameters.get(name) or [""])[0] in _ON for name in ("input", "output", "error", "tty")}
    start = face.ExecStart(stdin=on["input"], stdout=on["output"], stderr=on["error"] and not on["tty"], tty=on["tty"])
    if not (start.stdin or start.stdout or start.stderr):
        raise bad_request("you must specify at least 1 of stdin, stdout, stderr: input=1, output=1, error=1")
    return start


def _container(servicer: KubeletServicer, where: Sequence[str]) -> str:
    """The id of one that runs."""
    namespace, pod, *uid, name = where
    return servicer.running_container(pb.ContainerRef(namespace=namespace, pod=pod, container=name), "".join(uid)).id


def _command(begin: Callable[[], Awaitable[Session]]) -> Command:
    """It begins with the first answer that is asked for, when the client has opened its streams."""

    async def run(requests: AsyncIterator[face.ExecRequest]) -> AsyncIterator[face.ExecResponse]:
        session = await begin()
        async with session, aclosing(converse(session, requests, face.ExecResponse)) as responses:  # type: ignore[type-var]
            async for response in responses:
                yield response

    return run


def _conversation(request: WebRequest, start: face.ExecStart, command: Command) -> WebAnswer:
    if request.upgrade == WEBSOCKET:
        protocol = channels.choose_protocol(offered_protocols(request))
        if protocol is None:
            raise bad_request(f"none of the offered WebSocket protocols is served: {', '.join(channels.PROTOCOLS)}")

        async def by_socket(socket: WebSocket, ending: asyncio.Event) -> None:
            await converse_by_socket(socket, protocol, start, command, ending)

        return _by_socket(request, protocol, by_socket)

    async def by_spdy(pipe: Pipe, protocol: str, ending: asyncio.Event) -> None:
        await spdy_channels.converse(pipe, protocol, start, command, ending)

    return _by_spdy(request, spdy_channels.PROTOCOLS, by_spdy)


def _by_socket(request: WebRequest, protocol: str | None, serve: Callable[[WebSocket, asyncio.Event], Awaitable[None]]) -> WebAnswer:
    """Raises BadRequest for what is no handshake."""

    async def serve_pipe(pipe: Pipe, ending: asyncio.Event) -> None:
        socket = WebSocket(pipe)
        await serve(socket, ending)
        await socket.leave()

    return WebAnswer(b"", 101, headers=accepting(request, protocol), upgrade=serve_pipe)


def _by_spdy(request: WebRequest, served: Sequence[str], serve: Callable[[Pipe, str, asyncio.Event], Awaitable[None]]) -> WebAnswer:
    """Raises BadRequest for a request that asks for no SPDY."""
    offer = negotiated(request.upgrade, [request.headers.get(VERSION.lower(), "")], served)
    protocol = offer.protocol
    if protocol is None:
        return WebAnswer(f"{unspoken(offer, served)}\n".encode(), 403, headers=tuple((ACCEPTED, one) for one in served))
    return WebAnswer(b"", 101, headers=(("Upgrade", SPDY), *offer.headers), upgrade=lambda pipe, ending: serve(pipe, protocol, ending))

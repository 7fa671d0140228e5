"""port-forward: connections to the ports of a pod."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from knarr.api.core.v1 import core_pb2 as core
from knarr.service.pipe import Pipe
from knarr.service.streams.forwards import SPDY_PROTOCOLS, TUNNEL, Forward, SpdyForwards, choose_protocol, forward_by_socket, ports_of
from services.apiserver.api import Api
from services.apiserver.request import CREATE
from services.apiserver.rest.accepted import AcceptedSocket
from services.apiserver.rest.metrics import STREAMS
from services.apiserver.rest.query import Query
from services.apiserver.rest.refs import request_of
from services.apiserver.rest.request import Receive, Request, Send
from services.apiserver.rest.response import Response, Upgrade
from services.apiserver.rest.routing import Target
from services.apiserver.rest.spdy_negotiation import head, negotiate, no_protocol


class PortForwards:
    """``ending`` is set when the server stops."""

    def __init__(self, api: Api, ending: asyncio.Event) -> None:
        self._api, self._ending = api, ending

    async def upgrade(self, request: Request, target: Target) -> Response | Upgrade:
        """Over SPDY. Clients come here after a refused WebSocket too, so they hear the true reason first."""
        forward = await self._forward(request, target)
        offer = negotiate(request, SPDY_PROTOCOLS)
        if offer.protocol is None:
            return no_protocol(offer, SPDY_PROTOCOLS)

        async def serve(pipe: Pipe) -> None:
            await SpdyForwards(pipe, target.name, forward).run(self._ending)

        return Upgrade(head(offer), serve, "portforward")

    async def serve(self, request: Request, target: Target, receive: Receive, send: Send) -> None:
        """Over a WebSocket, to the end. Raises, before that is accepted, what is wrong with the request."""
        protocol = choose_protocol(request.scope["subprotocols"])
        ports = [] if protocol == TUNNEL else _ports(request.query)
        forward = await self._forward(request, target)
        await receive()
        await send({"type": "websocket.accept", "subprotocol": protocol})
        with suppress(OSError), STREAMS.labels("portforward").track_inprogress():
            await forward_by_socket(AcceptedSocket(receive, send), protocol, ports, target.name, forward, self._ending)

    async def _forward(self, request: Request, target: Target) -> Forward:
        options = core.PodPortForwardOptions(ports=_ports(request.query, needed=False))
        return await self._api.port_forward(request_of(request, target, CREATE, options))


def _ports(query: Query, *, needed: bool = True) -> list[int]:
    return ports_of((*query.all("ports"), *query.all("port")), needed=needed)

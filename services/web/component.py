"""The page as a component of a cluster: a server that everybody looks at who shows a token, and its gRPC contract."""

from __future__ import annotations

import asyncio
import os
import ssl
from pathlib import Path
from typing import ClassVar

import grpc.aio

from knarr.api.web.v1 import web_service_pb2 as messages
from knarr.api.web.v1 import web_service_pb2_grpc as stubs
from knarr.service.component import Component
from knarr.service.errors import CommandError
from knarr.service.keypair import KeptPair
from services.web.api import Access, Api
from services.web.face import Face
from services.web.guard import Guard
from services.web.permits import Permits
from services.web.reception import Reception
from services.web.remote_parts import Channels, RemoteParts
from services.web.servicer import WebServicer
from services.web.settings import WebSettings

TOKEN_ADVICE = "sign in with a token of the cluster's"


class Web(Component):
    """One instance. ``pair`` is what it shows to components, ``authority`` (PEM) has signed theirs and the API server's."""

    name: ClassVar[str] = "web"

    def __init__(self, settings: WebSettings, authority: Path, pair: KeptPair) -> None:
        self._settings = settings
        access = Access(settings.server, ssl.create_default_context(cafile=str(authority)))
        self._channels = Channels(authority.read_bytes(), pair)
        self.reception = Reception(access, self._parts, history=settings.history)
        self._guard = Guard(self.reception.desk, TOKEN_ADVICE, settings.names, published=settings.published)
        self._face = Face(self.reception, self._guard, settings.host, settings.port)
        self._serving = False

    def _parts(self, api: Api) -> RemoteParts:
        return RemoteParts(self._settings.instances, self._channels, Permits(api))

    def register(self, server: grpc.aio.Server) -> list[str]:
        stubs.add_WebServiceServicer_to_server(WebServicer(self.reception), server)
        return [messages.DESCRIPTOR.services_by_name["WebService"].full_name]

    @property
    def page_port(self) -> int:
        """Where the page is served; 0 before it is."""
        return self._guard.port

    @property
    def ready(self) -> bool:
        return self._serving

    async def run(self) -> None:
        async with self._channels, self.reception:
            try:
                await self._face.__aenter__()
            except OSError as error:
                where = f"{self._settings.host}:{self._settings.port}"
                reason = os.strerror(error.errno or 0)
                raise CommandError(f"web: cannot serve the page at {where}: {reason}; choose another one by --page") from error
            self._serving = True
            try:
                await asyncio.Event().wait()
            finally:
                self._serving = False
                await self._face.__aexit__()

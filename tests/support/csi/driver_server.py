"""A driver's server on a socket, which can be stopped, started again and made to crash: whatever contract it serves."""

from __future__ import annotations

import abc
import asyncio
from pathlib import Path
from typing import Self

import grpc.aio

from tests.support.csi.faults import Call, Desk, Fault


class DriverServer(abc.ABC):
    """It keeps what it was asked in ``calls``, and does what its ``faults`` say. Used with ``async with``, it runs meanwhile."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket
        self.calls: list[Call] = []
        self.faults: list[Fault] = []
        self._server: grpc.aio.Server | None = None
        self._crashes: set[asyncio.Task[None]] = set()

    @abc.abstractmethod
    def register(self, server: grpc.aio.Server) -> None:
        """Adds the contract's services."""

    @property
    def target(self) -> str:
        """As gRPC is told of it."""
        return f"unix:{self.socket}"

    def asked(self, *methods: str) -> list[str]:
        """The methods that were called, in order: of these, or all."""
        return [call.method for call in self.calls if not methods or call.method in methods]

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        self.socket.parent.mkdir(parents=True, exist_ok=True)
        self.socket.unlink(missing_ok=True)
        server = grpc.aio.server(interceptors=[Desk(self.calls, self.faults, self.crash)])
        self.register(server)
        server.add_insecure_port(self.target)
        await server.start()
        self._server = server

    async def stop(self) -> None:
        """As a process that ends: its calls break off, and its socket goes."""
        server = self._server
        if server is not None:
            # Its socket goes with it: only then may another listen there.
            await server.stop(None)
            if self._server is server:
                self._server = None
                self.socket.unlink(missing_ok=True)

    def crash(self) -> None:
        """Ends at once, from within a call."""
        task = asyncio.create_task(self.stop())
        self._crashes.add(task)
        task.add_done_callback(self._crashes.discard)

    @property
    def runs(self) -> bool:
        return self._server is not None

"""A node that plays what a test says, for tests of streams through it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from knarr.api.apiserver.v1 import resource_service_pb2 as face
from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.errors import StatusError, status_error

PODS = "/api/v1/namespaces/default/pods"


def pod(name: str, *containers: str) -> core.Pod:
    found = core.Pod(metadata=meta.ObjectMeta(name=name), spec=core.PodSpec(node_name="node-1"))
    for container in containers:
        found.spec.containers.add(name=container, image="busybox")
    return found


class FakeNode:
    """Plays what a test puts into ``output``; keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.output: asyncio.Queue[Any] = asyncio.Queue()
        self.open = 0

    async def logs(self, pod: core.Pod, node: core.Node, request: face.LogRequest) -> AsyncIterator[bytes]:
        self.asked.append(request)
        async for item in self._play():
            yield item

    async def exec(
        self, pod: core.Pod, node: core.Node, start: face.ExecStart, requests: AsyncIterator[face.ExecRequest]
    ) -> AsyncIterator[face.ExecResponse]:
        self.asked.append(start)
        reader = asyncio.create_task(self._read(requests))
        try:
            async for item in self._play():
                yield item
        finally:
            reader.cancel()

    attach = exec

    async def forward(
        self, pod: core.Pod, node: core.Node, port: int, data: AsyncIterator[bytes], *, by_address: bool = False
    ) -> AsyncIterator[bytes]:
        """Port 81 refuses; 83 says a word and ends; every other one echoes, and says goodbye at the half-close."""
        self.asked.append((pod.metadata.name, port, by_address))
        self.open += 1
        try:
            if port == 81:
                raise status_error("ServiceUnavailable", "dial tcp 10.0.0.1:81: connect: connection refused")
            if port == 83:
                yield b"word"
                return
            async for piece in data:
                yield piece
            yield b"goodbye"
        finally:
            self.open -= 1

    async def connect(self, address: str, port: int, data: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        self.asked.append((address, port))
        async for piece in data:
            yield piece

    async def _read(self, requests: AsyncIterator[face.ExecRequest]) -> None:
        async for request in requests:
            self.asked.append(request)

    async def _play(self) -> AsyncIterator[Any]:
        self.open += 1
        try:
            while (item := await self.output.get()) is not None:
                if isinstance(item, StatusError):
                    raise item
                yield item
        finally:
            self.open -= 1

    async def heard(self, count: int) -> list[Any]:
        async with asyncio.timeout(5):
            while len(self.asked) < count:  # noqa: ASYNC110  the list has no event
                await asyncio.sleep(0.005)
        return self.asked

    async def left_alone(self) -> None:
        async with asyncio.timeout(5):
            while self.open:  # noqa: ASYNC110
                await asyncio.sleep(0.005)

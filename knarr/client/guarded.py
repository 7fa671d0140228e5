"""A client whose every write is allowed anew, in the moment in which it is sent.

What is allowed is so for a time. A client with a network gives up a write that has not left by then: between our asking and the first byte
a process may be stopped for long.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from google.protobuf.message import Message

from knarr.api.autoscaling.v1 import autoscaling_pb2 as autoscaling
from knarr.client.client import ALLOWANCE, Client, JsonPatch, M, ObjectList, WatchEvent
from knarr.machinery.resources import Resource


class GuardedClient(Client):
    """Reads and watches pass; before each write ``allow`` answers for how many seconds it may be done, or raises a StatusError."""

    def __init__(self, client: Client, allow: Callable[[], float]) -> None:
        self._client = client
        self._allow = allow

    @contextmanager
    def _allowed(self) -> Iterator[None]:
        self._allow()
        token = ALLOWANCE.set(self._allow)
        try:
            yield
        finally:
            ALLOWANCE.reset(token)

    async def resources(self) -> Sequence[Resource]:
        return await self._client.resources()

    async def get(self, message: type[M], name: str, namespace: str = "") -> M:
        return await self._client.get(message, name, namespace)

    async def scale(self, message: type[Message], name: str, namespace: str = "") -> autoscaling.Scale:
        return await self._client.scale(message, name, namespace)

    async def rescale(self, message: type[Message], scale: autoscaling.Scale) -> autoscaling.Scale:
        with self._allowed():
            return await self._client.rescale(message, scale)

    async def ask_elsewhere(self, group: str, plural: str, *names: str, **options: Any) -> bytes:
        return await self._client.ask_elsewhere(group, plural, *names, **options)

    async def list(self, message: type[M], namespace: str = "", **options: Any) -> ObjectList[M]:
        return await self._client.list(message, namespace, **options)

    def watch(self, message: type[M], namespace: str = "", **options: Any) -> AsyncIterator[Sequence[WatchEvent[M]]]:
        return self._client.watch(message, namespace, **options)

    async def create(self, obj: M, **options: Any) -> M:
        with self._allowed():
            return await self._client.create(obj, **options)

    async def update(self, obj: M, **options: Any) -> M:
        with self._allowed():
            return await self._client.update(obj, **options)

    async def patch(self, message: type[M], name: str, namespace: str = "", *, patch: dict[str, Any] | JsonPatch, **options: Any) -> M:
        with self._allowed():
            return await self._client.patch(message, name, namespace, patch=patch, **options)

    async def delete(self, message: type[M], name: str, namespace: str = "", **options: Any) -> None:
        with self._allowed():
            await self._client.delete(message, name, namespace, **options)

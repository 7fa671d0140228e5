"""A client whose every write is allowed anew, in the moment in which it is sent."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from knarr.client.client import Client, JsonPatch, M, ObjectList, WatchEvent
from knarr.machinery.resources import Resource


class GuardedClient(Client):
    """Reads and watches pass; before each write ``allow`` is asked, which raises a StatusError to refuse it."""

    def __init__(self, client: Client, allow: Callable[[], None]) -> None:
        self._client = client
        self._allow = allow

    async def resources(self) -> Sequence[Resource]:
        return await self._client.resources()

    async def get(self, message: type[M], name: str, namespace: str = "") -> M:
        return await self._client.get(message, name, namespace)

    async def list(self, message: type[M], namespace: str = "", **options: Any) -> ObjectList[M]:
        return await self._client.list(message, namespace, **options)

    def watch(self, message: type[M], namespace: str = "", **options: Any) -> AsyncIterator[Sequence[WatchEvent[M]]]:
        return self._client.watch(message, namespace, **options)

    async def create(self, obj: M, **options: Any) -> M:
        self._allow()
        return await self._client.create(obj, **options)

    async def update(self, obj: M, **options: Any) -> M:
        self._allow()
        return await self._client.update(obj, **options)

    async def patch(self, message: type[M], name: str, namespace: str = "", *, patch: dict[str, Any] | JsonPatch, **options: Any) -> M:
        self._allow()
        return await self._client.patch(message, name, namespace, patch=patch, **options)

    async def delete(self, message: type[M], name: str, namespace: str = "", **options: Any) -> None:
        self._allow()
        await self._client.delete(message, name, namespace, **options)

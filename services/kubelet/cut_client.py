"""The API as a node sees it that may be cut off from it: while it is, every call fails as it does when nothing answers."""

from __future__ import annotations

import builtins
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, TypeVar

from google.protobuf.message import Message

from knarr.api.autoscaling.v1 import autoscaling_pb2 as autoscaling
from knarr.client.client import Client, ObjectList, WatchEvent
from knarr.machinery.errors import status_error
from knarr.machinery.resources import Resource

M = TypeVar("M", bound=Message)


class CutClient(Client):
    """``is_cut`` answers whether it is so now. A watch breaks with the first change that does not come through."""

    def __init__(self, client: Client, is_cut: Callable[[], bool]) -> None:
        self._client, self._is_cut = client, is_cut

    @property
    def _reached(self) -> Client:
        if self._is_cut():
            raise status_error("ServiceUnavailable", "the node is cut off from the API server")
        return self._client

    async def resources(self) -> Sequence[Resource]:
        return await self._reached.resources()

    async def get(self, message: type[M], name: str, namespace: str = "") -> M:
        return await self._reached.get(message, name, namespace)

    async def scale(self, message: type[Message], name: str, namespace: str = "") -> autoscaling.Scale:
        return await self._reached.scale(message, name, namespace)

    async def rescale(self, message: type[Message], scale: autoscaling.Scale) -> autoscaling.Scale:
        return await self._reached.rescale(message, scale)

    async def ask_elsewhere(
        self, group: str, plural: str, namespace: str = "", name: str = "", subresource: str = "", *, query: Mapping[str, str]
    ) -> bytes:
        return await self._reached.ask_elsewhere(group, plural, namespace, name, subresource, query=query)

    async def list(self, message: type[M], namespace: str = "", **options: Any) -> ObjectList[M]:
        return await self._reached.list(message, namespace, **options)

    async def watch(self, message: type[M], namespace: str = "", **options: Any) -> AsyncIterator[Sequence[WatchEvent[M]]]:
        async with aclosing(self._reached.watch(message, namespace, **options)) as batches:  # type: ignore[type-var]
            async for batch in batches:
                _ = self._reached
                yield batch

    async def create(self, obj: M, **options: Any) -> M:
        return await self._reached.create(obj, **options)

    async def update(self, obj: M, **options: Any) -> M:
        return await self._reached.update(obj, **options)

    async def patch(
        self, message: type[M], name: str, namespace: str = "", *, patch: dict[str, Any] | builtins.list[Any], **options: Any
    ) -> M:
        return await self._reached.patch(message, name, namespace, patch=patch, **options)

    async def delete(self, message: type[M], name: str, namespace: str = "", **options: Any) -> None:
        await self._reached.delete(message, name, namespace, **options)

"""Who calls an ``Api`` in tests, and makes the requests for it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import Message

from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.service.authentication import User
from knarr.service.streams.conversation import Command
from knarr.service.streams.forwards import Forward
from services.apiserver import request as verbs
from services.apiserver.admission.catalog import chain
from services.apiserver.allocators.allocator import Allocators
from services.apiserver.api import Api, Event, Page, Ref, Request, Written
from services.apiserver.backend import Backend
from services.apiserver.pipeline.pipeline import Pipeline
from services.apiserver.pipeline.proxy import Destination

CALLER = User("caller", groups=("system:masters", "system:authenticated"))


def pipeline_of(backend: Backend, allocators: Allocators | None = None) -> Pipeline:
    """A pipeline with the server's own admission."""
    return Pipeline(backend, chain(backend), allocators or Allocators())


@dataclass(frozen=True, slots=True)
class Caller:
    """Calls an ``Api`` as ``user``, who waits ``seconds`` for each answer."""

    api: Api
    user: User = CALLER
    seconds: float = verbs.REQUEST_SECONDS

    @classmethod
    def of(cls, backend: Backend, allocators: Allocators | None = None) -> Caller:
        return cls(Api(pipeline_of(backend, allocators)))

    @property
    def allocators(self) -> Allocators:
        return self.api.pipeline.allocators

    @property
    def backend(self) -> Backend:
        return self.api.pipeline.backend

    def request(self, verb: str, ref: Ref, options: Any) -> Request:
        return Request(self.user, verb, ref, options, asyncio.get_running_loop().time() + self.seconds)

    async def get(self, ref: Ref, resource_version: str = "") -> Written:
        return await self.api.get(self.request(verbs.GET, ref, meta.GetOptions(resource_version=resource_version)))

    async def list(self, ref: Ref, options: meta.ListOptions) -> Page:
        return await self.api.list(self.request(verbs.LIST, ref, options))

    async def watch(self, ref: Ref, options: meta.ListOptions) -> AsyncIterator[Sequence[Event]]:
        """Raises at the first step what ``Api.watch`` raises."""
        async with contextlib.aclosing(await self.api.watch(self.request(verbs.WATCH, ref, options))) as batches:
            async for batch in batches:
                yield batch

    async def create(self, ref: Ref, obj: Message, options: meta.CreateOptions) -> Written:
        return await self.api.create(self.request(verbs.CREATE, ref, options), obj)

    async def update(self, ref: Ref, obj: Message, options: meta.UpdateOptions) -> Written:
        return await self.api.update(self.request(verbs.UPDATE, ref, options), obj)

    async def patch(self, ref: Ref, patch_type: str, patch: bytes, options: meta.PatchOptions) -> Written:
        return await self.api.patch(self.request(verbs.PATCH, ref, options), patch_type, patch)

    async def delete(self, ref: Ref, options: meta.DeleteOptions) -> Written:
        return await self.api.delete(self.request(verbs.DELETE, ref, options))

    async def delete_collection(self, ref: Ref, options: meta.DeleteOptions, selection: meta.ListOptions) -> Page:
        return await self.api.delete_collection(self.request(verbs.DELETE_COLLECTION, ref, options), selection)

    async def logs(self, ref: Ref, options: Any) -> AsyncIterator[bytes]:
        return await self.api.logs(self.request(verbs.GET, ref, options))

    async def exec(self, ref: Ref, options: Any) -> Command:
        return await self.api.exec(self.request(verbs.CREATE, ref, options))

    async def attach(self, ref: Ref, options: Any) -> Command:
        return await self.api.attach(self.request(verbs.CREATE, ref, options))

    async def port_forward(self, ref: Ref, options: Any) -> Forward:
        return await self.api.port_forward(self.request(verbs.CREATE, ref, options))

    async def proxy(self, verb: str, ref: Ref, options: Any) -> Destination:
        return await self.api.proxy(self.request(verb, ref, options))

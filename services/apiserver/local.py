"""The typed client without a network, for components in the apiserver's own process.

Objects that it hands out in lists and watches are decoded once for the whole process and shared: they are read-only, as with every
``Client``, and without ``managedFields``.
"""

from __future__ import annotations

import asyncio
import builtins
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeVar

import orjson
from google.protobuf.message import Message

from knarr.api.autoscaling.v1 import autoscaling_pb2 as autoscaling
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.client.client import Client, ObjectList, WatchEvent
from knarr.machinery.resources import Registry, Resource, Version, served
from knarr.objects.copies import copy_of
from knarr.service.authentication import User
from services.apiserver.api import Api, Event, Ref, Written
from services.apiserver.audit.auditor import Auditor, path_of
from services.apiserver.audit.event import Common
from services.apiserver.request import CREATE, DELETE, GET, LIST, PATCH, REQUEST_SECONDS, UPDATE, WATCH, Request

M = TypeVar("M", bound=Message)
NEWEST = meta.GetOptions()
# What one component asks for most: the collections that it creates in, an object of its own. Each of a thousand kubelets has as many.
REMEMBERED = 8


class LocalClient(Client):
    """Calls the pipeline directly, as ``user``. What it asked for lately is kept: who decides and what the audit log tells know by the same
    object that it comes again."""

    def __init__(self, api: Api, user: User, registry: Registry) -> None:
        self._api = api
        self._user = user
        self._registry = registry
        self._known = lru_cache(maxsize=REMEMBERED)(Ref)
        self._commons: dict[tuple[int, str], Common] = {}

    def _ref(self, message: type[Message], namespace: str = "", name: str = "", subresource: str = "") -> Ref:
        found = self._registry.of(message) or self._api.pipeline.elsewhere.registry.of(message)
        return self._known(served(found, message), namespace, name, subresource)

    async def resources(self) -> Sequence[Resource]:
        return [*self._registry, *self._api.pipeline.elsewhere.beside(self._registry)]

    def _request(self, verb: str, ref: Ref, options: Any) -> Request:
        auditor = self._api.auditor
        audit = auditor.begin(self._common(auditor, verb, ref)) if auditor is not None else None
        deadline = asyncio.get_running_loop().time() + REQUEST_SECONDS
        return Request(self._user, verb, ref, options, deadline, audit=audit, is_kept=True)

    def _common(self, auditor: Auditor, verb: str, ref: Ref) -> Common:
        key = id(ref), verb
        found = self._commons.get(key)
        # The same reference, and not another one in its place.
        if found is None or found.ref is not ref or found.backlog is not auditor.backlog:
            if len(self._commons) >= REMEMBERED:
                self._commons.clear()
            found = self._commons[key] = auditor.common(self._user, verb, ref, path_of(ref))
        return found

    async def get(self, message: type[M], name: str, namespace: str = "") -> M:
        ref = self._ref(message, namespace, name)
        answer: M = _answer(await self._api.get(self._request(GET, ref, NEWEST)), ref)
        return answer

    async def scale(self, message: type[Message], name: str, namespace: str = "") -> autoscaling.Scale:
        ref = self._ref(message, namespace, name, "scale")
        answer: autoscaling.Scale = _answer(await self._api.get(self._request(GET, ref, NEWEST)), ref)
        return answer

    async def rescale(self, message: type[Message], scale: autoscaling.Scale) -> autoscaling.Scale:
        ref = self._ref(message, scale.metadata.namespace, scale.metadata.name, "scale")
        written = await self._api.update(self._request(UPDATE, ref, meta.UpdateOptions()), copy_of(scale))
        answer: autoscaling.Scale = _answer(written, ref)
        return answer

    async def ask_elsewhere(
        self, group: str, plural: str, namespace: str = "", name: str = "", subresource: str = "", *, query: Mapping[str, str]
    ) -> bytes:
        ref = self._api.pipeline.elsewhere.ref(group, "", plural, namespace, name, subresource)
        return await self._api.ask_elsewhere(self._request(GET if name else LIST, ref, meta.ListOptions()), query)

    async def list(
        self,
        message: type[M],
        namespace: str = "",
        *,
        label_selector: str = "",
        field_selector: str = "",
        limit: int = 0,
        continue_token: str = "",
        resource_version: str = "",
    ) -> ObjectList[M]:
        options = meta.ListOptions(
            label_selector=label_selector,
            field_selector=field_selector,
            limit=limit,
            continue_token=continue_token,
            resource_version=resource_version,
        )
        ref = self._ref(message, namespace)
        page = await self._api.list(self._request(LIST, ref, options))
        items: builtins.list[Any] = []
        for block in page.entries.blocks:
            # Many take seconds to be decoded for the first time.
            await asyncio.sleep(0)
            items += [entry.served(ref.version).shared_message for entry in block]
        return ObjectList(items, str(page.revision), page.continue_token)

    async def watch(
        self, message: type[M], namespace: str = "", *, resource_version: str, label_selector: str = "", field_selector: str = ""
    ) -> AsyncIterator[Sequence[WatchEvent[M]]]:
        options = meta.ListOptions(
            label_selector=label_selector,
            field_selector=field_selector,
            resource_version=resource_version,
            allow_watch_bookmarks=True,
        )
        ref = self._ref(message, namespace)
        wanted = self._request(WATCH, ref, options)
        try:
            async with self._api.watching(wanted) as batches:
                async for batch in batches:
                    yield [_event(ref.version, event) for event in batch]
        finally:
            if wanted.audit is not None:
                wanted.audit.concluded(200, None)

    async def create(self, obj: M, *, subresource: str = "", name: str = "") -> M:
        own: Any = copy_of(obj)
        version = self._registry.posted_to(subresource, type(obj)) if subresource else self._registry.of(type(obj))
        ref = self._known(served(version, type(obj)), own.metadata.namespace, name, subresource)
        written = await self._api.create(self._request(CREATE, ref, meta.CreateOptions()), ref.version.to_storage(own))
        answer: M = obj if isinstance(written.answer, meta.Status) else _answer(written, ref)
        return answer

    async def update(self, obj: M, *, subresource: str = "") -> M:
        own: Any = copy_of(obj)
        ref = self._ref(type(obj), own.metadata.namespace, own.metadata.name, subresource)
        answer: M = _answer(await self._api.update(self._request(UPDATE, ref, meta.UpdateOptions()), ref.version.to_storage(own)), ref)
        return answer

    async def patch(
        self,
        message: type[M],
        name: str,
        namespace: str = "",
        *,
        patch: dict[str, Any] | builtins.list[Any],
        patch_type: str = "merge",
        subresource: str = "",
    ) -> M:
        ref = self._ref(message, namespace, name, subresource)
        answer: M = _answer(await self._api.patch(self._request(PATCH, ref, meta.PatchOptions()), patch_type, orjson.dumps(patch)), ref)
        return answer

    async def delete(
        self,
        message: type[M],
        name: str,
        namespace: str = "",
        *,
        grace_period_seconds: int | None = None,
        propagation_policy: str = "",
        uid: str = "",
        resource_version: str = "",
    ) -> None:
        options = delete_options(grace_period_seconds, propagation_policy, uid, resource_version)
        await self._api.delete(self._request(DELETE, self._ref(message, namespace, name), options))


def delete_options(grace_period_seconds: int | None, propagation_policy: str, uid: str, resource_version: str) -> meta.DeleteOptions:
    """Delete options from what is given; absent means the server's default."""
    options = meta.DeleteOptions()
    if grace_period_seconds is not None:
        options.grace_period_seconds = grace_period_seconds
    if propagation_policy:
        options.propagation_policy = propagation_policy
    if uid:
        options.preconditions.uid = uid
    if resource_version:
        options.preconditions.resource_version = resource_version
    return options


def _event(version: Version, event: Event) -> WatchEvent[Any]:
    if event.entry is not None:
        return WatchEvent(event.type, event.entry.served(version).shared_message)
    bookmark: Any = version.message()
    bookmark.metadata.resource_version = str(event.revision)
    return WatchEvent(event.type, bookmark)


def _answer(written: Written, ref: Ref) -> Any:
    return written.message_in(ref.version)

"""The shipped fake API server, for unit tests of everything that uses a ``Client``.

``MemoryApi`` holds one cluster's objects and follows the rules that clients depend on: one
revision counter, conflicts, watches that expire, selectors, paging, finalizers, graceful deletion
of pods, generateName, separate status, scale, binding and eviction. It neither defaults nor
validates. ``MemoryClient`` is the ``Client`` on it; several clients share one api.

Every call yields to the event loop once before it acts, then acts at once.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, TypeVar

from google.protobuf.message import Message

from knarr.api.core.v1 import core_pb2 as core
from knarr.client import memory_rules as rules
from knarr.client.client import Client, JsonPatch, ObjectList, WatchEvent
from knarr.client.clock import SYSTEM_CLOCK, Clock
from knarr.client.memory_store import MemoryStore
from knarr.machinery.catalog import BUILT_IN, version_of
from knarr.machinery.errors import StatusError, already_exists, bad_request, conflict, expired, not_found
from knarr.machinery.resources import Resource
from knarr.objects.copies import copy_of
from knarr.objects.keys import Key, key_of, metadata_of

M = TypeVar("M", bound=Message)


@dataclass(frozen=True, slots=True)
class Write:
    """One write as it was asked for. ``obj`` is the body; for a delete, the object it names."""

    verb: str
    message_type: type[Message]
    key: Key
    subresource: str
    obj: Message | None


@dataclass(slots=True)
class _Fault:
    error: StatusError
    verb: str
    message_type: type[Message] | None
    subresource: str | None
    times: int
    after: bool

    def strikes(self, verb: str, message_type: type[Message], subresource: str, after: bool) -> bool:
        return (
            self.after is after
            and self.verb in ("", verb)
            and self.message_type in (None, message_type)
            and self.subresource in (None, subresource)
        )


class MemoryApi:
    """One fake cluster. ``writes`` lists every accepted or refused write, in order."""

    def __init__(self, clock: Clock = SYSTEM_CLOCK, seed: int = 0) -> None:
        self.store = MemoryStore()
        self.clock = clock
        self.writes: list[Write] = []
        self.random = random.Random(seed)
        self.latency_seconds = 0.0
        self._faults: list[_Fault] = []
        self._pages: dict[str, tuple[int, Sequence[Message]]] = {}

    def fail_next(
        self,
        error: StatusError,
        *,
        verb: str = "",
        message_type: type[Message] | None = None,
        subresource: str | None = None,
        times: int = 1,
        after: bool = False,
    ) -> None:
        """Makes the next matching calls raise ``error``; with ``after`` the call acts first and only its reply is lost."""
        self._faults.append(_Fault(error, verb, message_type, subresource, times, after))

    def break_watches(self, error: StatusError | None = None) -> None:
        """Ends every open watch with ``error``, by default as a lost connection does."""
        self.store.break_watches(error)

    def compact(self) -> None:
        """Forgets history: watches from older revisions and continue tokens get Expired."""
        self._pages.clear()
        self.store.compact()

    def seed(self, *objects: Message) -> None:
        """Stores objects as they are, status included, filling in uid and creationTimestamp."""
        for obj in objects:
            mine = copy_of(obj)
            rules.identify(mine, self.clock.now(), self.random)
            self.store.put(mine)

    def all(self, message_type: type[M], namespace: str = "") -> list[M]:
        """Copies of what is stored, for assertions."""
        return [copy_of(obj) for obj in self.store.list(message_type, namespace)]

    def strike(self, verb: str, message_type: type[Message], subresource: str = "", *, after: bool = False) -> None:
        for fault in self._faults:
            if fault.strikes(verb, message_type, subresource, after):
                fault.times -= 1
                if fault.times <= 0:
                    self._faults.remove(fault)
                raise fault.error

    def page(self, found: Sequence[Message], revision: int, limit: int) -> tuple[Sequence[Message], str]:
        """The first ``limit`` of the objects, and a token for the rest."""
        if not limit or len(found) <= limit:
            return found, ""
        token = f"{revision}-{len(self._pages)}-{self.random.getrandbits(32):08x}"
        self._pages[token] = (revision, found[limit:])
        return found[:limit], token

    def rest(self, token: str) -> tuple[int, Sequence[Message]]:
        """What a continue token stands for."""
        if token not in self._pages:
            raise expired("The provided continue parameter is too old to display a consistent list result.")
        return self._pages[token]


class MemoryClient(Client):
    """A ``Client`` on a ``MemoryApi``."""

    def __init__(self, api: MemoryApi | None = None) -> None:
        self.api = api or MemoryApi()
        self._store = self.api.store

    async def resources(self) -> Sequence[Resource]:
        return BUILT_IN

    async def get(self, message: type[M], name: str, namespace: str = "") -> M:
        await self._begin("get", message)
        return copy_of(self._stored(message, Key(namespace, name)))

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
        await self._begin("list", message)
        matches = rules.matcher(message, label_selector, field_selector)
        revision, found = self._store.revision, [obj for obj in self._store.list(message, namespace) if matches(obj)]
        if continue_token:
            revision, found = self.api.rest(continue_token)  # type: ignore[assignment]
        items, token = self.api.page(found, revision, limit)
        return ObjectList([copy_of(obj) for obj in items], str(revision), token)  # type: ignore[misc]

    async def watch(
        self,
        message: type[M],
        namespace: str = "",
        *,
        resource_version: str,
        label_selector: str = "",
        field_selector: str = "",
    ) -> AsyncIterator[Sequence[WatchEvent[M]]]:
        await self._begin("watch", message)
        matches = rules.matcher(message, label_selector, field_selector)
        revision = int(resource_version) if resource_version not in ("", "0") else None
        async with aclosing(self._store.watch(message, namespace, revision, matches)) as stream:
            async for batch in stream:
                yield batch

    async def create(self, obj: M, *, subresource: str = "", name: str = "") -> M:
        key = Key(metadata_of(obj).namespace, name or metadata_of(obj).name)
        await self._begin("create", type(obj), subresource, key, obj)
        result = self._create_subresource(obj, subresource, key) if subresource else self._create(obj)
        self.api.strike("create", type(obj), subresource, after=True)
        return result

    async def update(self, obj: M, *, subresource: str = "") -> M:
        await self._begin("update", type(obj), subresource, key_of(obj), obj)
        stored = self._stored(type(obj), key_of(obj))
        version = version_of(type(obj))
        sent = metadata_of(obj)
        if sent.resource_version not in ("", metadata_of(stored).resource_version):
            raise conflict(version.resource.plural, sent.name, version.group)
        if sent.uid not in ("", metadata_of(stored).uid):
            detail = f"Precondition failed: UID in precondition: {sent.uid}, UID in object meta: {metadata_of(stored).uid}"
            raise conflict(version.resource.plural, sent.name, version.group, detail)
        result = self._write(stored, rules.prepare_update(obj, stored, subresource))
        self.api.strike("update", type(obj), subresource, after=True)
        return result

    async def patch(
        self,
        message: type[M],
        name: str,
        namespace: str = "",
        *,
        patch: dict[str, Any] | JsonPatch,
        patch_type: str = "merge",
        subresource: str = "",
    ) -> M:
        key = Key(namespace, name)
        await self._begin("patch", message, subresource, key)
        stored = self._stored(message, key)
        if subresource == "scale":
            scale = rules.patched(rules.scale_of(stored), patch, patch_type)
            return rules.scale_of(self._write(stored, rules.rescale(stored, scale)))  # type: ignore[return-value]
        new = rules.patched(stored, patch, patch_type)
        version = version_of(message)
        if metadata_of(new).resource_version != metadata_of(stored).resource_version:
            raise conflict(version.resource.plural, name, version.group)
        result = self._write(stored, rules.prepare_update(new, stored, subresource))
        self.api.strike("patch", message, subresource, after=True)
        return result

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
        key = Key(namespace, name)
        await self._begin("delete", message, "", key)
        stored = self._stored(message, key)
        rules.check_preconditions(stored, uid, resource_version)
        self._delete(stored, grace_period_seconds, propagation_policy)
        self.api.strike("delete", message, after=True)

    async def _begin(
        self, verb: str, message: type[Message], subresource: str = "", key: Key | None = None, obj: Message | None = None
    ) -> None:
        await asyncio.sleep(self.api.latency_seconds)
        if key is not None:
            self.api.writes.append(Write(verb, message, key, subresource, None if obj is None else copy_of(obj)))
        self.api.strike(verb, message, subresource)

    def _stored(self, message: type[M], key: Key) -> M:
        stored = self._store.get(message, key)
        if stored is None:
            version = version_of(message)
            raise not_found(version.resource.plural, key.name, version.group)
        return stored

    def _create(self, obj: M) -> M:
        new = copy_of(obj)
        version = version_of(type(obj))
        metadata = metadata_of(new)
        if metadata.resource_version:
            raise bad_request("resourceVersion should not be set on objects to be created")
        if version.resource.namespaced is not bool(metadata.namespace):
            detail = (
                "an empty namespace may not be set during creation"
                if version.resource.namespaced
                else "namespace is not allowed on this type"
            )
            raise bad_request(detail)
        rules.prepare_create(new, self.api.clock.now(), self.api.random)
        if self._store.get(type(obj), key_of(new)) is not None:
            raise already_exists(version.resource.plural, metadata.name, version.group)
        return copy_of(self._store.put(new))

    def _create_subresource(self, obj: M, subresource: str, key: Key) -> M:
        handlers: dict[str, Callable[[Any, Key], None]] = {"binding": self._bind, "eviction": self._evict}
        if subresource not in handlers:
            raise bad_request(f"no creating sub-resource {subresource}")
        handlers[subresource](obj, key)
        return copy_of(obj)

    def _bind(self, binding: Any, key: Key) -> None:
        pod = self._stored(core.Pod, key)
        self._store.put(rules.bound(pod, binding, self.api.clock.now()))

    def _evict(self, eviction: Any, key: Key) -> None:
        options = eviction.delete_options
        grace = options.grace_period_seconds if options.HasField("grace_period_seconds") else None
        self._delete(self._stored(core.Pod, key), grace, "")

    def _write(self, stored: M, new: M) -> M:
        if new == stored:
            return copy_of(stored)
        if rules.is_finished(new):
            return copy_of(self._store.remove(type(stored), key_of(stored)))
        return copy_of(self._store.put(new))

    def _delete(self, stored: Message, grace_period_seconds: int | None, propagation_policy: str) -> None:
        going = rules.prepare_delete(stored, grace_period_seconds, propagation_policy, self.api.clock.now())
        if going is None:
            self._store.remove(type(stored), key_of(stored))
        elif going != stored:
            self._store.put(going)

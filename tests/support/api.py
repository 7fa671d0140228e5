"""The API that components are tested on: the real API server in memory, with a record of writes and with faults on demand.

``FaultyApi`` is one cluster; its clients share it. It starts with the first call of a client and ends with the test's loop.
Every call yields to the event loop once, or for ``latency_seconds``, before it acts.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, TypeVar

from google.protobuf.message import Message

from knarr.api.autoscaling.v1 import autoscaling_pb2 as autoscaling
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.client.client import Client, JsonPatch, ObjectList, WatchEvent
from knarr.client.clock import SYSTEM_CLOCK, Clock
from knarr.machinery.errors import StatusError, status_error
from knarr.machinery.resources import Resource
from knarr.objects.copies import copy_of
from knarr.objects.keys import Key, key_of, metadata_of
from knarr.service.authentication import User
from services.apiserver.admission.catalog import PLUGINS, Factory
from services.apiserver.authorizers.chain import Chain
from services.apiserver.in_memory import ADMIN, ApiInMemory
from services.apiserver.storage.store import Put, Transaction
from services.apiserver.tokens.keys import SigningKeys
from tests.support.faults import Breaker
from tests.support.rights import ROLES

M = TypeVar("M", bound=Message)


@dataclass(frozen=True, slots=True)
class Write:
    """One write as it was asked for. ``obj`` is the body; None for a patch and a delete."""

    verb: str
    message_type: type[Message]
    key: Key
    subresource: str
    obj: Message | None


@dataclass(slots=True)
class Fault:
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


class FaultyApi(ApiInMemory):
    """One cluster. ``writes`` lists every accepted or refused write of its clients, in order."""

    def __init__(
        self, clock: Clock = SYSTEM_CLOCK, seed: int = 0, keys: SigningKeys | None = None, plugins: Sequence[Factory] = PLUGINS
    ) -> None:
        super().__init__(clock, seed, keys=keys, plugins=plugins)
        authorizer = self.server.api.pipeline.authorizer
        assert isinstance(authorizer, Chain)
        authorizer.modes = tuple(ROLES if mode.name == ROLES.name else mode for mode in authorizer.modes)
        self.writes: list[Write] = []
        self.latency_seconds = 0.0
        self._faults: list[Fault] = []
        self.breaker = Breaker()

    def client(self, user: User = ADMIN) -> FaultyClient:
        return FaultyClient(self, user)

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
        self._faults.append(Fault(error, verb, message_type, subresource, times, after))

    def heal(self) -> None:
        """Forgets the faults that have not struck yet."""
        self._faults.clear()

    def break_watches(self, error: StatusError | None = None) -> None:
        """Ends every open watch with ``error``, by default as a lost connection does."""
        self.breaker.strike(error or status_error("ServiceUnavailable", "the connection was lost"))

    def compact(self) -> None:
        """Forgets history: every watch, from older revisions too, and continue tokens get Expired."""
        revision = self.store.apply(Transaction({}, [Put("compact_rev_key", b"")])).revision
        self.store.forget(revision)
        for collection in self.server.backend.cache:
            collection.history.forget(revision)
            collection.wake()

    def strike(self, verb: str, message_type: type[Message], subresource: str = "", *, after: bool = False) -> None:
        for fault in self._faults:
            if fault.strikes(verb, message_type, subresource, after):
                fault.times -= 1
                if fault.times <= 0:
                    self._faults.remove(fault)
                raise fault.error


class FaultyClient(Client):
    """A client of a ``FaultyApi``, as one user."""

    def __init__(self, api: FaultyApi, user: User = ADMIN) -> None:
        self.api, self._user = api, user
        self._inner = ApiInMemory.client(api, user)

    def move_to(self, api: FaultyApi) -> None:
        """Speaks to another cluster from now on, as to a server whose data was exchanged. Open watches go on."""
        self.api, self._inner = api, ApiInMemory.client(api, self._user)

    async def resources(self) -> Sequence[Resource]:
        return await self._inner.resources()

    async def get(self, message: type[M], name: str, namespace: str = "") -> M:
        await self._begin("get", message)
        return await self._inner.get(message, name, namespace)

    async def scale(self, message: type[Message], name: str, namespace: str = "") -> autoscaling.Scale:
        await self._begin("get", message, "scale")
        return await self._inner.scale(message, name, namespace)

    async def rescale(self, message: type[Message], scale: autoscaling.Scale) -> autoscaling.Scale:
        await self._begin("update", message, "scale", key_of(scale), scale)
        result = await self._inner.rescale(message, scale)
        self.api.strike("update", message, "scale", after=True)
        return result

    async def ask_elsewhere(self, group: str, plural: str, *names: str, **options: Any) -> bytes:
        await self._begin("get", meta.Status)
        return await self._inner.ask_elsewhere(group, plural, *names, **options)

    async def list(self, message: type[M], namespace: str = "", **options: Any) -> ObjectList[M]:
        await self._begin("list", message)
        return await self._inner.list(message, namespace, **options)

    async def watch(self, message: type[M], namespace: str = "", **options: Any) -> AsyncIterator[Sequence[WatchEvent[M]]]:
        await self._begin("watch", message)
        stream = self.api.breaker.through(self._inner.watch(message, namespace, **options))
        async with aclosing(stream):
            async for batch in stream:
                yield batch

    async def create(self, obj: M, *, subresource: str = "", name: str = "") -> M:
        key = Key(metadata_of(obj).namespace, name or metadata_of(obj).name)
        await self._begin("create", type(obj), subresource, key, obj)
        result = await self._inner.create(obj, subresource=subresource, name=name)
        self.api.strike("create", type(obj), subresource, after=True)
        return result

    async def update(self, obj: M, *, subresource: str = "") -> M:
        await self._begin("update", type(obj), subresource, key_of(obj), obj)
        result = await self._inner.update(obj, subresource=subresource)
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
        await self._begin("patch", message, subresource, Key(namespace, name))
        result = await self._inner.patch(message, name, namespace, patch=patch, patch_type=patch_type, subresource=subresource)
        self.api.strike("patch", message, subresource, after=True)
        return result

    async def delete(self, message: type[M], name: str, namespace: str = "", **options: Any) -> None:
        await self._begin("delete", message, "", Key(namespace, name))
        await self._inner.delete(message, name, namespace, **options)
        self.api.strike("delete", message, after=True)

    async def _begin(
        self, verb: str, message: type[Message], subresource: str = "", key: Key | None = None, obj: Message | None = None
    ) -> None:
        self.api.start()
        await asyncio.sleep(self.api.latency_seconds)
        if key is not None:
            self.api.writes.append(Write(verb, message, key, subresource, None if obj is None else copy_of(obj)))
        self.api.strike(verb, message, subresource)
        await self.api.settle()

"""A small in-memory ``Api`` for tests of the shell: it stores, lists and watches, and has no rules."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from math import inf
from typing import Any

from google.protobuf.message import Message

from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.catalog import version_of
from knarr.machinery.errors import StatusError, not_found
from knarr.machinery.resources import Version
from knarr.service.authentication import User
from services.apiserver.api import Api
from services.apiserver.cache.sleepers import Sleeper, Sleepers
from services.apiserver.entries import Entries
from services.apiserver.entry import Entry
from services.apiserver.pipeline.watch import Watch
from services.apiserver.request import Annotated, Request
from services.apiserver.results import Event, Page, Ref, Written


class Batches(asyncio.Queue[Sequence[Event] | StatusError]):
    """What the open watches are to tell, each batch one of them; who sleeps is woken."""

    def __init__(self) -> None:
        super().__init__()
        self.sleepers = Sleepers()

    def _put(self, item: Sequence[Event] | StatusError) -> None:
        super()._put(item)
        self.sleepers.wake()


class FakeWatch(Watch):
    """A watch of ``api.batches``."""

    __slots__ = ("_api", "_is_open")

    def __init__(self, api: FakeApi) -> None:
        self._api, self._is_open = api, False

    @property
    def has_begun(self) -> bool:
        return self._is_open

    async def begin(self) -> None:
        self._is_open = True
        self._api.open_watches += 1

    def take(self) -> Sequence[Event] | None:
        batches = self._api.batches
        if not self._is_open or batches.empty():
            return () if self._is_open else None
        batch = batches.get_nowait()
        if isinstance(batch, StatusError):
            raise batch
        self._api.taken_batches += 1
        return batch

    def sleep(self, sleeper: Sleeper) -> None:
        self._api.batches.sleepers.enter(sleeper, 0.0 if not self._api.batches.empty() else inf)

    def leave(self, sleeper: Sleeper) -> None:
        self._api.batches.sleepers.leave(sleeper)

    def close(self) -> None:
        if self._is_open:
            self._is_open = False
            self._api.open_watches -= 1

    async def __anext__(self) -> Sequence[Event]:
        if not self._is_open:
            await self.begin()
        while not (batch := self.take()):
            woken = asyncio.Event()
            self.sleep(Waiter(woken))
            await woken.wait()
        return batch


class Waiter:
    def __init__(self, event: asyncio.Event) -> None:
        self._event = event

    def woken(self) -> None:
        self._event.set()


class FakeApi(Api):
    """``calls`` are the methods with their references, bodies and options, in order; ``requests`` are theirs."""

    def __init__(self) -> None:  # the real one's parts are not there
        self.entries: dict[tuple[Version, str, str], Entry] = {}
        self.revision = 10
        self.calls: list[tuple[Any, ...]] = []
        self.requests: list[Request] = []
        self.batches = Batches()
        self.taken_batches = 0
        self.open_watches = 0
        self.watch_refusal: StatusError | None = None
        self.warnings: list[str] = []

    @property
    def accounts(self) -> None:
        """It issues no tokens."""

    @property
    def auditor(self) -> None:
        """It keeps no log."""

    @property
    def fairness(self) -> None:
        """Whoever comes first is first."""

    async def visit(self, user: User, method: str, path: str, audit: Annotated | None = None) -> None:
        """Everybody may."""

    def put(self, obj: Any) -> Entry:
        """Stores an object as it is."""
        version = version_of(type(obj))
        self.revision += 1
        entry = Entry(
            version, f"{version.resource.key_prefix}{obj.metadata.namespace}/{obj.metadata.name}", self.revision, obj.SerializeToString()
        )
        self.entries[version, obj.metadata.namespace, obj.metadata.name] = entry
        return entry

    def _called(self, name: str, request: Request, *body: Any) -> Ref:
        self.requests.append(request)
        self.calls.append((name, request.ref, *body, request.options))
        return request.ref

    def _find(self, ref: Ref) -> Written:
        entry = self.entries.get((ref.version, ref.namespace, ref.name))
        if entry is None:
            raise not_found(ref.resource.plural, ref.name, ref.version.group)
        return Written(entry=entry)

    async def get(self, request: Request) -> Written:
        return self._find(self._called("get", request))

    async def list(self, request: Request) -> Page:
        ref = self._called("list", request)
        found = [entry for (kind, namespace, _), entry in self.entries.items() if kind == ref.version and ref.namespace in ("", namespace)]
        if request.options.limit and len(found) > request.options.limit:
            return Page(Entries.of(found[: request.options.limit]), self.revision, "more", len(found) - request.options.limit)
        return Page(Entries.of(found), self.revision)

    async def watch(self, request: Request) -> Watch:
        self._called("watch", request)
        if self.watch_refusal is not None:
            raise self.watch_refusal
        return FakeWatch(self)

    async def create(self, request: Request, obj: Message) -> Written:
        self._called("create", request, obj)
        return Written(entry=self.put(obj), created=True, warnings=self.warnings)

    async def update(self, request: Request, obj: Message) -> Written:
        self._called("update", request, obj)
        return Written(entry=self.put(obj), warnings=self.warnings)

    async def patch(self, request: Request, patch_type: str, patch: bytes) -> Written:
        return self._find(self._called("patch", request, patch_type, patch))

    async def delete(self, request: Request) -> Written:
        ref = self._called("delete", request)
        self.entries.pop((ref.version, ref.namespace, ref.name))
        return Written(meta.Status(status="Success", details=meta.StatusDetails(name=ref.name, kind=ref.version.resource.plural)))

    async def delete_collection(self, request: Request, selection: meta.ListOptions) -> Page:
        self._called("delete_collection", request, selection)
        return Page(Entries(), self.revision)

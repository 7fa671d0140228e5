"""A small in-memory ``Api`` for tests of the shell: it stores, lists and watches, and has no rules."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

from google.protobuf.message import Message

from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.catalog import version_of
from knarr.machinery.errors import StatusError, not_found
from knarr.machinery.resources import Version
from services.apiserver.api import Api
from services.apiserver.entry import Entry
from services.apiserver.results import Event, Page, Ref, Written


class FakeApi(Api):
    """``calls`` are the methods with their references and arguments, in order."""

    def __init__(self) -> None:  # the real one's parts are not there
        self.entries: dict[tuple[Version, str, str], Entry] = {}
        self.revision = 10
        self.calls: list[tuple[Any, ...]] = []
        self.batches: asyncio.Queue[Sequence[Event] | StatusError] = asyncio.Queue()
        self.taken_batches = 0
        self.open_watches = 0
        self.watch_refusal: StatusError | None = None
        self.warnings: list[str] = []

    def put(self, obj: Any) -> Entry:
        """Stores an object as it is."""
        version = version_of(type(obj))
        self.revision += 1
        entry = Entry(
            version, f"{version.resource.key_prefix}{obj.metadata.namespace}/{obj.metadata.name}", self.revision, obj.SerializeToString()
        )
        self.entries[version, obj.metadata.namespace, obj.metadata.name] = entry
        return entry

    async def get(self, ref: Ref, resource_version: str = "") -> Written:
        self.calls.append(("get", ref, resource_version))
        entry = self.entries.get((ref.version, ref.namespace, ref.name))
        if entry is None:
            raise not_found(ref.version.resource.plural, ref.name, ref.version.group)
        return Written(entry=entry)

    async def list(self, ref: Ref, options: meta.ListOptions) -> Page:
        self.calls.append(("list", ref, options))
        found = [entry for (kind, namespace, _), entry in self.entries.items() if kind == ref.version and ref.namespace in ("", namespace)]
        if options.limit and len(found) > options.limit:
            return Page(found[: options.limit], self.revision, "more", len(found) - options.limit)
        return Page(found, self.revision)

    def watch(self, ref: Ref, options: meta.ListOptions) -> AsyncIterator[Sequence[Event]]:
        self.calls.append(("watch", ref, options))
        if self.watch_refusal is not None:
            raise self.watch_refusal
        return self._watch()

    async def _watch(self) -> AsyncIterator[Sequence[Event]]:
        self.open_watches += 1
        try:
            while True:
                batch = await self.batches.get()
                if isinstance(batch, StatusError):
                    raise batch
                self.taken_batches += 1
                yield batch
        finally:
            self.open_watches -= 1

    async def create(self, ref: Ref, obj: Message, options: meta.CreateOptions) -> Written:
        self.calls.append(("create", ref, obj, options))
        return Written(entry=self.put(obj), created=True, warnings=self.warnings)

    async def update(self, ref: Ref, obj: Message, options: meta.UpdateOptions) -> Written:
        self.calls.append(("update", ref, obj, options))
        return Written(entry=self.put(obj), warnings=self.warnings)

    async def patch(self, ref: Ref, patch_type: str, patch: bytes, options: meta.PatchOptions) -> Written:
        self.calls.append(("patch", ref, patch_type, patch, options))
        return await self.get(ref)

    async def delete(self, ref: Ref, options: meta.DeleteOptions) -> Written:
        self.calls.append(("delete", ref, options))
        self.entries.pop((ref.version, ref.namespace, ref.name))
        return Written(meta.Status(status="Success", details=meta.StatusDetails(name=ref.name, kind=ref.version.resource.plural)))

    async def delete_collection(self, ref: Ref, options: meta.DeleteOptions, selection: meta.ListOptions) -> Page:
        self.calls.append(("delete_collection", ref, options, selection))
        return Page([], self.revision)

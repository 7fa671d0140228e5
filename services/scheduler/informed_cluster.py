"""What plugins declare to read besides nodes and pods, by informers; and as it is to be written by what was decided.

What was decided counts until it is written, whatever the API tells of the object meanwhile: it may be written in several steps. What was
written counts until the API tells of it, or of something newer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

from google.protobuf.message import Message

from knarr.api.core.v1 import core_pb2 as core
from knarr.client.informer import Informer, Informers
from knarr.objects.keys import Key, key_of, metadata_of
from services.scheduler.plugin import Cluster, M, Plugin
from services.scheduler.state import parts_read_by


class InformedCluster(Cluster):
    """The copies of the informers, with what was decided in its place until the API tells of a change."""

    def __init__(self, informers: Informers, plugins: Sequence[type[Plugin]], also: Iterable[type[Message]] = ()) -> None:
        """``also`` are kinds that others than plugins read."""
        subjects = [subject for subject, parts in parts_read_by(plugins).items() if parts]
        kinds = {subject.message for subject in subjects} - {core.Pod, core.Node} | set(also)
        self.informers: dict[type[Message], Informer[Any]] = {kind: informers.get(kind) for kind in kinds}
        # Objects as decisions have them written, until the API tells of a change of them.
        self._assumed: dict[type[Message], dict[Key, Message]] = {kind: {} for kind in kinds}
        # The identities of those of them that are not written yet.
        self._pending: set[int] = set()
        self._taken_back: Callable[[Message, Message | None], None] = lambda assumed, found: None
        for kind, informer in self.informers.items():
            informer.on_change(self._listener(kind))
        self._news = asyncio.Event()

    async def change(self) -> None:
        """Waits for a change of one of the objects, or of what ``tell`` tells of."""
        await self._news.wait()

    def tell(self) -> None:
        """Something has changed."""
        news, self._news = self._news, asyncio.Event()
        news.set()

    def on_taken_back(self, listener: Callable[[Message, Message | None], None]) -> None:
        """Whom to tell what was decided and is not to be written, and what is there instead."""
        self._taken_back = listener

    def assume(self, objects: Iterable[Message]) -> None:
        """Counts what was decided to be written."""
        for obj in objects:
            self._forget(type(obj), key_of(obj))
            self._assumed[type(obj)][key_of(obj)] = obj
            self._pending.add(id(obj))

    def settle(self, objects: Iterable[Message], written: Iterable[Message]) -> None:
        """What was assumed was written, as it is now."""
        for obj, now in zip(objects, written, strict=True):
            kind, key = type(obj), key_of(obj)
            if self._assumed[kind].get(key) is not obj:
                continue
            self._forget(kind, key)
            found = self._informer(kind).store.get(*key)
            # What was made is not there before the API tells of it.
            if is_older(found, now) if found is not None else not metadata_of(obj).uid:
                self._assumed[kind][key] = now
        self.tell()

    def forget(self, objects: Iterable[Message]) -> None:
        """Takes back what was not written."""
        for obj in objects:
            kind, key = type(obj), key_of(obj)
            if self._assumed[kind].get(key) is obj:
                self._forget(kind, key)
                self._taken_back(obj, self._informer(kind).store.get(*key))

    def is_pending(self, obj: Message) -> bool:
        return id(obj) in self._pending

    def _forget(self, kind: type[Message], key: Key) -> None:
        gone = self._assumed[kind].pop(key, None)
        if gone is not None:
            self._pending.discard(id(gone))

    def _listener(self, kind: type[Message]) -> Callable[[Message | None, Message | None], None]:
        def changed(old: Message | None, new: Message | None) -> None:
            found = new if new is not None else old
            assumed = None if found is None else self._assumed[kind].get(key_of(found))
            if found is not None and assumed is not None:
                same = new is not None and metadata_of(assumed).uid in ("", metadata_of(new).uid)
                waits = id(assumed) in self._pending or (new is not None and is_older(new, assumed))
                if not same or not waits:
                    self._forget(kind, key_of(found))
            self.tell()

        return changed

    def list(self, kind: type[M], namespace: str = "") -> Sequence[M]:
        store, assumed = self._informer(kind).store, self._assumed[kind]
        found = store.list(namespace or None)
        if not assumed:
            return found
        # What is to be made, or was, and the API has not told of yet.
        made = [obj for key, obj in assumed.items() if store.get(*key) is None and namespace in ("", key.namespace)]
        return [cast("M", assumed.get(key_of(obj), obj)) for obj in found] + [cast("M", obj) for obj in made]

    def get(self, kind: type[M], namespace: str, name: str) -> M | None:
        found = self._informer(kind).store.get(namespace, name)
        return cast("M | None", self._assumed[kind].get(Key(namespace, name), found))

    def _informer(self, kind: type[M]) -> Informer[M]:
        informer = self.informers.get(kind)
        if informer is None:
            raise LookupError(f"no plugin declares that it reads anything of {kind.DESCRIPTOR.name}")
        return informer


def is_older(seen: Message, written: Message) -> bool:
    """Whether the API has yet to tell of what was written; versions that are no numbers cannot be compared."""
    before, after = metadata_of(seen).resource_version, metadata_of(written).resource_version
    return before.isdecimal() and after.isdecimal() and int(before) < int(after)

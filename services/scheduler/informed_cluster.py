"""What plugins declare to read besides nodes and pods, by informers; and as it is to be written by what was decided."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

from google.protobuf.message import Message

from knarr.api.core.v1 import core_pb2 as core
from knarr.client.informer import Informer, Informers
from knarr.objects.keys import Key, key_of
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

    def assume(self, objects: Iterable[Message]) -> None:
        """Counts what was decided to be written."""
        for obj in objects:
            self._assumed[type(obj)][key_of(obj)] = obj

    def forget(self, objects: Iterable[Message]) -> None:
        """Takes back what was not written."""
        for obj in objects:
            if self._assumed[type(obj)].get(key_of(obj)) is obj:
                del self._assumed[type(obj)][key_of(obj)]

    def _listener(self, kind: type[Message]) -> Callable[[Message | None, Message | None], None]:
        def changed(old: Message | None, new: Message | None) -> None:
            found = new if new is not None else old
            if found is not None:
                self._assumed[kind].pop(key_of(found), None)
            self.tell()

        return changed

    def list(self, kind: type[M], namespace: str = "") -> Sequence[M]:
        found = self._informer(kind).store.list(namespace or None)
        assumed = self._assumed[kind]
        return [cast("M", assumed.get(key_of(obj), obj)) for obj in found] if assumed else found

    def get(self, kind: type[M], namespace: str, name: str) -> M | None:
        found = self._informer(kind).store.get(namespace, name)
        return None if found is None else cast("M", self._assumed[kind].get(Key(namespace, name), found))

    def _informer(self, kind: type[M]) -> Informer[M]:
        informer = self.informers.get(kind)
        if informer is None:
            raise LookupError(f"no plugin declares that it reads anything of {kind.DESCRIPTOR.name}")
        return informer

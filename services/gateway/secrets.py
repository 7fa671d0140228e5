"""Secrets that routes refer to, each followed by its name: no other is read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from knarr.api.core.v1 import core_pb2 as core
from knarr.client.client import Client
from knarr.client.informer import Informer
from knarr.service.tasks import cancel

SYNC_SECONDS = 3.0

Name = tuple[str, str]


class Secrets:
    """``changed`` is told the namespace and name of each that changes."""

    def __init__(self, client: Client, changed: Callable[[Name], None]) -> None:
        self._client, self._changed = client, changed
        self._followed: dict[Name, tuple[Informer[core.Secret], asyncio.Task[None]]] = {}

    def get(self, namespace: str, name: str) -> core.Secret | None:
        """As it is known; None where there is none, or it is not followed."""
        found = self._followed.get((namespace, name))
        return found[0].store.get(namespace, name) if found is not None else None

    def knows(self, name: Name) -> bool:
        """Whether it is followed and was seen, or seen not to be there."""
        found = self._followed.get(name)
        return found is not None and found[0].synced

    async def follow(self, wanted: Iterable[Name]) -> None:
        """These and no others; returns when they are known, or after a while."""
        wanted = set(wanted)
        gone = [self._followed.pop(name)[1] for name in self._followed.keys() - wanted]
        for name in wanted - self._followed.keys():
            self._followed[name] = self._begin(name)
        await cancel(gone)
        unknown = [informer.wait_synced() for informer, _ in self._followed.values() if not informer.synced]
        if unknown:
            try:
                async with asyncio.timeout(SYNC_SECONDS):
                    await asyncio.gather(*unknown)
            except TimeoutError:
                return

    def _begin(self, name: Name) -> tuple[Informer[core.Secret], asyncio.Task[None]]:
        informer = Informer(self._client, core.Secret, namespace=name[0], field_selector=f"metadata.name={name[1]}")
        informer.on_change(lambda old, new: self._changed(name))
        return informer, asyncio.create_task(informer.run(), name=f"gateway/secret {'/'.join(name)}")

    async def close(self) -> None:
        tasks = [task for _, task in self._followed.values()]
        self._followed.clear()
        await cancel(tasks)

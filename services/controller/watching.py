"""Resources that a controller comes to know while it runs: it hears of their objects while it cares for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from google.protobuf.message import Message

from knarr.client.client import Client
from knarr.client.informer import Informer, Informers
from knarr.machinery.resources import Resource
from services.controller.metadata_informer import MetadataInformer

# What is told of an object as it was and as it is.
Listener = Callable[[Message | None, Message | None], None]


class Watching:
    """Kinds that others watch anyway are heard of through their informers; of all others only metadata is kept. ``listener`` gives who is
    told of a resource; ``name`` is the controller's."""

    def __init__(self, name: str, client: Client, informers: Informers, listener: Callable[[Resource], Listener]) -> None:
        self._name, self._client, self._informers, self._listener = name, client, informers, listener
        self._group: asyncio.TaskGroup | None = None
        self._shared: set[type[Message]] = set()
        self._own: dict[type[Message], asyncio.Task[None]] = {}

    def begin(self, group: asyncio.TaskGroup) -> None:
        """Lets what is watched from now on run in ``group``."""
        self._group = group

    def keep(self, resources: Iterable[Resource]) -> list[Informer[Any]]:
        """Watches those, and none besides; answers the informers that it has started."""
        wanted = {resource.storage.message: resource for resource in resources}
        for message in self._own.keys() - wanted.keys():
            self._own.pop(message).cancel()
        started: list[Informer[Any]] = []
        for message in sorted(wanted.keys() - self._own.keys() - self._shared, key=lambda found: found.DESCRIPTOR.full_name):
            if self._group is None:
                break
            listener = self._listener(wanted[message])
            if message in self._informers:
                self._shared.add(message)
                self._informers.get(message).on_change(listener)
                continue
            informer: Informer[Any] = MetadataInformer(self._client, message)
            informer.on_change(listener)
            self._own[message] = self._group.create_task(informer.run(), name=f"{self._name} informer")
            started.append(informer)
        return started

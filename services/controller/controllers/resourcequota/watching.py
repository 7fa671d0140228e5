"""The resources whose objects are counted by some quota: their ends are heard of while that is so."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from google.protobuf.message import Message

from knarr.client.client import Client
from knarr.client.informer import Informer, Informers
from knarr.machinery.resources import Resource
from services.controller.metadata_informer import MetadataInformer

# Told of a change, before and after.
Heard = Callable[[Resource, Message | None, Message | None], None]


class Watching:
    """Kinds that others watch anyway are heard of through their informers; of all others only metadata is kept."""

    def __init__(self, client: Client, informers: Informers, heard: Heard) -> None:
        self._client, self._informers, self._heard = client, informers, heard
        self._group: asyncio.TaskGroup | None = None
        self._shared: set[type[Message]] = set()
        self._own: dict[type[Message], asyncio.Task[None]] = {}

    def begin(self, group: asyncio.TaskGroup) -> None:
        """Lets what is watched from now on run in ``group``."""
        self._group = group

    def keep(self, resources: Iterable[Resource]) -> None:
        """Watches those, and none besides."""
        wanted = {resource.storage.message: resource for resource in resources}
        for message in self._own.keys() - wanted.keys():
            self._own.pop(message).cancel()
        for message, resource in wanted.items():
            if message in self._own or message in self._shared or self._group is None:
                continue
            if message in self._informers:
                self._shared.add(message)
                self._informers.get(message).on_change(self._listener(resource))
                continue
            informer: Informer[Any] = MetadataInformer(self._client, message)
            informer.on_change(self._listener(resource))
            self._own[message] = self._group.create_task(informer.run(), name="resourcequota informer")

    def _listener(self, resource: Resource) -> Callable[[Message | None, Message | None], None]:
        return lambda old, new: self._heard(resource, old, new)

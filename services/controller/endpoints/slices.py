"""What the controllers that write EndpointSlices share: labels, a plan of writes, and carrying it out."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from knarr.api.discovery.v1 import discovery_pb2 as discovery
from knarr.client.client import Client
from knarr.client.index import Index
from knarr.machinery.errors import NotFound
from knarr.objects.keys import Key, is_deleting, key_of
from knarr.objects.labels import SERVICE_NAME, SLICE_MANAGED_BY
from services.controller.expectations import Expectations, created, deleted, is_made


@dataclass(frozen=True, slots=True)
class Plan:
    """Slices to write. ``delete`` and ``update`` carry what is stored as their basis."""

    create: Sequence[discovery.EndpointSlice] = ()
    update: Sequence[discovery.EndpointSlice] = ()
    delete: Sequence[discovery.EndpointSlice] = ()

    @property
    def empty(self) -> bool:
        return not (self.create or self.update or self.delete)


def service_key(found: discovery.EndpointSlice, manager: str) -> Key | None:
    """The Service of a slice that ``manager`` keeps; None for a slice of others."""
    labels = found.metadata.labels
    if labels.get(SLICE_MANAGED_BY) != manager or SERVICE_NAME not in labels:
        return None
    return Key(found.metadata.namespace, labels[SERVICE_NAME])


def by_service(name: str, manager: str) -> Index[discovery.EndpointSlice]:
    """An index by the Service, as its key's text, over the slices that ``manager`` keeps."""

    def keys(found: discovery.EndpointSlice) -> list[str]:
        key = service_key(found, manager)
        return [] if key is None else [str(key)]

    return Index(name, keys)


class SliceWriter:
    """Carries plans out and knows which of its writes the informer has not shown yet."""

    def __init__(self, client: Client, manager: str) -> None:
        self._client, self._manager = client, manager
        self._expectations = Expectations()
        # What was written last into slices that were there before, until the informer shows it.
        self._written: dict[Key, discovery.EndpointSlice] = {}

    def saw(self, old: discovery.EndpointSlice | None, new: discovery.EndpointSlice | None) -> set[Key]:
        """Takes note of a change that the informer shows; answers the Services it gives work: not that of a slice as we wrote it."""
        written = None if old is None else self._written.pop(key_of(old), None)
        if new is not None and _says_the_same(written, new):
            return set()
        keys = set()
        for found in (old, new):
            owner = None if found is None else service_key(found, self._manager)
            if found is None or owner is None:
                continue
            if found is new or new is None:
                self._expectations.saw(owner, found, gone=new is None)
            keys.add(owner)
        return keys

    @property
    def unseen(self) -> int:
        """How many slices the informer has yet to show as they were written, of those that were there before."""
        return len(self._written)

    def is_behind(self, key: Key) -> bool:
        """Whether the informer has yet to show writes of this Service."""
        return bool(self._expectations.open(key))

    def forget(self, key: Key) -> None:
        self._expectations.forget(key)

    async def write(self, key: Key, plan: Plan) -> None:
        """Raises the first error when all writes have ended."""
        work: list[Coroutine[Any, Any, None]] = [
            *(self._create(key, new) for new in plan.create),
            *(self._update(new) for new in plan.update),
            *(self._delete(key, old) for old in plan.delete),
        ]
        for result in await asyncio.gather(*work, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result

    async def _create(self, key: Key, new: discovery.EndpointSlice) -> None:
        self._expectations.expect(key, created(new.metadata.name))
        try:
            await self._client.create(new)
        except BaseException as error:
            if not await is_made(self._client, new, error):
                self._expectations.met(key, created(new.metadata.name))
                raise

    async def _update(self, new: discovery.EndpointSlice) -> None:
        self._written[key_of(new)] = new
        try:
            await self._client.update(new)
        except BaseException:
            self._written.pop(key_of(new), None)
            raise

    async def _delete(self, key: Key, old: discovery.EndpointSlice) -> None:
        self._expectations.expect(key, deleted(old.metadata.uid))
        try:
            await self._client.delete(discovery.EndpointSlice, old.metadata.name, old.metadata.namespace, uid=old.metadata.uid)
        except BaseException as error:
            self._expectations.met(key, deleted(old.metadata.uid))
            if not isinstance(error, NotFound):
                raise


def _says_the_same(written: discovery.EndpointSlice | None, new: discovery.EndpointSlice) -> bool:
    return (
        written is not None
        and written.endpoints == new.endpoints
        and written.ports == new.ports
        and written.metadata.labels == new.metadata.labels
        and written.metadata.owner_references == new.metadata.owner_references
        and not is_deleting(new)
    )

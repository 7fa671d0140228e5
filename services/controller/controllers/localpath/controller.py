"""local-path: makes a volume for each claim of its class, lets it go with its claim, and lets it grow.

The folder itself is its node's to make and to remove (``knarr.objects.local_path``).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.storage.v1 import storage_pb2 as storage
from knarr.client.controller import is_gone
from knarr.client.events import NORMAL, WARNING
from knarr.client.index import Index
from knarr.client.reconciler import Again
from knarr.machinery.errors import AlreadyExists, NotFound
from knarr.objects.binding import BIND_COMPLETED, PROVISIONER, SELECTED_NODE
from knarr.objects.keys import Key, key_of
from knarr.objects.local_path import NODE_LABEL, is_local_path, without_finalizer
from knarr.objects.volumes import storage_class_of
from services.controller.controller import Context, Controller
from services.controller.controllers.localpath.decide import (
    Making,
    Told,
    grown_claim,
    grown_volume,
    grows,
    has_lost_its_node,
    is_to_be_deleted,
    is_wanted,
    make,
    volume_name,
)

BY_NODE: Index[core.PersistentVolume] = Index(
    "local-path-node", lambda volume: filter(None, (volume.metadata.labels.get(NODE_LABEL),)) if is_local_path(volume) else ()
)
BY_CLASS: Index[core.PersistentVolumeClaim] = Index("storage-class", lambda claim: (storage_class_of(claim),))
WAITS_FOR_OTHERS = "waiting for an external controller to expand this PVC"
RESIZED = "VolumeResizeSuccessful"
NODE_IS_GONE = "node {} is gone: the volume is let go, and its folder stays on that machine's disk"


class LocalPathController(Controller):
    name = "localpath"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._claims = self.watches(core.PersistentVolumeClaim, BY_CLASS)
        self._volumes = self.watches(core.PersistentVolume, BY_NODE)
        self._nodes = self.hears(core.Node, self._node_changed)
        self._classes = self.hears(storage.StorageClass, self._class_changed)
        # What was said last of each claim that waits.
        self._said: dict[Key, str] = {}

    def _node_changed(self, old: core.Node | None, new: core.Node | None) -> Iterable[Key]:
        if is_gone(old, new) and old is not None:
            yield from map(key_of, self._volumes.index(BY_NODE, old.metadata.name))

    def _class_changed(self, old: storage.StorageClass | None, new: storage.StorageClass | None) -> Iterable[Key]:
        if new is not None:
            yield from map(key_of, self._claims.index(BY_CLASS, new.metadata.name))

    async def reconcile(self, key: Key) -> Again | None:
        if key.namespace:
            await self._claim(key)
        else:
            await self._volume(key)
        return None

    async def _claim(self, key: Key) -> None:
        claim = self._claims.get(*key)
        if claim is None:
            self._said.pop(key, None)
            return
        found = self._classes.get("", storage_class_of(claim))
        # Who binds it says whose it is, once nothing that is there suits it.
        if found is not None and is_wanted(claim, found) and PROVISIONER in claim.metadata.annotations:
            await self._make(claim, found)
        elif BIND_COMPLETED in claim.metadata.annotations and grows(claim):
            await self._grow(claim)

    async def _make(self, claim: core.PersistentVolumeClaim, found: storage.StorageClass) -> None:
        if self._volumes.get("", volume_name(claim)) is not None:
            return
        made = make(claim, found, await self._node(claim))
        if made.claim is not None:
            await self.client.update(made.claim)
        elif made.volume is not None:
            # One that is there already was made before a crash, or is not in the copy yet.
            with contextlib.suppress(AlreadyExists):
                await self.client.create(made.volume)
        self._tell(claim, made)

    async def _node(self, claim: core.PersistentVolumeClaim) -> core.Node | None:
        name = claim.metadata.annotations.get(SELECTED_NODE, "")
        if not name:
            return None
        known = self._nodes.get("", name)
        return known if known is not None else await self._live_node(name)

    async def _live_node(self, name: str) -> core.Node | None:
        """By the server's word: one that came a moment ago may not be in the copy yet."""
        try:
            return await self.client.get(core.Node, name)
        except NotFound:
            return None

    async def _grow(self, claim: core.PersistentVolumeClaim) -> None:
        volume = self._volumes.get("", claim.spec.volume_name)
        if volume is None:
            return
        if not is_local_path(volume):
            # Whoever made it makes it larger: a claim that waits for that says so.
            self._event(claim, Told("ExternalExpanding", WAITS_FOR_OTHERS))
            return
        if (larger := grown_volume(claim, volume)) is not None:
            volume = await self.client.update(larger)
        await self.client.update(grown_claim(claim, volume), subresource="status")
        self.recorder.event(claim, NORMAL, RESIZED, "Resize volume succeeded")

    async def _volume(self, key: Key) -> None:
        volume = self._volumes.get(*key)
        if volume is None:
            return
        nodes = frozenset(node.metadata.name for node in self._nodes.list())
        with contextlib.suppress(NotFound):
            if is_to_be_deleted(volume):
                await self.client.delete(core.PersistentVolume, volume.metadata.name, uid=volume.metadata.uid)
            elif has_lost_its_node(volume, nodes) and await self._live_node(volume.metadata.labels[NODE_LABEL]) is None:
                await self.client.update(without_finalizer(volume))
                words = NODE_IS_GONE.format(volume.metadata.labels[NODE_LABEL])
                self.recorder.event(volume, WARNING, "VolumeFailedDelete", words)

    def _tell(self, claim: core.PersistentVolumeClaim, made: Making) -> None:
        for told in made.told:
            self._event(claim, told)

    def _event(self, claim: core.PersistentVolumeClaim, told: Told) -> None:
        if self._said.get(key_of(claim)) == told.message:
            return
        self._said[key_of(claim)] = told.message
        self.recorder.event(claim, WARNING if told.warning else NORMAL, told.reason, told.message)

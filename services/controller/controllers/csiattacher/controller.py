"""csiattacher: has drivers attach volumes to nodes and detach them, as VolumeAttachments want it.

A key is an attachment's; one whose namespace is ``volume`` is a volume's, which stays while attachments name it. An attachment has its
finalizer before its driver is asked for the first time, so none goes while its volume may be at the node.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Iterable

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.csi.v1 import controller_pb2 as pb
from knarr.api.storage.v1 import storage_pb2 as storage
from knarr.client.reconciler import Again
from knarr.machinery.errors import NotFound
from knarr.objects.csi import driver_on, source_of
from knarr.objects.keys import Key, is_deleting, key_of
from services.controller.attachments import BY_VOLUME, TO_NODE
from services.controller.controller import Context
from services.controller.controllers.csiattacher import decide
from services.controller.csi.capabilities import Refused
from services.controller.csi.controller import DriverController
from services.controller.csi.driver import RPC, Driver, DriverError
from services.controller.csi.secrets import contents
from services.controller.protection import protect, release

VOLUME = "volume"


class CsiAttacherController(DriverController):
    name = "csiattacher"
    speaks_as = "external-attacher"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._attachments = self.hears(storage.VolumeAttachment, self._attachment_changed, BY_VOLUME, TO_NODE)
        self._volumes = self.hears(core.PersistentVolume, self._volume_changed)
        self._nodes = self.hears(storage.CSINode, self._node_changed)

    def _attachment_changed(self, old: storage.VolumeAttachment | None, new: storage.VolumeAttachment | None) -> Iterable[Key]:
        found = new if new is not None else old
        if old is not None and new is not None and _counted(old) == _counted(new):
            return
        if found is not None and found.spec.attacher in self.context.drivers:
            yield key_of(found)
            if new is None and found.spec.source.persistent_volume_name:
                yield Key(VOLUME, found.spec.source.persistent_volume_name)

    def _volume_changed(self, old: core.PersistentVolume | None, new: core.PersistentVolume | None) -> Iterable[Key]:
        source = None if new is None else source_of(new)
        if new is not None and source is not None and source.driver in self.context.drivers:
            yield Key(VOLUME, new.metadata.name)
            if old is None:
                yield from map(key_of, self._attachments.index(BY_VOLUME, new.metadata.name))

    def _node_changed(self, old: storage.CSINode | None, new: storage.CSINode | None) -> Iterable[Key]:
        """A driver that comes to a node says what it calls it."""
        came = {name for name in self.context.drivers if new is not None and driver_on(new, name) != driver_on(old, name)}
        if new is None or not came:
            return
        for found in self._attachments.index(TO_NODE, new.metadata.name):
            if found.spec.attacher in came:
                yield key_of(found)

    async def sync(self, key: Key) -> Again | None:
        with contextlib.suppress(NotFound):
            await (self._volume(key.name) if key.namespace else self._attachment(key))
        return None

    async def _attachment(self, key: Key) -> None:
        seen = self._attachments.get(*key)
        driver = None if seen is None else self.driver(seen.spec.attacher)
        if seen is None or driver is None or not _gives_work(seen):
            return
        # What was done a moment ago is not in the copy yet.
        found = await self.client.get(storage.VolumeAttachment, seen.metadata.name)
        if _gives_work(found):
            await self._told(found, self._detach(found, driver) if is_deleting(found) else self._attach(found, driver))

    async def _told(self, found: storage.VolumeAttachment, work: Awaitable[None]) -> None:
        """Does the work, and says in the attachment what went wrong with it."""
        try:
            await work
        except (Refused, DriverError) as error:
            code = error.code.value[0] if isinstance(error, DriverError) else None
            live = await self.client.get(storage.VolumeAttachment, found.metadata.name)
            if live.metadata.uid == found.metadata.uid and not decide.says(live, str(error)):
                await self.client.update(decide.failed(live, str(error), code, self.context.clock.now()), subresource="status")
            raise

    async def _attach(self, found: storage.VolumeAttachment, driver: Driver) -> None:
        abilities = await driver.abilities()
        if not abilities.can(RPC.PUBLISH_UNPUBLISH_VOLUME):
            # There is nothing to do for who asks for it all the same.
            await self.client.update(decide.attached(found, {}), subresource="status")
            return
        volume = await self._kept_volume(found)
        secrets = await contents(self.client, volume.spec.persistent_volume_source.csi.controller_publish_secret_ref)
        node = decide.node_id(found, self._nodes.get("", found.spec.node_name))
        asked = decide.publish_request(volume, node, abilities, secrets)
        if (marked := decide.marked(found, node)) is not None:
            found = await self.client.update(marked)
        answer = await driver.publish(asked)
        await self.client.update(decide.attached(found, answer.publish_context), subresource="status")

    async def _kept_volume(self, found: storage.VolumeAttachment) -> core.PersistentVolume:
        """What is attached; an object that stands for it stays until it is detached. Raises Refused."""
        name = found.spec.source.persistent_volume_name
        volume = self._volumes.get("", name) if name else None
        wanted = decide.spec_of(found, volume)
        if volume is not None:
            if is_deleting(volume):
                raise Refused(f'PersistentVolume "{name}" is marked for deletion')
            if (finalizer := decide.finalizer_of(found.spec.attacher)) not in volume.metadata.finalizers:
                await protect(self.client, volume, finalizer)
        return wanted

    async def _detach(self, found: storage.VolumeAttachment, driver: Driver) -> None:
        name = found.spec.source.persistent_volume_name
        volume = decide.spec_of(found, self._volumes.get("", name) if name else None)
        source = volume.spec.persistent_volume_source.csi
        secrets = await contents(self.client, source.controller_publish_secret_ref)
        node = decide.node_id(found, self._nodes.get("", found.spec.node_name), kept=True)
        if (await driver.abilities()).can(RPC.PUBLISH_UNPUBLISH_VOLUME):
            await driver.unpublish(pb.ControllerUnpublishVolumeRequest(volume_id=source.volume_handle, node_id=node, secrets=secrets))
        # Without it, it is known to be detached, whatever its status says.
        await release(self.client, found, decide.finalizer_of(found.spec.attacher))

    async def _volume(self, name: str) -> None:
        volume = self._volumes.get("", name)
        source = None if volume is None else source_of(volume)
        if volume is None or source is None or not is_deleting(volume):
            return
        finalizer = decide.finalizer_of(source.driver)
        if finalizer in volume.metadata.finalizers and not self._attachments.index(BY_VOLUME, name):
            await release(self.client, volume, finalizer)


def _gives_work(found: storage.VolumeAttachment) -> bool:
    if is_deleting(found):
        return decide.finalizer_of(found.spec.attacher) in found.metadata.finalizers
    return not found.status.attached


def _counted(found: storage.VolumeAttachment) -> tuple[object, ...]:
    """What gives work; what went wrong, which is written here, does not."""
    return found.metadata.uid, is_deleting(found), list(found.metadata.finalizers), found.status.attached

"""Volumes of a CSI driver for tests: what is there of them in a cluster, and who attaches them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.storage.v1 import storage_pb2 as storage
from knarr.client.client import Client
from knarr.client.informer import Informers
from knarr.client.reconciler import Again, Reconciler
from knarr.machinery.errors import NotFound
from knarr.objects.binding import BIND_COMPLETED, BOUND, YES
from knarr.objects.copies import copy_of
from knarr.objects.csi import volume_id
from knarr.objects.keys import Key, is_deleting, key_of
from tests.controller.objects import node, pod
from tests.controller.storage import asking, sized

DRIVER = "disks.example.com"


def disk(name: str = "disk", *, handle: str = "", modes: Iterable[str] = ("ReadWriteOnce",), claim: str = "data") -> core.PersistentVolume:
    """A volume that a claim has."""
    made = sized(name, "1Gi")
    source = made.spec.persistent_volume_source
    source.Clear()
    source.csi.driver, source.csi.volume_handle = DRIVER, handle or f"handle-{name}"
    made.spec.access_modes[:] = modes
    reference = made.spec.claim_ref
    reference.api_version, reference.kind = "v1", "PersistentVolumeClaim"
    reference.namespace, reference.name, reference.uid = "default", claim, f"uid-{claim}"
    made.status.phase = BOUND
    return made


def held(name: str = "data", volume: str = "disk") -> core.PersistentVolumeClaim:
    """The claim that has it."""
    made = asking(name, "1Gi", named=volume)
    made.metadata.uid, made.metadata.annotations[BIND_COMPLETED] = f"uid-{name}", YES
    made.status.phase = BOUND
    return made


def writer(name: str = "writer", on: str = "node-1", *, claim: str = "data") -> core.Pod:
    """A pod that uses it."""
    made = pod(name, node=on, phase="Running")
    made.spec.volumes.add(name="data").volume_source.persistent_volume_claim.claim_name = claim
    return made


def machine(name: str = "node-1", *, ready: bool = True, mounted: Iterable[core.PersistentVolume] = ()) -> core.Node:
    """A node, and what it says to have mounted."""
    made = node(name, "True" if ready else "Unknown")
    made.status.volumes_in_use.extend(id_of(volume) for volume in mounted)
    return made


def driver(name: str = DRIVER, *, attach: bool = True) -> storage.CSIDriver:
    made = storage.CSIDriver()
    made.metadata.name, made.spec.attach_required = name, attach
    return made


def id_of(volume: core.PersistentVolume) -> str:
    source = volume.spec.persistent_volume_source.csi
    return volume_id(source.driver, source.volume_handle)


class FakeAttacher:
    """As the sidecar of a driver: everything is attached at once, but for the nodes that ``fail``, and detached when it is to go."""

    FINALIZER = f"external-attacher/{DRIVER.replace('.', '-')}"

    def __init__(self, client: Client, *, fail: Iterable[str] = ()) -> None:
        self._client, self._fail = client, frozenset(fail)

    async def run(self) -> None:
        informers = Informers(self._client)
        attachments = informers.get(storage.VolumeAttachment)

        async def sync(key: Key) -> Again | None:
            found = attachments.store.get(*key)
            if found is not None:
                await self._sync(found)
            return None

        queue = Reconciler("attacher", sync)
        attachments.on_change(lambda old, new: queue.enqueue(key_of(new)) if new is not None else None)
        async with asyncio.TaskGroup() as group:
            group.create_task(informers.run())
            group.create_task(queue.run())

    async def _sync(self, found: storage.VolumeAttachment) -> None:
        changed = copy_of(found)
        try:
            if is_deleting(found):
                changed.metadata.finalizers.remove(self.FINALIZER)
                await self._client.update(changed)
            elif self.FINALIZER not in found.metadata.finalizers:
                changed.metadata.finalizers.append(self.FINALIZER)
                await self._client.update(changed)
            elif found.spec.node_name in self._fail:
                changed.status.attach_error.message = "the rack is full"
                if changed != found:
                    await self._client.update(changed, subresource="status")
            elif not found.status.attached:
                changed.status.attached = True
                await self._client.update(changed, subresource="status")
        except NotFound:
            return

"""The node's volumes of the class local-path: their folders are removed when the volumes are, and not before, and held to their size
where the file system can.

Only a volume that is being deleted, whose claim is gone and whose policy is Delete takes its folder with it. A folder whose volume is not
known is left: the cluster may have been restored to an older state.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from pathlib import Path

from knarr.api.core.v1 import core_pb2 as core
from knarr.client.client import Client
from knarr.client.events import WARNING, EventRecorder
from knarr.client.informer import Informer
from knarr.client.reconciler import Again, Reconciler
from knarr.machinery.errors import NotFound
from knarr.objects.binding import size_bytes_of
from knarr.objects.keys import Key, key_of
from knarr.objects.local_path import NODE_LABEL, is_local_path, is_to_be_removed, loses_its_data, without_finalizer
from knarr.service.tasks import run_together
from services.kubelet.node.beneath import opened, remove_at
from services.kubelet.node.files import NodeFiles
from services.kubelet.node.quota import limit

log = logging.getLogger(__name__)
WORKERS = 2
# How long it waits for containers to end, before it looks again.
USED_SECONDS = 1.0


class LocalFolders:
    """Follows the volumes that have their folder on this node."""

    def __init__(
        self,
        client: Client,
        node: str,
        root: Path,
        files: NodeFiles,
        recorder: EventRecorder,
        is_used: Callable[[core.PersistentVolume], bool],
    ) -> None:
        """``is_used``: whether containers may still run in a volume's folder; a pod that is deleted by force is gone before they are."""
        self._client, self._root, self._files, self._recorder, self._is_used = client, root, files, recorder, is_used
        self._volumes: Informer[core.PersistentVolume] = Informer(client, core.PersistentVolume, label_selector=f"{NODE_LABEL}={node}")
        self._queue = Reconciler("local folders", self._reconcile, workers=WORKERS)
        self._volumes.on_change(lambda old, new: self._queue.enqueue(key_of(new)) if new is not None else None)

    async def run(self) -> None:
        """Until cancelled."""
        await run_together("local folders", {"volumes": self._volumes.run(), "removals": self._queue.run()})

    async def _reconcile(self, key: Key) -> Again | None:
        volume = self._volumes.store.get(*key)
        if volume is None:
            return None
        if not is_to_be_removed(volume):
            await self._hold(volume)
            return None
        if self._is_used(volume):
            return Again(USED_SECONDS)
        path = volume.spec.persistent_volume_source.local.path
        if loses_its_data(volume) and path == f"{self._root}/{key.name}":
            # Each finalizer that others take away leads here again while ours is not yet seen to be gone.
            if await self._files.call(remove_folder, self._root, key.name):
                log.info("a volume's folder was removed", extra={"volume": key.name})
        elif loses_its_data(volume):
            words = f"{path} is not where this node keeps such folders, which is {self._root}: it is left as it is"
            self._recorder.event(volume, WARNING, "VolumeFailedDelete", words)
        with contextlib.suppress(NotFound):
            await self._client.update(without_finalizer(volume))
        return None

    async def _hold(self, volume: core.PersistentVolume) -> None:
        """To the size that the volume has now: its claim may have grown."""
        name, size_bytes = volume.metadata.name, size_bytes_of(volume)
        if is_local_path(volume) and size_bytes and volume.spec.persistent_volume_source.local.path == f"{self._root}/{name}":
            await self._files.call(limit_folder, self._root, name, size_bytes)


def limit_folder(root: Path, name: str, size_bytes: int) -> bool:
    """Answers whether it is held to the size; raises OSError. One that is not there yet is held to it when it is made."""
    with contextlib.suppress(FileNotFoundError), opened(root) as folders:
        return limit(folders, name, size_bytes)
    return False


def remove_folder(root: Path, name: str) -> bool:
    """Removes one with all that is in it, whatever links lie there; answers whether it was there. Raises OSError."""
    with contextlib.suppress(FileNotFoundError), opened(root) as folders:
        return remove_at(folders, name)
    return False

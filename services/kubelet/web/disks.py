"""What the volumes of a node's pods take on disks. Measured at most once a minute while somebody asks, beside the event loop: whole folders
are walked through, and Kubernetes' kubelet takes as long."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path

from services.kubelet.csi.volume import DriverVolume
from services.kubelet.eviction.measure import Meter
from services.kubelet.eviction.usage import PodUsage, Space
from services.kubelet.node.machine_use import read_disk_use
from services.kubelet.pod.claims import claimed
from services.kubelet.pod.contents import HostDirectory, VolumeError
from services.kubelet.pod.context import NodeContext
from services.kubelet.pod.disk_usage import used
from services.kubelet.pod.references import References
from services.kubelet.runtime.port import RuntimeFailure
from services.kubelet.web.summary import PodDisk, VolumeUse
from services.kubelet.worker.manager import PodManager
from services.kubelet.worker.worker import PodWorker

log = logging.getLogger(__name__)

PERIOD_SECONDS = 60.0
# How long who asks waits for a new look; one that takes longer is told next time.
PATIENCE_SECONDS = 2.0
CLAIMING = ("persistent_volume_claim", "ephemeral")
# What the kubelet lays into the pod's own folder.
OWN = ("empty_dir", "config_map", "secret", "downward_api", "projected", "nfs")


class Disks:
    """Of one node."""

    def __init__(self, context: NodeContext, manager: PodManager) -> None:
        self._context, self._manager = context, manager
        self._meter = Meter(context.runtime, context.files)
        self._known: Mapping[str, PodDisk] = {}
        self._due = float("-inf")
        self._looking: asyncio.Task[None] | None = None

    async def latest(self) -> Mapping[str, PodDisk]:
        """By pod uid; none of a runtime whose pods have no files."""
        if not self._context.runtime.mounts_files:
            return {}
        if self._looking is None and asyncio.get_running_loop().time() >= self._due:
            self._looking = asyncio.create_task(self._look(), name="disks")
        if self._looking is not None:
            await asyncio.wait([self._looking], timeout=PATIENCE_SECONDS)
        return self._known

    async def close(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait([self._looking])

    async def _look(self) -> None:
        try:
            workers = {uid: worker for uid, worker in self._manager.workers.items() if not worker.facts.gone}
            used = await self._used(list(workers.values()))
            found = {uid: await self._of(worker, used.get(uid, PodUsage())) for uid, worker in workers.items()}
            self._known = {uid: disk for uid, disk in found.items() if disk.volumes or disk.written}
        except Exception:
            # What was known before is told on.
            log.exception("volumes were not measured")
        finally:
            self._due = asyncio.get_running_loop().time() + PERIOD_SECONDS
            self._looking = None

    async def _used(self, workers: list[PodWorker]) -> Mapping[str, PodUsage]:
        """What pods wrote into what ends with them, as far as the engine tells where that lies."""
        try:
            return await self._meter.disks(workers)
        except RuntimeFailure as error:
            log.info("what containers wrote was not measured", extra={"error": str(error)})
            return {}

    async def _of(self, worker: PodWorker, usage: PodUsage) -> PodDisk:
        volumes: dict[str, VolumeUse] = {}
        for name, path in await self._places(worker):
            try:
                volumes[name] = await self._context.files.call(measure, path, usage.volumes.get(name))
            except OSError as error:
                # It is not laid yet, or not any more.
                log.debug("a volume was not measured", extra={"path": str(path), "error": str(error)})
        written = {name: one.written for name, one in usage.containers.items() if one.written is not None}
        return PodDisk(volumes, written)

    async def _places(self, worker: PodWorker) -> list[tuple[str, Path]]:
        """The volumes that are told of, and where they lie."""
        volumes = worker.pod.spec.volumes
        found = [
            (volume.name, worker.volume_path(volume.name)) for volume in volumes if any(volume.volume_source.HasField(kind) for kind in OWN)
        ]
        claiming = [volume for volume in volumes if any(volume.volume_source.HasField(kind) for kind in CLAIMING)]
        if not claiming:
            return found
        claims, persistent = await self._context.references.claims(worker.pod)
        references = References(claims=claims, volumes=persistent)
        for volume in claiming:
            try:
                content = claimed(worker.pod, volume, references, self._context.node)
            except VolumeError:
                continue
            if isinstance(content, DriverVolume):
                found.append((volume.name, worker.driver_path(content.name)))
            else:
                path = Path(content.path) if isinstance(content, HostDirectory) else worker.volume_path(volume.name)
                found.append((volume.name, path))
        return found


def measure(path: Path, known: Space | None = None) -> VolumeUse:
    """What is used at ``path``: of a file system of its own all of it, else what lies below, if that is not ``known``. Raises OSError."""
    file_system = read_disk_use(path)
    if path.stat().st_dev != path.parent.stat().st_dev:
        return VolumeUse(file_system, file_system.used, file_system.inodes - file_system.inodes_free)
    return VolumeUse(file_system, *((known.bytes, known.inodes) if known is not None else used(path)))

"""Measures what pods use: asks the engine, and walks through what lies on the disk, beside the event loop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from knarr.api.core.v1 import core_pb2 as core
from services.kubelet.eviction.ranking import MEMORY_SIGNALS
from services.kubelet.eviction.usage import Candidate, ContainerUsage, PodUsage, Space, Written
from services.kubelet.node.files import NodeFiles
from services.kubelet.pod.disk_usage import takes_disk, used
from services.kubelet.runtime.port import Runtime, RuntimeFailure
from services.kubelet.runtime.usage import Storage
from services.kubelet.thresholds import PIDS

log = logging.getLogger(__name__)


class Evictable(Protocol):
    """A pod on the node that may be ended."""

    @property
    def pod(self) -> core.Pod: ...

    @property
    def is_active(self) -> bool:
        """Whether it is to run on: nobody ends it, and it has not ended."""

    @property
    def settled(self) -> asyncio.Event:
        """Set when nothing of it runs any more, and what it used is given back."""

    def volume_path(self, name: str) -> Path: ...

    def evict(self, message: str, grace_seconds: float, *, disrupted: bool) -> None: ...

    def let_go(self) -> None:
        """The dead containers of one that has ended are to be removed."""


class Meter:
    """Of one node."""

    def __init__(self, runtime: Runtime, files: NodeFiles) -> None:
        self._runtime, self._files = runtime, files

    async def candidates(self, pods: Sequence[Evictable], signal: str) -> list[Candidate]:
        """The pods with what matters for a signal. Where the engine does not answer, nothing is known of any."""
        try:
            if signal in MEMORY_SIGNALS or signal == PIDS:
                usages = await self._by_engine()
            else:
                usages = await self.disks(pods)
        except RuntimeFailure as error:
            log.warning("what pods use cannot be seen", extra={"error": str(error)})
            usages = {}
        return [Candidate(found.pod, usages.get(found.pod.metadata.uid)) for found in pods]

    async def _by_engine(self) -> dict[str, PodUsage]:
        """Memory and processes, by pod uid."""
        found: dict[str, PodUsage] = {}
        for usage in await self._runtime.usage():
            before = found.get(usage.pod.uid, PodUsage())
            containers = {**before.containers, usage.container: ContainerUsage(memory_bytes=usage.memory_bytes)}
            found[usage.pod.uid] = PodUsage(before.memory_bytes + usage.memory_bytes, before.processes + usage.processes, containers)
        return found

    async def disks(self, pods: Collection[Evictable]) -> dict[str, PodUsage]:
        """Disk space, by pod uid. Raises RuntimeFailure."""
        stored: dict[str, list[Storage]] = {}
        for storage in await self._runtime.storage([found.pod.metadata.uid for found in pods]):
            stored.setdefault(storage.pod.uid, []).append(storage)
        return {found.pod.metadata.uid: await self._disk(found, stored.get(found.pod.metadata.uid, [])) for found in pods}

    async def _disk(self, pod: Evictable, stored: Sequence[Storage]) -> PodUsage:
        written: dict[str, Written] = {}
        for storage in stored:
            layer = await self._walk(Path(storage.layer)) if storage.layer else Space(storage.layer_bytes, storage.layer_inodes)
            logs = await self._walk(Path(storage.logs)) if storage.logs else Space()
            # One that was started again has left what its predecessors wrote.
            before = written.get(storage.container, Written())
            written[storage.container] = Written(before.root + layer, before.logs + logs)
        containers = {name: ContainerUsage(written=found) for name, found in written.items()}
        volumes = {found.name: await self._walk(pod.volume_path(found.name)) for found in pod.pod.spec.volumes if takes_disk(found)}
        return PodUsage(containers=containers, volumes=volumes, logs_on_images=await self._files.call(_share_disk, stored))

    async def _walk(self, root: Path) -> Space:
        try:
            return Space(*await self._files.call(used, root))
        except OSError as error:
            log.info("a folder was not measured", extra={"path": str(root), "error": str(error)})
            return Space()


def _share_disk(stored: Sequence[Storage]) -> bool:
    """Whether logs lie on one disk with layers, as an engine's do that keeps both in its own folder."""
    for storage in stored:
        with suppress(OSError):
            return bool(storage.layer and storage.logs) and Path(storage.layer).stat().st_dev == Path(storage.logs).stat().st_dev
    return False

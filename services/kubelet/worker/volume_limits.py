"""Ends pods whose emptyDir on the disk has grown over its sizeLimit."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection

from knarr.machinery import quantity
from services.kubelet.node.files import NodeFiles
from services.kubelet.pod.disk_usage import disk_limits, exceeds
from services.kubelet.worker.worker import PodWorker

log = logging.getLogger(__name__)

# Kubernetes' eviction manager looks as often; measuring takes at most this share of the time, however large the volumes are.
PERIOD_SECONDS = 10.0
SHARE = 0.05


class VolumeLimits:
    """Measures one volume after the other, beside the event loop."""

    def __init__(self, workers: Callable[[], Collection[PodWorker]], files: NodeFiles) -> None:
        self._workers = workers
        self._files = files

    async def run(self) -> None:
        """Until cancelled."""
        loop = asyncio.get_running_loop()
        pause = PERIOD_SECONDS
        while True:
            await asyncio.sleep(pause)
            started = loop.time()
            for worker in list(self._workers()):
                try:
                    await self._look(worker)
                except OSError as error:
                    log.info("a volume was not measured", extra={"pod": worker.pod.metadata.name, "error": str(error)})
            pause = max(PERIOD_SECONDS, (loop.time() - started) / SHARE)

    async def _look(self, worker: PodWorker) -> None:
        if not worker.is_active:
            return
        for name, limit in disk_limits(worker.pod).items():
            if await self._files.call(exceeds, worker.volume_path(name), quantity.value(limit)):
                worker.evict(f'Usage of EmptyDir volume "{name}" exceeds the limit "{limit}". ')
                return

"""Ends pods that use more of the node's disk than they may: an emptyDir over its sizeLimit, containers over their ephemeral-storage."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection

from knarr.machinery import quantity
from services.kubelet.eviction.decide import IMMEDIATE_SECONDS
from services.kubelet.eviction.limits import excess, is_limited, volume_message
from services.kubelet.eviction.measure import Evictable, Meter
from services.kubelet.node.files import NodeFiles
from services.kubelet.pod.critical import is_critical
from services.kubelet.pod.disk_usage import disk_limits, exceeds
from services.kubelet.runtime.port import RuntimeFailure

log = logging.getLogger(__name__)

# Kubernetes' eviction manager looks as often; measuring takes at most this share of the time, however large the volumes are.
PERIOD_SECONDS = 10.0
SHARE = 0.05


class LocalStorage:
    """Measures one pod after the other, beside the event loop."""

    def __init__(self, pods: Callable[[], Collection[Evictable]], meter: Meter, files: NodeFiles, apart: Callable[[], bool]) -> None:
        """``apart``: whether images and containers lie on a disk of their own."""
        self._pods, self._meter, self._files, self._apart = pods, meter, files, apart

    async def run(self) -> None:
        """Until cancelled."""
        loop = asyncio.get_running_loop()
        pause = PERIOD_SECONDS
        while True:
            await asyncio.sleep(pause)
            started = loop.time()
            await self.look()
            pause = max(PERIOD_SECONDS, (loop.time() - started) / SHARE)

    async def look(self) -> None:
        """Once, at all pods."""
        for found in list(self._pods()):
            try:
                words = await self._excess(found) if found.is_active and not is_critical(found.pod) else ""
            except (OSError, RuntimeFailure) as error:
                log.info("what a pod uses was not measured", extra={"pod": found.pod.metadata.name, "error": str(error)})
                continue
            # It may have ended while it was measured.
            if words and found.is_active:
                found.evict(words, IMMEDIATE_SECONDS, disrupted=False)

    async def _excess(self, found: Evictable) -> str:
        for name, limit in disk_limits(found.pod).items():
            if await self._files.call(exceeds, found.volume_path(name), quantity.value(limit)):
                return volume_message(name, limit)
        if not is_limited(found.pod):
            return ""
        usage = (await self._meter.disks([found]))[found.pod.metadata.uid]
        return excess(found.pod, usage, apart=self._apart())

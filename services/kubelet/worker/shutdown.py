"""Ends the pods of a machine that shuts down, stage by stage, while the kubelet still serves."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress

from knarr.client.events import EventRecorder
from services.kubelet.node.keeper import NodeKeeper
from services.kubelet.node.shutdown import NOT_READY, TERMINATED, TERMINATED_MESSAGE, grace_seconds, machine_stops, stages
from services.kubelet.settings import ShutdownPeriod
from services.kubelet.worker.manager import PodManager

log = logging.getLogger(__name__)

# For the statuses of the last stage to be written.
TELL_SECONDS = 2.0


class Shutdown:
    """Of one node; without ``periods`` a machine that stops takes its pods with it as they are."""

    def __init__(
        self,
        periods: tuple[ShutdownPeriod, ...],
        manager: PodManager,
        keeper: NodeKeeper,
        recorder: EventRecorder,
        stops: Callable[[], Awaitable[bool]] = machine_stops,
    ) -> None:
        self._periods, self._manager, self._keeper, self._recorder, self._stops = periods, manager, keeper, recorder, stops
        self._ending: asyncio.Task[None] | None = None

    @property
    def trouble(self) -> str:
        """Why the node takes no pods; empty while it does."""
        return NOT_READY if self._ending is not None else ""

    def begin(self) -> None:
        """The machine is about to stop: somebody says so. May be called again."""
        if self._ending is None and self._periods:
            log.info("the machine shuts down: its pods are ended")
            self._ending = asyncio.create_task(self._end(), name="node shutdown")
            self._keeper.look()

    async def leave(self) -> None:
        """Before the kubelet ends: waits until the pods have ended, if the machine stops. At once where it does not."""
        if self._periods and self._ending is None and await self._stops():
            self.begin()
        if self._ending is not None:
            await asyncio.shield(self._ending)

    async def _end(self) -> None:
        if self._keeper.node is not None:
            self._recorder.event(self._keeper.node, "Normal", "NodeShutdown", "Shutdown manager detected shutdown event")
        active = {worker.pod.metadata.uid: worker for worker in self._manager.all() if worker.is_active}
        for stage in stages((worker.pod for worker in active.values()), self._periods):
            workers = [active[pod.metadata.uid] for pod in stage.pods]
            for worker in workers:
                worker.terminate(TERMINATED, TERMINATED_MESSAGE, grace_seconds(worker.pod, stage), disrupted=True)
            with suppress(TimeoutError):
                async with asyncio.timeout(stage.seconds):
                    await asyncio.gather(*(worker.ended.wait() for worker in workers))
            left = sum(not worker.ended.is_set() for worker in workers)
            log.info("pods were ended for the node's shutdown", extra={"pods": len(workers), "left": left, "seconds": stage.seconds})
        with suppress(TimeoutError):
            async with asyncio.timeout(TELL_SECONDS):
                await asyncio.gather(*(worker.told() for worker in active.values()))

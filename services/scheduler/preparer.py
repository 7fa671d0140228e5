"""Carries out what must be so before pods are bound: writes it, and waits until it has come about."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from knarr.client.client import Client
from knarr.machinery.errors import StatusError, not_found
from services.scheduler.informed_cluster import InformedCluster
from services.scheduler.pod_facts import PodFacts
from services.scheduler.preparation import Preparation, Spoiled

logger = logging.getLogger(__name__)


class Preparer:
    """Whoever waits here holds none of the ``slots`` for writes: others are bound meanwhile."""

    def __init__(self, client: Client, cluster: InformedCluster, waits: Callable[[PodFacts], bool], slots: asyncio.Semaphore) -> None:
        """``waits``: whether a pod is still to be placed."""
        self._client, self._cluster, self._waits, self._slots = client, cluster, waits, slots

    def count(self, plan: Preparation) -> None:
        """From now on what is to be written counts as written."""
        self._cluster.assume(plan.writes)

    async def carry_out(self, pod: PodFacts, needed: Sequence[Preparation]) -> None:
        """Raises StatusError where something cannot be written or the pod is gone, Spoiled where it does not come about."""
        try:
            for plan in needed:
                self._cluster.settle(plan.writes, await plan.write(self._client))
            self._slots.release()
            try:
                async with asyncio.timeout(max(plan.seconds for plan in needed)):
                    await self._until_done(pod, needed)
            except TimeoutError:
                raise Spoiled(next(plan.timed_out for plan in needed if not plan.is_done())) from None
            finally:
                await self._slots.acquire()
        except Spoiled:
            await self._undo(needed)
            raise
        except BaseException:
            for plan in needed:
                self._cluster.forget(plan.writes)
            raise

    async def _undo(self, needed: Sequence[Preparation]) -> None:
        for plan in needed:
            self._cluster.forget(plan.writes)
        for plan in needed:
            try:
                await plan.undo(self._client)
            except StatusError as error:
                logger.warning("what was prepared was not taken back", extra={"error": str(error)})

    async def _until_done(self, pod: PodFacts, needed: Sequence[Preparation]) -> None:
        while not all(plan.is_done() for plan in needed):
            if not self._waits(pod):
                raise not_found("pods", pod.key.name)
            await self._cluster.change()

"""Keeps the control groups of a node's pods: one for all of them, one for each class of service, one for each pod."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Collection, Iterable, Mapping

from knarr.api.core.v1 import core_pb2 as core
from knarr.objects.qos import BURSTABLE, GUARANTEED, qos_of
from services.kubelet.cgroups.hierarchy import Hierarchy
from services.kubelet.cgroups.names import CLASSES, Group, class_group, parent, pod_group
from services.kubelet.cgroups.shortage import KillCount, ShortageWatch
from services.kubelet.cgroups.values import GroupLimits, of_all, of_class
from services.kubelet.node.files import NodeFiles

log = logging.getLogger(__name__)

# How often it is tried to make the groups above the pods', where that failed.
RETRY_SECONDS = 60.0
# How far apart the ends of containers are heard of that one want of memory ended.
TOGETHER_SECONDS = 1.0


class PodGroups:
    """Of one node. Before ``start`` or ``run`` found that they can be had, pods have none: their containers are held alone."""

    def __init__(
        self, root: Group, files: NodeFiles, pods: Callable[[], Collection[core.Pod]], elapsed: Callable[[], float] = time.monotonic
    ) -> None:
        """``pods`` answers those that hold resources of the node, ``elapsed`` seconds that only go forward."""
        self._root, self._files, self._pods, self._elapsed = root, files, pods, elapsed
        self._driver = ""
        self._hierarchy: Hierarchy | None = None
        self._came, self._refused = asyncio.Event(), asyncio.Event()
        self._burstable = GroupLimits()
        self._all = GroupLimits()
        # Of pods that are held to memory as a whole.
        self._watches: dict[str, ShortageWatch | KillCount] = {}
        # When each of them was last seen to have none left.
        self._short: dict[str, float] = {}

    @property
    def there(self) -> bool:
        """Whether pods have groups of their own here."""
        return self._hierarchy is not None

    async def start(self, driver: str, capacity: Mapping[str, int], reserved: Iterable[Mapping[str, int]]) -> None:
        """``driver`` is the engine's, empty where it has none. What cannot be made is told once, and ``run`` tries it again."""
        if not driver or self._hierarchy is not None:
            return
        self._driver, self._all = driver, of_all(capacity, list(reserved))
        try:
            await self._make()
        except OSError as error:
            log.warning("pods have no control groups of their own: only their containers are held to limits", extra={"error": str(error)})
            self._refused.set()

    async def run(self) -> None:
        """Tries again, until cancelled, what ``start`` could not make: a kernel that is short of something is so for a while."""
        while True:
            await self._refused.wait()
            await asyncio.sleep(RETRY_SECONDS)
            try:
                await self._make()
            except OSError as error:
                log.debug("pods have no control groups yet", extra={"error": str(error)})
                continue
            self._refused.clear()
            log.info("pods have control groups of their own now")

    async def come(self) -> None:
        """Waits until pods have groups: for ever where the engine has no driver."""
        await self._came.wait()

    async def _make(self) -> None:
        """Those above the pods'. Raises OSError."""
        hierarchy = await self._files.call(Hierarchy, self._driver)
        await self._files.call(hierarchy.make, self._root, self._all)
        for name in CLASSES:
            await self._files.call(hierarchy.make, class_group(self._root, name), of_class(name, ()))
        self._hierarchy = hierarchy
        self._came.set()

    def parent(self, pod: core.Pod) -> str:
        """What the engine is told to put the pod's containers into; empty: what it likes."""
        return parent(self._group(pod), self._driver) if self.there else ""

    async def hold(self, pod: core.Pod, limits: GroupLimits) -> None:
        """Makes the pod's group, or holds it to other limits. Raises OSError where the kernel refuses, as less memory than is in use."""
        if self._hierarchy is not None:
            await self._files.call(self._hierarchy.make, self._group(pod), limits)
            if limits.memory_bytes and pod.metadata.uid not in self._watches:
                await self._watch(self._hierarchy, pod)
            await self._weigh()

    async def _watch(self, hierarchy: Hierarchy, pod: core.Pod) -> None:
        try:
            self._watches[pod.metadata.uid] = await self._files.call(hierarchy.watch, self._group(pod))
        except OSError as error:
            log.info("whether a pod ends for want of memory is not seen", extra={"pod": pod.metadata.name, "error": str(error)})

    def ran_short(self, uid: str) -> bool:
        """Whether the kernel ended something of the pod for want of memory since this was asked last, or a moment before: where the pod as
        a whole had none left, engines need not tell. Where it ended several containers, one after the other hears of it."""
        watch, now = self._watches.get(uid), self._elapsed()
        if watch is not None and watch.happened():
            self._short[uid] = now
        return now - self._short.get(uid, -math.inf) <= TOGETHER_SECONDS

    async def remove(self, uid: str) -> None:
        """Once nothing runs in it; whichever class it had. Raises OSError."""
        if (watch := self._watches.pop(uid, None)) is not None:
            watch.close()
        self._short.pop(uid, None)
        if self._hierarchy is not None:
            for name in (GUARANTEED, *CLASSES):
                await self._files.call(self._hierarchy.remove, pod_group(self._root, name, uid))
            await self._weigh()

    async def close(self) -> None:
        """The kubelet ends. Where the node has no pods its groups go, too: it may never come back."""
        try:
            if self._hierarchy is not None and not await self.left_behind():
                await self._files.call(self._hierarchy.remove, self._root[:1])
        except OSError as error:
            log.info("the node's control groups stay", extra={"error": str(error)})

    async def left_behind(self) -> list[str]:
        """The uids of the pods that have a group."""
        found: list[str] = []
        if self._hierarchy is None:
            return found
        for name in (GUARANTEED, *CLASSES):
            found += await self._files.call(self._hierarchy.pods, class_group(self._root, name))
        return found

    async def memory(self) -> tuple[int, int] | None:
        """How much all pods use and may use, bytes; None where that is not known."""
        if self._hierarchy is None or not self._all.memory_bytes:
            return None
        return await self._files.call(self._hierarchy.memory, self._root), self._all.memory_bytes

    async def _weigh(self) -> None:
        """What Burstable pods weigh together follows from who is there."""
        limits = of_class(BURSTABLE, self._pods())
        if self._hierarchy is not None and limits != self._burstable:
            await self._files.call(self._hierarchy.make, class_group(self._root, BURSTABLE), limits)
            self._burstable = limits

    def _group(self, pod: core.Pod) -> Group:
        return pod_group(self._root, qos_of(pod), pod.metadata.uid)

"""Writes a pod's status: only when it changed, the newest only, never losing the last one.

Between its first sight and its rest a pod has a status for each thing that was done. Most are over before anybody could read them, and
each costs a write, and all who watch pods its news. So one that passes waits a moment for the next; one that stays is written at once,
and so is one by which a pod is ready no more: whoever is sent to it meanwhile finds nobody. Where many pods begin together, those that
pass are written one after the other, so many a second: else they would hold up those that stay, for which everybody waits. One by which
the phase is another, or the pod ready, takes no turns: controllers wait for it, however long a sandbox takes to go.
Where the process is behind with all that it has to do, a moment is longer: what comes of a start is late by as much, and each write that is
over before its time would make it later still.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable

from knarr.api.core.v1 import core_pb2 as core
from knarr.client.backoff import Backoff
from knarr.client.client import Client
from knarr.machinery.errors import Conflict, NotFound, StatusError
from knarr.objects.conditions import is_true
from knarr.objects.copies import copy_of
from knarr.service.tasks import cancel
from services.kubelet.metrics import STATUS_WRITES
from services.kubelet.pod.conditions import OWN_CONDITIONS, is_own

log = logging.getLogger(__name__)

# How long a status waits for what comes of that which is being done.
PATIENCE_SECONDS = 0.5
# A pod's start takes some turns of the loop: all of them some times as long as a timer is late. For that is waited, too, so long at most. A
# timer that is late by less is so by chance.
TURNS, MOST_BEHIND_SECONDS, LATE_SECONDS = 20, 5.0, 0.01
# How many that pass one kubelet writes a second.
PASSING_PER_SECOND = 10
READY, PENDING = "Ready", "Pending"
_OWN_TYPES = frozenset(OWN_CONDITIONS)
RETRY = Backoff(first_seconds=0.1, limit_seconds=5.0, jitter=0.5)


class Turns:
    """Whose status is written next, of those that pass. One for all pods of a node."""

    def __init__(self) -> None:
        # In their order, each with what is set when it is to be written, for whatever reason.
        self._waiting: dict[asyncio.Event, None] = {}
        self._next = -math.inf
        self._timer: asyncio.TimerHandle | None = None

    async def wait(self, due: asyncio.Event) -> None:
        """Until ``due`` is set, which happens in its turn at the latest."""
        self._waiting[due] = None
        if self._timer is None:
            self._call()
        try:
            await due.wait()
        finally:
            self._waiting.pop(due, None)

    def _call(self) -> None:
        """Whose turn it is, if it is anybody's yet; the others when theirs has come."""
        loop = asyncio.get_running_loop()
        self._timer = None
        if self._waiting and loop.time() >= self._next:
            due = next(iter(self._waiting))
            del self._waiting[due]
            due.set()
            self._next = loop.time() + 1 / PASSING_PER_SECOND
        if self._waiting:
            self._timer = loop.call_at(self._next, self._call)


class StatusWriter:
    """Writes the status of one pod. While one write is under way a newer status waits; older ones are skipped."""

    def __init__(self, client: Client, latest: Callable[[], core.Pod | None], turns: Turns) -> None:
        """``latest`` answers the pod as the API last told it; None while it has none that would show the status."""
        self._client = client
        self._turns = turns
        self._latest = latest
        self._wanted: core.PodStatus | None = None
        self._written: core.PodStatus | None = None
        self._task: asyncio.Task[None] | None = None
        self._base: core.Pod | None = None
        # The resourceVersion that the last write made, and of which one.
        self._made = self._made_of = ""
        # What is being written, and over which resourceVersion.
        self._under_way: tuple[str, core.PodStatus] | None = None
        self._idle = asyncio.Event()
        self._idle.set()
        # Nothing is being done that would change the newest status, or somebody waits for its write.
        self._due = asyncio.Event()
        # How many wait so: nothing that passes meanwhile is to keep them.
        self._flushing = 0
        # What passes has had its moment, and is written when its turn comes.
        self._lingers = False

    def publish(self, status: core.PodStatus, *, passes: bool = False) -> None:
        """Takes a status; it is written soon, unless the API has it already. ``passes``: another is about to follow.

        What somebody else wrote over our part (the node controller does, while it hears nothing
        from the node) is put right again.
        """
        newest = self._newest()
        if newest is None:
            return
        if passes and not self._flushing and (is_true(status, READY) or not is_true(newest.status, READY)):
            self._due.clear()
        else:
            self._due.set()
        writing = self._task is not None and not self._task.done()
        if status == self._wanted if writing else _merged(newest.status, status) == newest.status:
            return
        self._wanted, self._written = status, None
        if self._lingers and _is_awaited(newest.status, status):
            self._due.set()
        self._idle.clear()
        if self._task is None or self._task.done():
            name = f"kubelet/status/{newest.metadata.namespace}/{newest.metadata.name}"
            self._task = asyncio.create_task(self._write(), name=name)

    def has_written(self, pod: core.Pod, before: core.Pod) -> bool:
        """Whether a pod, as the API tells of it, is what the last write made of what was told ``before``: all else of it is known.

        A write that follows a conflict is made of what others wrote meanwhile, of which a watch that broke may never tell by itself.
        Mostly the watch tells of a write before its answer comes: then it is known by the status, which nobody else writes so.
        """
        if self._under_way is not None:
            revision, status = self._under_way
            if before.metadata.resource_version == revision and pod.status == status:
                return True
        if pod.metadata.resource_version != self._made or before.metadata.resource_version not in (self._made_of, self._made):
            return False
        # From here on the informer has it.
        self._base = None
        return True

    async def flush(self) -> None:
        """Waits until the last status is written or the pod is gone."""
        self._flushing += 1
        self._due.set()
        try:
            await self._idle.wait()
        finally:
            self._flushing -= 1

    async def close(self) -> None:
        if self._task is not None:
            await cancel([self._task])

    async def _write(self) -> None:
        failures = 0
        while self._wanted is not None and self._written != self._wanted:
            await self._wait()
            wanted, base = self._wanted, self._newest()
            if base is None:
                # Whoever comes to show the pod is told of it anew.
                self._wanted = None
                break
            try:
                self._base = await self._update(base, wanted)
                self._made_of, self._made = base.metadata.resource_version, self._base.metadata.resource_version
                self._written, failures = wanted, 0
                self._newest()
                STATUS_WRITES.labels("written").inc()
            except StatusError as error:
                STATUS_WRITES.labels(error.reason).inc()
                uid = base.metadata.uid
                if isinstance(error, Conflict) and not isinstance(error, NotFound):
                    self._base = base = await self._refreshed(base)
                if isinstance(error, NotFound) or base.metadata.uid != uid:
                    self._written = wanted
                elif not isinstance(error, Conflict) or failures:
                    log.warning("status not written", extra={"pod": base.metadata.name, "error": str(error)})
                    await asyncio.sleep(RETRY.delay(failures + 1))
                failures += 1
        self._idle.set()

    async def _wait(self) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + PATIENCE_SECONDS
        if await self._is_due(PATIENCE_SECONDS) or self._is_awaited():
            return
        self._lingers = True
        try:
            behind = loop.time() - end
            if behind < LATE_SECONDS or not await self._is_due(min(behind * TURNS, MOST_BEHIND_SECONDS)):
                await self._turns.wait(self._due)
        finally:
            self._lingers = False

    async def _is_due(self, seconds: float) -> bool:
        """Whether it comes to be due within so many seconds."""
        try:
            async with asyncio.timeout(seconds):
                await self._due.wait()
        except TimeoutError:
            return False
        return True

    def _is_awaited(self) -> bool:
        """Whether others wait for what is to be written."""
        newest = self._newest()
        return self._wanted is not None and newest is not None and _is_awaited(newest.status, self._wanted)

    def _newest(self) -> core.Pod | None:
        """What the last write answered, unless the informer has seen a newer one."""
        latest = self._latest()
        if latest is None or self._base is None:
            return latest
        if _revision(latest) >= _revision(self._base):
            # The informer has it: it need not be held twice.
            self._base = None
            return latest
        return self._base

    async def _update(self, base: core.Pod, wanted: core.PodStatus) -> core.Pod:
        pod = core.Pod(metadata=base.metadata, spec=base.spec, status=_merged(base.status, wanted))
        self._under_way = base.metadata.resource_version, pod.status
        try:
            return await self._client.update(pod, subresource="status")
        finally:
            self._under_way = None

    async def _refreshed(self, base: core.Pod) -> core.Pod:
        try:
            return await self._client.get(core.Pod, base.metadata.name, base.metadata.namespace)
        except StatusError as error:
            log.info("cannot read the pod again", extra={"pod": base.metadata.name, "reason": error.reason})
            return base


def _is_awaited(told: core.PodStatus, status: core.PodStatus) -> bool:
    """Whether others do something once they hear of a status: of an end, of a beginning, of a pod that is ready."""
    return (told.phase or PENDING) != (status.phase or PENDING) or is_true(told, READY) != is_true(status, READY)


def _merged(base: core.PodStatus, wanted: core.PodStatus) -> core.PodStatus:
    """Our status, and the conditions of others as they stand."""
    status = copy_of(wanted)
    del status.conditions[:]
    own = [found for found in wanted.conditions if is_own(found)]
    types = _OWN_TYPES.union(found.type for found in own)
    status.conditions.extend(found for found in base.conditions if found.type not in types)
    status.conditions.extend(own)
    return status


def _revision(pod: core.Pod) -> int:
    """For comparing two readings of one object; 0 when the server does not number its revisions."""
    text = pod.metadata.resource_version
    return int(text) if text.isdigit() else 0

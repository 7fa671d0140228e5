"""Leader election: of several candidates at most one acts, by a Lease that it keeps renewing.

A candidate takes the lease when nobody holds it, or when the holder has not renewed it for the
lease's duration *as this candidate has seen it*: clocks of different machines are never compared.
It watches the lease, so it sees a renewal when it happens, a release at once, and wakes at the moment when
the lease expires; it asks at every retry period besides, for the case that the watch is broken.
A leader that cannot renew for ``renew_deadline_seconds`` stops acting, before anybody else may
start. It then stands again.

A process that was stopped, or whose machine slept, does not know it before it runs again, and by then another may act. So whoever acts
writes through ``guarded``: each write is refused unless the lease was renewed in time, by a clock that goes on meanwhile. What is left is a
write that is on its way to the server when the process is stopped.

``Leadership`` is what a component uses; ``LeaderElector`` is the mechanism.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

from knarr.api.coordination.v1 import coordination_pb2 as coordination
from knarr.client.client import Client
from knarr.client.clock import SYSTEM_CLOCK, Clock
from knarr.client.guarded import GuardedClient
from knarr.client.informer import Informer
from knarr.machinery.errors import NotFound, StatusError, status_error
from knarr.objects.copies import copy_of

logger = logging.getLogger(__name__)

RETRY_JITTER = 0.2


@dataclass(frozen=True, slots=True)
class LeaseSettings:
    """Timing of an election; each must be clearly shorter than the one before it."""

    # Seconds without a renewal after which others may take the lease.
    duration_seconds: float = 15.0
    # Seconds without a successful renewal after which the leader stops acting.
    renew_deadline_seconds: float = 10.0
    # Seconds between attempts to take or renew the lease.
    retry_seconds: float = 2.0
    # Seconds that the leader's work gets to end after it was cancelled, before the lease is released.
    stop_seconds: float = 5.0


@dataclass(frozen=True, slots=True)
class Election:
    """How one of several instances of a component takes part in the choice of the one that acts.

    ``identity``: its name in the lease; must differ between candidates, processes included.
    ``held``: whether there is an election; without one the component acts at once.
    ``lease``: the timing.
    """

    identity: str
    held: bool = False
    lease: LeaseSettings = LeaseSettings()


class LeaderElector:
    """One candidate for one lease."""

    def __init__(
        self,
        client: Client,
        name: str,
        identity: str,
        *,
        namespace: str = "kube-system",
        settings: LeaseSettings | None = None,
        clock: Clock = SYSTEM_CLOCK,
        source: random.Random | None = None,
    ) -> None:
        """``identity`` must differ between candidates, processes included."""
        self._client = client
        self._name = name
        self._namespace = namespace
        self._identity = identity
        self._settings = settings or LeaseSettings()
        self._clock = clock
        self._random = source or random.Random()
        self._observed: coordination.Lease | None = None
        self._observed_at = 0.0
        self._changed = asyncio.Event()
        # Until when it may write, by the clock's ``elapsed``.
        self._leads_until = -math.inf
        self.is_leader = False

    @property
    def holder(self) -> str:
        """Who held the lease when it was last seen; empty when nobody did."""
        return str(self._observed.spec.holder_identity) if self._observed is not None else ""

    def guarded(self, client: Client) -> Client:
        """A client that writes only while this candidate leads."""
        return GuardedClient(client, self.allow)

    def allow(self) -> float:
        """Asked in the moment of each write: for how many seconds it may be done. ServiceUnavailable when this candidate does not lead."""
        left = self._leads_until - self._clock.elapsed()
        if left <= 0:
            raise status_error("ServiceUnavailable", f"not written: the lease {self._name} was not renewed in time, another one may lead")
        return left

    async def run(self, lead: Callable[[], Awaitable[None]]) -> None:
        """Runs ``lead()`` whenever this candidate leads, and cancels it when it no longer does.

        Ends when it is cancelled, after releasing the lease, or when ``lead`` ends, with its error.
        """
        while True:
            since = await self._acquire()
            logger.info("became leader", extra={"lease": self._name, "identity": self._identity})
            if await self._lead(lead, since):
                return
            logger.warning("lost the lease", extra={"lease": self._name, "holder": self.holder})

    async def _acquire(self) -> float:
        """Takes the lease; answers the clock's time at which the successful attempt began."""
        following = asyncio.create_task(self._follow(), name=f"lease {self._name}/watch")
        try:
            while True:
                started = self._clock.elapsed()
                if await self._try(self._settings.renew_deadline_seconds):
                    return started
                await self._pause()
        finally:
            # To its end: what it has seen of another holder must not come after what this one has written.
            following.cancel()
            await asyncio.wait({following})

    async def _follow(self) -> None:
        """Observes every change of the lease until cancelled."""

        def seen(_: coordination.Lease | None, lease: coordination.Lease | None) -> None:
            if lease is not None:
                self._observe(lease)
            self._changed.set()

        informer = Informer(self._client, coordination.Lease, namespace=self._namespace, field_selector=f"metadata.name={self._name}")
        informer.on_change(seen)
        await informer.run()

    async def _pause(self) -> None:
        """Waits for the next attempt: one retry period, or less when another's lease is released or expires before."""
        loop = asyncio.get_running_loop()
        end = loop.time() + self._settings.retry_seconds * (1 + RETRY_JITTER * self._random.random())
        was_free = self._free()
        while loop.time() < end and (was_free or not self._free()):
            self._changed.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout_at(end if was_free else min(end, self._expires_at())):
                    await self._changed.wait()

    async def _lead(self, lead: Callable[[], Awaitable[None]], since: float) -> bool:
        """True when the work ended by itself, False when the lease was lost."""
        self.is_leader = True
        self._leads_until = since + self._settings.renew_deadline_seconds
        work = asyncio.ensure_future(lead())
        renewal = asyncio.create_task(self._renew(), name=f"lease {self._name}")
        try:
            await asyncio.wait({work, renewal}, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                work.result()
            return work.done()
        finally:
            self.is_leader = False
            held = not renewal.done()
            for task in (renewal, work):
                task.cancel()
            await asyncio.wait({work, renewal}, timeout=self._settings.stop_seconds)
            self._leads_until = -math.inf
            if held:
                await self._release()

    async def _renew(self) -> None:
        """Ends when the lease is lost, or may have been meanwhile."""
        while True:
            left = self._leads_until - self._clock.elapsed()
            await asyncio.sleep(max(min(self._settings.retry_seconds, left), 0.0))
            started = self._clock.elapsed()
            left = self._leads_until - started
            if left <= 0:
                return
            # One call that hangs must leave time for another.
            renewed = await self._try(min(left, self._settings.renew_deadline_seconds / 2))
            if self._clock.elapsed() >= self._leads_until:
                return
            if renewed:
                self._leads_until = started + self._settings.renew_deadline_seconds
            elif self.holder not in ("", self._identity):
                return

    async def _try(self, timeout_seconds: float) -> bool:
        """One attempt to take or renew the lease."""
        try:
            async with asyncio.timeout(timeout_seconds):
                return await self._take()
        except (StatusError, TimeoutError) as error:
            logger.info("lease not taken", extra={"lease": self._name, "error": str(error) or "timeout"})
            return False

    async def _take(self) -> bool:
        try:
            stored = await self._client.get(coordination.Lease, self._name, self._namespace)
        except NotFound:
            self._observe(await self._client.create(self._mine(None)))
            return True
        self._observe(stored)
        if not self._free():
            return False
        self._observe(await self._client.update(self._mine(stored)))
        return True

    def _observe(self, lease: coordination.Lease) -> None:
        if self._observed is None or lease.spec != self._observed.spec:
            self._observed_at = asyncio.get_running_loop().time()
        self._observed = lease

    def _free(self) -> bool:
        """Whether the lease may be taken, as far as it was seen."""
        return self.holder in ("", self._identity) or asyncio.get_running_loop().time() >= self._expires_at()

    def _expires_at(self) -> float:
        """The loop's time at which the lease expires if it is not renewed."""
        assert self._observed is not None
        return self._observed_at + (self._observed.spec.lease_duration_seconds or self._settings.duration_seconds)

    def _mine(self, stored: coordination.Lease | None) -> coordination.Lease:
        lease = copy_of(stored) if stored is not None else coordination.Lease()
        lease.metadata.name, lease.metadata.namespace = self._name, self._namespace
        now = self._clock.now()
        spec = lease.spec
        if spec.holder_identity != self._identity:
            spec.lease_transitions = spec.lease_transitions + 1 if stored is not None else 0
            spec.acquire_time.seconds, spec.acquire_time.nanos = int(now.timestamp()), now.microsecond * 1000
        spec.holder_identity = self._identity
        spec.lease_duration_seconds = max(int(self._settings.duration_seconds), 1)
        spec.renew_time.seconds, spec.renew_time.nanos = int(now.timestamp()), now.microsecond * 1000
        return lease

    async def _release(self) -> None:
        """Lets the next candidate start at once; failing is harmless, the lease expires."""
        try:
            async with asyncio.timeout(self._settings.retry_seconds):
                stored = await self._client.get(coordination.Lease, self._name, self._namespace)
                if stored.spec.holder_identity == self._identity:
                    stored.spec.holder_identity = ""
                    stored.spec.lease_duration_seconds = 1
                    await self._client.update(stored)
        except (StatusError, TimeoutError) as error:
            logger.info("lease not released", extra={"lease": self._name, "error": str(error) or "timeout"})


class Leadership:
    """The work of a component of which several may run: done at once, or only while it leads.

    The component keeps one, awaits ``run(work)`` as its own ``run``, and is ready while it works or is ``standing_by``.
    """

    def __init__(self, client: Client, lease: str, election: Election, *, clock: Clock = SYSTEM_CLOCK) -> None:
        """``lease`` is a name in ``kube-system``."""
        self._elector: LeaderElector | None = None
        if election.held:
            self._elector = LeaderElector(client, lease, election.identity, settings=election.lease, clock=clock)
        self._running = False

    def guarded(self, client: Client) -> Client:
        """The client for the work: one that writes only while it leads, where there is an election."""
        return client if self._elector is None else self._elector.guarded(client)

    def allow(self) -> float:
        """As ``LeaderElector.allow``; for ever, where there is no election."""
        return math.inf if self._elector is None else self._elector.allow()

    @property
    def standing_by(self) -> bool:
        """True while it waits for another one's end."""
        return self._running and self._elector is not None and not self._elector.is_leader

    async def run(self, work: Callable[[], Awaitable[None]]) -> None:
        """Runs ``work()``, each time it leads anew. Ends as ``LeaderElector.run``: cancelled, or with the work."""
        self._running = True
        try:
            await (work() if self._elector is None else self._elector.run(work))
        finally:
            self._running = False

"""Looks after the node: reads its signals, has it decided what is to be done, and does it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Collection

from knarr.api.core.v1 import core_pb2 as core
from knarr.client.clock import Clock
from knarr.client.events import WARNING, EventRecorder
from services.kubelet.eviction.decide import Decision, Evict, Past, Reclaim, Rules, decide
from services.kubelet.eviction.measure import Evictable, Meter
from services.kubelet.eviction.signals import SignalReader
from services.kubelet.metrics import EVICTIONS
from services.kubelet.node.machine import Pressure
from services.kubelet.thresholds import RESOURCES

log = logging.getLogger(__name__)

# As often as Kubernetes looks, and as long as it waits for a pod to be gone before it looks again.
PERIOD_SECONDS = 10.0
CLEANUP_SECONDS = 30.0


class EvictionKeeper:
    """Keeps one node. ``pods`` answers the pods on it, ``reclaim`` gives up what no pod needs."""

    def __init__(
        self,
        rules: Rules,
        signals: SignalReader,
        pods: Callable[[], Collection[Evictable]],
        meter: Meter,
        reclaim: Callable[[], Awaitable[None]],
        recorder: EventRecorder,
        clock: Clock,
    ) -> None:
        self._rules, self._signals, self._pods, self._meter, self._reclaim = rules, signals, pods, meter, reclaim
        self._recorder, self._clock = recorder, clock
        self._past = Past()
        self._on_change: Callable[[], None] = lambda: None
        self.pressure = Pressure()

    def on_change(self, listener: Callable[[], None]) -> None:
        """Calls back after ``pressure`` changed."""
        self._on_change = listener

    async def run(self, node: Callable[[], core.Node | None]) -> None:
        """Until cancelled. ``node`` answers the Node as the API has it, to tell of it; None: not yet."""
        while True:
            try:
                evicted = await self.look(node())
            except OSError as error:
                log.warning("the node cannot be looked after", extra={"error": str(error)})
                evicted = None
            if evicted is None:
                await asyncio.sleep(PERIOD_SECONDS)
            else:
                await self._wait_gone(evicted)

    async def look(self, node: core.Node | None = None) -> Evictable | None:
        """Once; answers the pod that was ended. Raises OSError where the machine cannot be read."""
        decision = await self._decide()
        if decision.short is None:
            return None
        resource = RESOURCES[decision.short.signal]
        if node is not None:
            self._recorder.event(node, WARNING, "EvictionThresholdMet", f"Attempting to reclaim {resource}")
        if isinstance(decision.action, Reclaim):
            await self._reclaim()
            decision = await self._decide(reclaimed=True)
        if decision.short is not None and not isinstance(decision.action, Evict):
            log.warning("no pod can be ended to reclaim what is short", extra={"resource": resource})
        return self._end(decision.action) if isinstance(decision.action, Evict) else None

    async def _decide(self, *, reclaimed: bool = False) -> Decision:
        """What pods use is measured only where one of them may have to go: it costs the engine a call for each container."""
        signals, apart, now = await self._signals.read(), self._signals.apart, self._clock.now()
        decision = decide(self._rules, signals, (), self._past, now, apart=apart, reclaimed=reclaimed)
        if decision.short is not None and decision.action is None:
            active = [found for found in self._pods() if found.is_active]
            candidates = await self._meter.candidates(active, decision.short.signal)
            decision = decide(self._rules, signals, candidates, self._past, now, apart=apart, reclaimed=reclaimed)
        self._past = decision.past
        before, self.pressure = self.pressure, decision.pressure
        if before != self.pressure:
            self._on_change()
        return decision

    def _end(self, action: Evict) -> Evictable | None:
        """None where it has ended by itself meanwhile."""
        found = next((pod for pod in self._pods() if pod.pod.metadata.uid == action.uid and pod.is_active), None)
        if found is not None:
            found.evict(action.message, action.grace_seconds, disrupted=True)
            EVICTIONS.labels(action.signal).inc()
        return found

    async def _wait_gone(self, evicted: Evictable) -> None:
        """What it used is to be seen as given back before another one is looked for."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLEANUP_SECONDS):
                await evicted.settled.wait()

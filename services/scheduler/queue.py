"""The pods that wait to be placed.

A pod is ``active`` (to be tried now: higher priority first, then who waits longest), in ``backoff``
(to be tried when its pause is over) or ``unschedulable`` (to be tried when something changes that
may help it, at the latest after ``flush_seconds``). A pod that failed n times pauses 1, 2, 4 … 10 s
from its last attempt; a change that may help does not shorten the pause.

Decisions are made without giving way to other tasks, so no change can slip in between looking at
the nodes and waiting for a change. Times are the event loop's seconds.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum

from knarr.client.backoff import Backoff
from knarr.objects.keys import Key
from services.scheduler.pod_facts import PodFacts
from services.scheduler.settings import SchedulerSettings


class State(Enum):
    ACTIVE = "active"
    BACKOFF = "backoff"
    UNSCHEDULABLE = "unschedulable"
    # Handed out; being decided or bound.
    TAKEN = "taken"


@dataclass(slots=True)
class Waiting:
    """One pod in the queue. ``since`` orders pods of one priority; ``attempts`` failed so far."""

    pod: PodFacts
    since: float
    state: State = State.ACTIVE
    attempts: int = 0
    retry_at: float = 0.0
    flush_at: float = 0.0
    refused_by: frozenset[str] = frozenset()
    # Raised with every move, so that entries left in the heaps are known to be stale.
    ticket: int = field(default=0)


class SchedulingQueue:
    """Pods by key, each in one state."""

    def __init__(self, settings: SchedulerSettings, now: Callable[[], float]) -> None:
        self._backoff = Backoff(settings.backoff_first_seconds, settings.backoff_limit_seconds)
        self._flush_seconds = settings.flush_seconds
        self._now = now
        self._pods: dict[Key, Waiting] = {}
        self._active: list[tuple[int, float, int, Key, int]] = []
        self._paused: list[tuple[float, int, Key, int]] = []
        self._unschedulable: dict[Key, Waiting] = {}
        self._order = itertools.count()
        self._filled = asyncio.Event()

    def __len__(self) -> int:
        return len(self._pods)

    def entries(self) -> Iterable[Waiting]:
        """Every pod that waits, in no order."""
        return [waiting for waiting in self._pods.values() if waiting.state is not State.TAKEN]

    def get(self, key: Key) -> Waiting | None:
        """The pod that waits under a key."""
        return self._pods.get(key)

    def pods(self) -> Iterable[PodFacts]:
        """Every pod that is to be placed, those that are being decided or bound among them."""
        return [waiting.pod for waiting in self._pods.values()]

    def put(self, pod: PodFacts) -> PodFacts | None:
        """Adds a pod, or takes over its change: then answers what was known of it. Whether that helps it is told by ``changed``."""
        waiting = self._pods.get(pod.key)
        if waiting is None or waiting.pod.uid != pod.uid:
            self.remove(pod.key)
            waiting = self._pods[pod.key] = Waiting(pod, self._now())
            self._activate(waiting)
            return None
        before, waiting.pod = waiting.pod, pod
        return before

    def remove(self, key: Key) -> None:
        """Forgets a pod: it is gone or has a node."""
        self._pods.pop(key, None)
        self._unschedulable.pop(key, None)

    def uid_of(self, key: Key) -> str:
        """The uid of the pod that waits under a key; empty when none does."""
        waiting = self._pods.get(key)
        return waiting.pod.uid if waiting is not None else ""

    async def take(self) -> Waiting:
        """The next pod to try, waiting for one if need be."""
        while True:
            self._release_due()
            waiting = self._pop()
            if waiting is not None:
                waiting.state = State.TAKEN
                return waiting
            self._filled.clear()
            delay = self._next_due()
            try:
                async with asyncio.timeout(delay):
                    await self._filled.wait()
            except TimeoutError:
                continue

    def refuse(self, waiting: Waiting, refused_by: frozenset[str]) -> None:
        """Puts back a pod that fits nowhere; it waits for a change that one of the filters names."""
        self._failed(waiting, refused_by)
        if self._holds(waiting):
            waiting.state = State.UNSCHEDULABLE
            waiting.flush_at = self._now() + self._flush_seconds
            self._unschedulable[waiting.pod.key] = waiting
            self._filled.set()

    def retry(self, waiting: Waiting) -> None:
        """Puts back a pod whose placement could not be carried out."""
        self._failed(waiting, frozenset())
        if self._holds(waiting):
            self._pause(waiting)

    def changed(self, helps: Callable[[Waiting], bool]) -> None:
        """Tries again the unschedulable pods for which ``helps`` is true."""
        for waiting in [waiting for waiting in self._unschedulable.values() if helps(waiting)]:
            self._resume(waiting)

    def retry_in_seconds(self, waiting: Waiting) -> float:
        """Seconds until a pod is tried again by itself."""
        due = {State.BACKOFF: waiting.retry_at, State.UNSCHEDULABLE: waiting.flush_at}.get(waiting.state, 0.0)
        return max(due - self._now(), 0.0) if due else 0.0

    def validate(self) -> None:
        """Checks the invariants; for tests."""
        for key, waiting in self._pods.items():
            assert waiting.pod.key == key
            assert (waiting.state is State.UNSCHEDULABLE) is (key in self._unschedulable)
        assert set(self._unschedulable) <= set(self._pods)
        active = {key for *_, key, ticket in self._active if key in self._pods and self._pods[key].ticket == ticket}
        assert active == {key for key, waiting in self._pods.items() if waiting.state is State.ACTIVE}

    def _holds(self, waiting: Waiting) -> bool:
        return self._pods.get(waiting.pod.key) is waiting

    def _failed(self, waiting: Waiting, refused_by: frozenset[str]) -> None:
        waiting.attempts += 1
        waiting.refused_by = refused_by
        waiting.retry_at = self._now() + self._backoff.delay(waiting.attempts)

    def _resume(self, waiting: Waiting) -> None:
        self._unschedulable.pop(waiting.pod.key, None)
        if waiting.retry_at > self._now():
            self._pause(waiting)
        else:
            self._activate(waiting)

    def _activate(self, waiting: Waiting) -> None:
        waiting.state = State.ACTIVE
        waiting.ticket += 1
        heapq.heappush(self._active, (-waiting.pod.priority, waiting.since, next(self._order), waiting.pod.key, waiting.ticket))
        self._filled.set()

    def _pause(self, waiting: Waiting) -> None:
        waiting.state = State.BACKOFF
        waiting.ticket += 1
        heapq.heappush(self._paused, (waiting.retry_at, next(self._order), waiting.pod.key, waiting.ticket))
        self._filled.set()

    def _current(self, key: Key, ticket: int, state: State) -> Waiting | None:
        waiting = self._pods.get(key)
        return waiting if waiting is not None and waiting.ticket == ticket and waiting.state is state else None

    def _pop(self) -> Waiting | None:
        while self._active:
            *_, key, ticket = heapq.heappop(self._active)
            waiting = self._current(key, ticket, State.ACTIVE)
            if waiting is not None:
                return waiting
        return None

    def _release_due(self) -> None:
        now = self._now()
        while self._paused and self._paused[0][0] <= now:
            _, _, key, ticket = heapq.heappop(self._paused)
            waiting = self._current(key, ticket, State.BACKOFF)
            if waiting is not None:
                self._activate(waiting)
        # Dictionaries keep their order and every wait is equally long: the first is due first.
        while self._unschedulable:
            first = next(iter(self._unschedulable.values()))
            if first.flush_at > now:
                return
            self._resume(first)

    def _next_due(self) -> float | None:
        """Seconds until a pod becomes active by itself; None when none will."""
        times = [self._paused[0][0]] if self._paused else []
        if self._unschedulable:
            times.append(next(iter(self._unschedulable.values())).flush_at)
        return max(min(times) - self._now(), 0.0) if times else None

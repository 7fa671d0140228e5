"""The one retry law: reconcile by key, level-based.

``reconcile(key)`` looks at the world as it is and moves it one step towards what is wanted. Its
outcomes:

- returns None: done, failures are forgotten;
- returns ``Again(after_seconds)``: done for now, look again later, failures are forgotten;
- raises ``Terminal``: a retry cannot mend it; wait for the next change;
- raises anything else: retry, 5 ms after the first failure, twice as long after each further one,
  at most 16 minutes.

One key never runs twice at once. A key enqueued while it runs, runs again afterwards, so no change
is missed. A planned retry is dropped when the key runs before it; ``enqueue_after`` is not.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from enum import Enum

from knarr.client.backoff import Backoff
from knarr.client.clock import SYSTEM_CLOCK, Clock
from knarr.client.workqueue import Delays, WorkQueue
from knarr.machinery.errors import Conflict, StatusError
from knarr.objects.keys import Key

logger = logging.getLogger(__name__)

# Keys whose last sync is remembered, those that went well and those that did not: the latter are what people look for.
REMEMBERED_KEYS, REMEMBERED_FAILURES = 1_000, 10_000


@dataclass(frozen=True, slots=True)
class Again:
    """Reconcile the key again after that many seconds."""

    after_seconds: float


class Terminal(Exception):
    """An error that no retry can mend; the key waits for the next change."""


class Expected(Exception):
    """An error that says all there is to say: it is logged without where it came from, and retried as any other."""


@dataclass(frozen=True, slots=True)
class KeyStatus:
    """The last sync of one key. ``last_sync_seconds`` is Unix time, 0 before the first one."""

    last_sync_seconds: float = 0.0
    last_error: str = ""
    failures: int = 0
    next_in_seconds: float = 0.0


class KeyState(Enum):
    """Why a key will be looked at next, or will not: see ``Reconciler.active``. In the order in which a person wants to hear of them."""

    FAILED = 1
    RETRIED = 2
    RUNNING = 3
    QUEUED = 4
    PLANNED = 5


@dataclass(frozen=True, slots=True)
class ReconcilerStatus:
    """``depth`` keys wait, ``running`` are at work; ``syncs`` and ``errors`` count from the start."""

    name: str
    depth: int
    running: int
    syncs: int
    errors: int


Reconcile = Callable[[Key], Awaitable[Again | None]]


class Reconciler:
    """Runs ``reconcile`` for the keys that are enqueued, ``workers`` of them at a time."""

    def __init__(
        self,
        name: str,
        reconcile: Reconcile,
        *,
        workers: int = 4,
        backoff: Backoff | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self.name = name
        self._reconcile = reconcile
        self._workers = workers
        self._backoff = backoff or Backoff()
        self._clock = clock
        self._queue: WorkQueue[Key] = WorkQueue()
        self._retries: Delays[Key] = Delays(self._queue.add)
        self._planned: Delays[Key] = Delays(self._queue.add)
        self._well: OrderedDict[Key, KeyStatus] = OrderedDict()
        self._erred: OrderedDict[Key, KeyStatus] = OrderedDict()
        self._failures: dict[Key, int] = {}
        self._syncs = 0
        self._errors = 0

    def enqueue(self, key: Key) -> None:
        """Reconciles a key soon. Cheap; may be called from informer listeners and before ``run``."""
        self._queue.add(key)

    def enqueue_after(self, key: Key, seconds: float) -> None:
        """Reconciles a key after a while; of several such times the earliest counts."""
        self._planned.set(key, seconds)

    async def run(self) -> None:
        """Works until it is cancelled; the reconciles at work are then cancelled too."""
        try:
            async with asyncio.TaskGroup() as group:
                for number in range(self._workers):
                    group.create_task(self._work(), name=f"{self.name} worker {number}")
        finally:
            self._retries.clear()
            self._planned.clear()

    def status(self) -> ReconcilerStatus:
        return ReconcilerStatus(self.name, len(self._queue), self._queue.running, self._syncs, self._errors)

    def key_status(self, key: Key) -> KeyStatus:
        """What happened to a key last; the oldest are forgotten after a thousand others, or ten thousand that failed."""
        known = self._erred.get(key) or self._well.get(key, KeyStatus())
        times = [seconds for delays in (self._retries, self._planned) if (seconds := delays.remaining(key)) is not None]
        return replace(known, next_in_seconds=min(times, default=0.0))

    def active(self) -> list[tuple[Key, KeyState, KeyStatus]]:
        """The keys that want something: at work, queued, to be looked at again by themselves, or failed for good. Those that failed come
        first, then those that are due next."""
        states: dict[Key, KeyState] = {}
        for key in (*self._planned, *self._retries):
            states[key] = KeyState.RETRIED if key in self._failures else KeyState.PLANNED
        # Each that failed for good has its error and no further try.
        states |= {key: KeyState.FAILED for key in self._erred if key not in states}
        states |= dict.fromkeys(self._queue.waiting(), KeyState.QUEUED)
        states |= dict.fromkeys(self._queue.at_work(), KeyState.RUNNING)
        found = [(key, state, self.key_status(key)) for key, state in states.items()]
        return sorted(found, key=lambda one: (one[1].value, one[2].next_in_seconds, str(one[0])))

    async def _work(self) -> None:
        while True:
            key = await self._queue.get()
            try:
                await self._sync(key)
            finally:
                self._queue.done(key)
            await asyncio.sleep(0)

    async def _sync(self, key: Key) -> None:
        self._retries.cancel(key)
        self._syncs += 1
        try:
            again = await self._reconcile(key)
        except Terminal as error:
            logger.warning("reconcile failed for good", extra={"reconciler": self.name, "key": str(key), "error": str(error)})
            self._failed(key, error, failures=0)
        except Exception as error:
            failures = self._failures.get(key, 0) + 1
            delay = self._backoff.delay(failures)
            self._log_failure(key, error, failures, delay)
            self._failed(key, error, failures)
            self._retries.set(key, delay)
        else:
            self._failures.pop(key, None)
            self._remember(key, KeyStatus(self._clock.now().timestamp()))
            if again is not None:
                self._retries.set(key, again.after_seconds)

    def _failed(self, key: Key, error: Exception, failures: int) -> None:
        self._errors += 1
        if failures:
            self._failures[key] = failures
        else:
            self._failures.pop(key, None)
        self._remember(key, KeyStatus(self._clock.now().timestamp(), str(error) or type(error).__name__, failures))

    def _remember(self, key: Key, status: KeyStatus) -> None:
        kept, other, most = (
            (self._erred, self._well, REMEMBERED_FAILURES) if status.last_error else (self._well, self._erred, REMEMBERED_KEYS)
        )
        other.pop(key, None)
        kept[key] = status
        kept.move_to_end(key)
        if len(kept) > most:
            kept.popitem(last=False)

    def _log_failure(self, key: Key, error: Exception, failures: int, delay: float) -> None:
        is_status = isinstance(error, StatusError | Expected)
        level = logging.DEBUG if isinstance(error, Conflict) else logging.WARNING
        context = {"reconciler": self.name, "key": str(key), "failures": failures, "retry_in_seconds": delay, "error": str(error)}
        logger.log(level, "reconcile failed", extra=context, exc_info=None if is_status else error)

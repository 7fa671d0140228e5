"""Waiting no longer than the caller of a request does."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Coroutine, Generator
from typing import Any, Generic, TypeVar

from knarr.machinery.errors import StatusError, status_error

T = TypeVar("T")

# How often timers are looked at that are looked at together, unless the first of them ends before.
LOOK_SECONDS = 0.25


async def within(deadline: float, waiting: Coroutine[Any, Any, T], what: str) -> T:
    """What ``waiting`` answers; raises Timeout, naming ``what``, when the event loop's time reaches ``deadline`` first.

    It is begun at once, and a timer is set only if it has to wait: what most requests ask for is there already, and a timer costs
    several microseconds.
    """
    try:
        first = waiting.send(None)
    except StopIteration as done:
        answer: T = done.value
        return answer
    return await finished(deadline, waiting, first, what)


async def finished(deadline: float, waiting: Coroutine[Any, Any, T], first: Any, what: str) -> T:
    """The rest of it, for who has begun it himself: ``waiting`` has yielded ``first``. On paths of every request that saves a microsecond
    for each that ends at once."""
    if deadline == math.inf:
        return await _Begun(waiting, first)
    timer = asyncio.timeout_at(deadline)
    try:
        async with timer:
            return await _Begun(waiting, first)
    except TimeoutError:
        if not timer.expired():
            raise
        raise out_of_time(what) from None


class Patience:
    """The timers of those who wait for the store, which is most often for a moment: they are looked at together, now and then. One of the
    event loop's own for each would cost as much as the rest of the wait."""

    def __init__(self) -> None:
        self._running: dict[asyncio.Timeout, float] = {}
        self._looking = False

    def watch(self, timer: asyncio.Timeout, end: float) -> None:
        """Lets a timer that was entered, and has no end of its own, expire at the event loop's time ``end`` or a moment later."""
        self._running[timer] = end
        if not self._looking:
            self._looking = True
            loop = asyncio.get_running_loop()
            loop.call_at(min(end, loop.time() + LOOK_SECONDS), self._look, loop)

    def forget(self, timer: asyncio.Timeout) -> None:
        """Nobody waits by it any more."""
        self._running.pop(timer, None)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for timer in [timer for timer, end in self._running.items() if end <= now]:
            del self._running[timer]
            timer.reschedule(now)
        self._looking = bool(self._running)
        if self._looking:
            loop.call_at(min(min(self._running.values()), now + LOOK_SECONDS), self._look, loop)


def out_of_time(what: str) -> StatusError:
    """The answer to a request whose deadline passed while it waited for ``what``."""
    message = f"Timeout: request did not complete within requested timeout - context deadline exceeded; it was waiting for {what}"
    return status_error("Timeout", message)


class _Begun(Generic[T]):
    """The rest of a coroutine that has yielded ``first`` already, which the event loop has not seen yet."""

    def __init__(self, coroutine: Coroutine[Any, Any, T], first: Any) -> None:
        self._coroutine, self._first = coroutine, first

    def __await__(self) -> Generator[Any, Any, T]:
        waited_for = self._first
        try:
            while True:
                try:
                    sent = yield waited_for
                except BaseException as error:
                    waited_for = self._coroutine.throw(error)
                else:
                    waited_for = self._coroutine.send(sent)
        except StopIteration as done:
            answer: T = done.value
            return answer

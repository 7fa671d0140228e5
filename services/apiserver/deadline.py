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


class TimeIsUp(TimeoutError):
    """A wait has come to its end."""


class Patience:
    """Ends the waits of those who wait for the store, which is most often for a moment: their ends are looked at together, now and then. A
    timer of the event loop's own for each would cost as much as the rest of the wait, and a block of asyncio's that ends half of that."""

    def __init__(self) -> None:
        self._waits: dict[_Wait, float] = {}
        self._looking = False

    async def until(self, end: float, waiting: Coroutine[Any, Any, T]) -> T:
        """What ``waiting`` answers. Raises TimeIsUp at the event loop's time ``end`` or a moment later; it is ended by then."""
        task = asyncio.current_task()
        assert task is not None
        wait = _Wait(task)
        self._waits[wait] = end
        if not self._looking:
            self._looking = True
            loop = asyncio.get_running_loop()
            loop.call_at(min(end, loop.time() + LOOK_SECONDS), self._look, loop)
        try:
            return await waiting
        except asyncio.CancelledError:
            # Somebody else may have ended the task as well: then it ends.
            if wait.take_back():
                raise TimeIsUp from None
            raise
        finally:
            self._waits.pop(wait, None)
            wait.take_back()

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for wait in [wait for wait, end in self._waits.items() if end <= now]:
            del self._waits[wait]
            wait.over()
        self._looking = bool(self._waits)
        if self._looking:
            loop.call_at(min(min(self._waits.values()), now + LOOK_SECONDS), self._look, loop)


class _Wait:
    """One of a task that may be ended by its end, as ``asyncio.timeout`` does it."""

    __slots__ = ("_ended_before", "_is_over", "_task")

    def __init__(self, task: asyncio.Task[Any]) -> None:
        self._task, self._ended_before, self._is_over = task, task.cancelling(), False

    def over(self) -> None:
        self._is_over = True
        self._task.cancel()

    def take_back(self) -> bool:
        """Of a wait that is over, what ended it; whether nobody else has ended its task meanwhile."""
        if not self._is_over:
            return False
        self._is_over = False
        return self._task.uncancel() <= self._ended_before


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

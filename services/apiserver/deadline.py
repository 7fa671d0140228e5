"""Waiting no longer than the caller of a request does."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Coroutine, Generator
from typing import Any, Generic, TypeVar

from knarr.machinery.errors import StatusError, status_error

T = TypeVar("T")


async def within(deadline: float, waiting: Coroutine[Any, Any, T], what: str) -> T:
    """What ``waiting`` answers; raises Timeout, naming ``what``, when the event loop's time reaches ``deadline`` first.

    It is begun at once, and a timer is set only if it has to wait: what most requests ask for is there already, and a timer costs
    several microseconds.
    """
    if deadline == math.inf:
        return await waiting
    try:
        first = waiting.send(None)
    except StopIteration as done:
        answer: T = done.value
        return answer
    timer = asyncio.timeout_at(deadline)
    try:
        async with timer:
            return await _Begun(waiting, first)
    except TimeoutError:
        if not timer.expired():
            raise
        raise out_of_time(what) from None


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

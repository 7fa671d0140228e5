"""Work on large bodies and answers, aside from the loop that serves everybody.

What is small is done at once, where it is: a thread costs more than a body of some kilobytes. What is large goes through one thread, one
after the other, and the interpreter lets the loop in between every few milliseconds. Who comes when many wait is sent away (429).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from knarr.machinery.errors import status_error

P = ParamSpec("P")
T = TypeVar("T")

# A body of more may take more than some milliseconds to be read, judged or written.
LARGE_BYTES = 64 * 1024
# A list of more objects is written aside too.
MANY_OBJECTS = 500
MAX_WAITING = 64
RETRY_SECONDS = 1

_thread = ThreadPoolExecutor(1, "aside")
_waiting = 0


async def aside(size_bytes: int, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What ``work`` answers, which takes about as long as ``size_bytes`` is large. Raises TooManyRequests."""
    if size_bytes <= LARGE_BYTES:
        return work(*args, **kwargs)
    if _waiting >= MAX_WAITING:
        message = f"{MAX_WAITING} requests with more than {LARGE_BYTES} bytes are waiting already; try again later"
        raise status_error("TooManyRequests", message, retry_after_seconds=RETRY_SECONDS)
    return await in_turn(work, *args, **kwargs)


async def in_turn(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """The same for what is under way already, and is not to be refused."""
    global _waiting
    _waiting += 1
    running = asyncio.get_running_loop().run_in_executor(_thread, lambda: work(*args, **kwargs))
    running.add_done_callback(_done)
    return await running


async def in_turn_if_large(size_bytes: int, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """The same, and at once where it takes no longer than ``size_bytes`` of up to LARGE_BYTES do."""
    return work(*args, **kwargs) if size_bytes <= LARGE_BYTES else await in_turn(work, *args, **kwargs)


def _done(_: object) -> None:
    global _waiting
    _waiting -= 1

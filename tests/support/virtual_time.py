"""Tests on the loop whose clock jumps (``knarr/service/virtual_time.py``).

@virtual_time
async def test_retries_after_an_hour() -> None:
    await asyncio.sleep(3600)
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from knarr.service.virtual_time import START, VirtualClock, run

__all__ = ["START", "VirtualClock", "run", "virtual_time"]

F = TypeVar("F", bound=Callable[..., Coroutine[Any, Any, None]])


def virtual_time(test: F) -> Callable[..., None]:
    """Makes an async test run on a virtual-time loop. Its fixtures must be synchronous."""

    @functools.wraps(test)
    def wrapper(*args: Any, **kwargs: Any) -> None:
        run(test(*args, **kwargs))

    return wrapper

"""Work in a pod's own network namespace.

A socket belongs to the namespace in which it was made, whoever uses it. So a thread of its own enters the pod's namespace, makes there what
is to be made and ends: it never comes back, and nothing else of the process has been there.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import threading
from collections.abc import Callable
from typing import TypeVar

from services.kubelet.runtime.handles import held

CLONE_NEWNET = 0x40000000

T = TypeVar("T")


async def in_a_thread_of_its_own(make: Callable[[], T], abandon: Callable[[T], object] = lambda _: None) -> T:
    """What ``make`` answers, or raises as OSError; its thread ends with it. ``abandon`` gets the answer that nobody waits for any more."""
    loop = asyncio.get_running_loop()
    made: asyncio.Future[T] = loop.create_future()

    def settle(answer: T) -> None:
        if made.cancelled():
            abandon(answer)
        else:
            made.set_result(answer)

    def fail(error: BaseException) -> None:
        if not made.cancelled():
            made.set_exception(error)

    def work() -> None:
        try:
            answer = make()
        except Exception as error:
            loop.call_soon_threadsafe(fail, error)
        else:
            loop.call_soon_threadsafe(settle, answer)

    threading.Thread(target=work, name="pod network", daemon=True).start()
    return await made


def enter_network(pid: int, container_id: str) -> None:
    """Brings the thread that calls it into the network namespace of a container's process, for good. Raises OSError."""
    with held(pid, container_id) as process:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(process, CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"setns: {os.strerror(ctypes.get_errno())}")

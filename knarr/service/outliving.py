"""Waiting for another process to end, without a thread."""

from __future__ import annotations

import asyncio
import os


async def until_ended(pid: int) -> None:
    """Returns when a process has ended, its own child or not. Raises ProcessLookupError where there is none."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    descriptor = os.pidfd_open(pid)
    loop.add_reader(descriptor, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)

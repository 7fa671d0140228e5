"""Named, guarded tasks: an unexpected end is an error, and a stop is staged and bounded."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Hashable, Iterable
from typing import Any, Generic, TypeVar

log = logging.getLogger(__name__)

STOP_TIMEOUT_SECONDS = 10.0

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


async def cancel(tasks: Iterable[asyncio.Task[Any]], timeout_seconds: float = STOP_TIMEOUT_SECONDS) -> None:
    """Cancels tasks and waits for their end; names in the log what did not end in time."""
    pending = [task for task in tasks if not task.done()]
    for task in pending:
        task.cancel()
    if not pending:
        return
    _, late = await asyncio.wait(pending, timeout=timeout_seconds)
    for task in late:
        log.error("task did not stop in time", extra={"task": task.get_name(), "seconds": timeout_seconds})


async def run_together(name: str, parts: dict[str, Coroutine[Any, Any, Any]]) -> None:
    """Runs coroutines until cancelled or until the first of them ends.

    Each is meant to run for ever: when one returns or raises, the others are cancelled and its
    error (or a RuntimeError that names it) is raised. Of none, none ends.
    """
    if not parts:
        await asyncio.get_running_loop().create_future()
    tasks = [asyncio.create_task(part, name=f"{name}/{label}") for label, part in parts.items()]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
            raise RuntimeError(f"{task.get_name()} ended although it should run for ever")
    finally:
        await cancel(tasks)


class SharedTasks(Generic[K, V]):
    """Work that is done once, however many wait for what comes of it. For the tasks of one loop."""

    def __init__(self) -> None:
        self._running: dict[K, asyncio.Task[V]] = {}

    def __len__(self) -> int:
        return len(self._running)

    def __contains__(self, key: K) -> bool:
        return key in self._running

    async def result(self, key: K, work: Callable[[], Coroutine[Any, Any, V]], name: str) -> V:
        """What comes of the work of this key that is under way, or of ``work``, begun as a task of this name. Raises what that raises."""
        task = self._running.get(key)
        if task is None:
            task = self._running[key] = asyncio.create_task(work(), name=name)
            task.add_done_callback(lambda _: self._running.pop(key, None))
        # Who gives up does not end it for the others.
        return await asyncio.shield(task)

    async def close(self) -> None:
        """Ends what is under way."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

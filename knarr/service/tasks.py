"""Named, guarded tasks: an unexpected end is an error, and a stop is staged and bounded."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterable
from typing import Any

log = logging.getLogger(__name__)

STOP_TIMEOUT_SECONDS = 10.0


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
    error (or a RuntimeError that names it) is raised.
    """
    tasks = [asyncio.create_task(part, name=f"{name}/{label}") for label, part in parts.items()]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
            raise RuntimeError(f"{task.get_name()} ended although it should run for ever")
    finally:
        await cancel(tasks)

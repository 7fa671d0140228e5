"""What streams over WebSockets have in common, whose clients say nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from services.apiserver.rest.request import Receive

REASON_LETTERS = 30  # a reason has 123 bytes, a letter at most four


async def until_first(writing: Coroutine[Any, Any, None], receive: Receive, ending: asyncio.Event) -> None:
    """Until everything is written, the client goes or the server stops. Raises what ``writing`` raises."""
    tasks: list[asyncio.Task[Any]] = [
        asyncio.create_task(writing, name="socket output"),
        asyncio.create_task(_gone(receive), name="socket client"),
        asyncio.create_task(ending.wait(), name="socket end"),
    ]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    if isinstance(results[0], Exception):
        raise results[0]


async def _gone(receive: Receive) -> None:
    """What the client sends says nothing."""
    while (await receive())["type"] != "websocket.disconnect":
        pass

"""A request whose answer goes on without its task."""

from __future__ import annotations

import asyncio


class Held:
    """What stands for uvicorn's cycle of a request whose answer is held: it goes on, and no task waits for what the client says."""

    __slots__ = ("disconnected", "keep_alive", "more_body", "response_complete")
    response_started = True
    body = b""
    message_event = asyncio.Event()

    def __init__(self, keep_alive: bool) -> None:
        self.keep_alive = keep_alive
        self.more_body = self.response_complete = self.disconnected = False

"""Reviews: what a component asks the API server of a caller, by creating an object that is answered and not stored."""

from __future__ import annotations

import asyncio
from typing import TypeVar

from google.protobuf.message import Message

from knarr.client.client import Client
from knarr.machinery.errors import StatusError, status_error

ASK_SECONDS = 10.0

M = TypeVar("M", bound=Message)


async def reviewed(client: Client, review: M, question: str) -> M:
    """The review with what the API server says to it; ``question`` is what it is asked, in words. Raises ServiceUnavailable where it does
    not say."""
    try:
        async with asyncio.timeout(ASK_SECONDS):
            return await client.create(review)
    except (StatusError, TimeoutError) as error:
        words = error.status.message if isinstance(error, StatusError) else "it does not answer"
        raise status_error("ServiceUnavailable", f"cannot ask the API server {question}: {words}") from error

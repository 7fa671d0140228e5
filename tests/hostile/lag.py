"""How late the loop of an API server is while hostile inputs are served; for the tests and for ``make bench ONLY=loop-lag``."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.catalog import registry
from knarr.service.authentication import TokenTable, User, hash_token
from services.apiserver.in_memory import ApiInMemory
from services.apiserver.rest.application import Application, create_app
from tests.hostile.inputs import requests

BEAT_SECONDS = 0.002
INPUTS = requests()
TOKEN = "a-token-for-tests"
TOKENS = TokenTable({hash_token(TOKEN): User("alice", "1", ("system:masters", "system:authenticated"))})


async def ask(application: Application, method: str, url: str, content_type: str, body: bytes) -> int:
    statuses: list[int] = []
    path, _, query = url.partition("?")

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    async def receive() -> Any:
        return {"type": "http.request", "body": body}

    headers = [(b"authorization", b"Bearer " + TOKEN.encode()), (b"content-type", content_type.encode())]
    scope = {
        "type": "http", "method": method, "raw_path": path.encode(), "headers": headers, "query_string": query.encode(), "state": {},
    }  # fmt: skip
    await application(scope, receive, send)
    return statuses[0]


async def beats(lags: list[float]) -> None:
    while True:
        started = time.perf_counter()
        await asyncio.sleep(BEAT_SECONDS)
        lags.append(time.perf_counter() - started - BEAT_SECONDS)


async def lags_of(name: str) -> tuple[int, list[float]]:
    """The status of an input, and how late the loop was while it was served."""
    sent = INPUTS[name]
    async with ApiInMemory() as api:
        api.seed(core.ConfigMap(metadata={"name": "old", "namespace": "default"}, data={"a": "x" * 1000}))
        application = create_app(api.server.api, TOKENS, registry())
        lags: list[float] = []
        beating = asyncio.create_task(beats(lags))
        try:
            await asyncio.sleep(0)
            status = await ask(application, *sent)
            await asyncio.sleep(0.005)
        finally:
            beating.cancel()
    return status, lags

"""The cloud controller manager in real time on a cluster in memory, for providers that are elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from knarr.api.core.v1 import core_pb2 as core
from services.cloud.component import CloudControllerManager
from services.cloud.settings import CloudSettings
from tests.support.api import FaultyApi
from tests.support.rights import CLOUD

WAIT_SECONDS = 30.0


@asynccontextmanager
async def managed(api: FaultyApi, provider: str, settings: Any) -> AsyncIterator[CloudControllerManager]:
    """``settings`` are the provider's; what failed is tried again soon."""
    chosen = CloudSettings(
        provider=provider,
        provider_settings=settings,
        retry_first_seconds=0.05,
        retry_limit_seconds=0.2,
        node_monitor_seconds=0.1,
    )
    manager = CloudControllerManager(api.client(CLOUD), chosen)
    task = asyncio.create_task(manager.run())
    try:
        yield manager
    finally:
        if task.done():
            task.result()
        task.cancel()
        await asyncio.wait([task], timeout=10)


async def until(condition: Callable[[], Any]) -> None:
    """Waits for a condition."""
    async with asyncio.timeout(WAIT_SECONDS):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


def ingress(api: FaultyApi, name: str = "web") -> list[str]:
    """Addresses or host names of a Service."""
    found = (one for one in api.all(core.Service) if one.metadata.name == name)
    return [entry.ip or entry.hostname for one in found for entry in one.status.load_balancer.ingress]


def events(api: FaultyApi, reason: str) -> list[str]:
    return [event.message for event in api.all(core.Event) if event.reason == reason]

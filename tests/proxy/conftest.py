"""The proxy's tests run on the event loop that the services run on; those of all datapaths in a laboratory, each with each datapath."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any

import pytest

from services.proxy.datapath.port import Datapath
from tests.proxy.conformance import DATAPATHS, SETTINGS
from tests.proxy.laboratory import Laboratory
from tests.support.loops import new_uvloop


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> Mapping[str, Callable[[], Any]]:
    """Overrides pytest-asyncio's choice for this directory."""
    return {"uvloop": new_uvloop}


@pytest.fixture
def lab() -> Iterator[Laboratory]:
    with Laboratory().opened() as laboratory:
        yield laboratory


@pytest.fixture(params=sorted(DATAPATHS))
async def datapath(request: pytest.FixtureRequest, lab: Laboratory) -> AsyncIterator[Datapath]:
    made = DATAPATHS[request.param](SETTINGS)
    async with asyncio.timeout(60):
        for number in range(len(lab.pods)):
            await lab.serve(number)
        await made.start()
        yield made
        await made.close()
        await lab.close_servers()
        await asyncio.sleep(0.01)
    gc.collect()

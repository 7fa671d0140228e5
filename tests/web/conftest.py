"""The page's server before a whole API server in memory, and a browser's side of it without a browser."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson
import pytest

from services.web.api import Access, Api
from services.web.guard import OWN_HEADER
from services.web.server import PageServer
from tests.apiserver.rest.live import TOKEN, LiveServer, running_server


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """An API server over a store in memory, for the tests of one module."""
    with running_server(tmp_path_factory.mktemp("cluster"), in_memory=True) as server:
        yield server


def access(cluster: LiveServer, token: str = TOKEN) -> Access:
    """The cluster as whoever has the token reaches it."""
    return Access(cluster.url, ssl.create_default_context(cafile=str(cluster.ca)), {"Authorization": f"Bearer {token}"})


@pytest.fixture
async def page(cluster: LiveServer) -> AsyncIterator[PageServer]:
    """Its page, as the administrator."""
    async with Api(access(cluster)) as api, PageServer(api) as server:
        yield server
        # A request that is given up before its answer begins says farewell in TLS for longer than the test's loop lives.
        await followed(server)


@dataclass
class Browser:
    """Sends what a browser would for the page's own scripts."""

    page: PageServer
    session: aiohttp.ClientSession
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.page.port}"

    async def log_in(self) -> None:
        async with self.session.get(self.page.link) as answer:
            assert answer.status == 200

    async def ask(self, path: str, method: str = "GET", body: bytes | None = None, **headers: str) -> tuple[int, Any]:
        """Status and JSON, or text where it is none. Names of headers are given with underscores."""
        own = {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Dest": "empty"}
        if method != "GET":
            own |= {"Origin": self.origin, OWN_HEADER: "1"}
        own |= {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.session.request(method, self.origin + path, data=body, headers=own) as answer:
            text = await answer.text()
            return answer.status, orjson.loads(text) if answer.content_type == "application/json" else text

    async def live(self) -> AsyncGenerator[tuple[str, Any], None]:
        """Events of the stream: name and data."""
        async with self.session.get(f"{self.origin}/live", timeout=aiohttp.ClientTimeout(total=None)) as answer:
            assert answer.status == 200, await answer.text()
            rest = b""
            async for piece in answer.content.iter_any():
                *whole, rest = (rest + piece).split(b"\n\n")
                for message in whole:
                    name, separator, data = message.partition(b"\ndata: ")
                    if separator:
                        yield name.removeprefix(b"event: ").decode(), orjson.loads(data)


@pytest.fixture
async def stranger(page: PageServer) -> AsyncIterator[Browser]:
    """A browser that followed no link."""
    # Cookies of an address without a name are not kept unless told.
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
        yield Browser(page, session)


@pytest.fixture
async def browser(stranger: Browser) -> Browser:
    """One that did."""
    await stranger.log_in()
    return stranger


async def followed(page: PageServer) -> None:
    """Waits until it is known of each resource whether it is followed."""
    async with asyncio.timeout(20):
        await asyncio.gather(*(follower.told.wait() for follower in page.desk.followers))

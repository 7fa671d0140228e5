"""A real browser that knows one certificate authority, before a real HAProxy. Skipped without Chromium, Playwright or certutil."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.certificates import Authority, authority, keypair
from tests.gateway.world import World, ingress_of, needs_haproxy, pods, world
from tests.support.browser import chromium

pytestmark = [pytest.mark.browser, pytest.mark.asyncio, needs_haproxy]
HOST = "name.localhost"
# How a page opened by a WebSocket hears itself.
ECHO = """() => new Promise((done, fail) => {
    const socket = new WebSocket(`wss://${location.host}/echo`);
    socket.onopen = () => socket.send("hello");
    socket.onmessage = message => { socket.close(); done(message.data); };
    socket.onerror = () => fail(new Error("the WebSocket failed"));
})"""


@pytest.fixture
def trusted() -> Authority:
    return authority("an authority of tests")


@pytest.fixture
async def screen(tmp_path: Path, trusted: Authority) -> AsyncIterator[Any]:
    """A page of a browser to which the authority was given, and nothing else about certificates."""
    certutil = shutil.which("certutil")
    if certutil is None:
        pytest.skip("there is no certutil: scripts/install.sh --tests brings it")
    store = tmp_path / "home/.pki/nssdb"
    store.mkdir(parents=True)
    (tmp_path / "ca.crt").write_bytes(trusted.pem)
    for words in (["-N", "--empty-password"], ["-A", "-t", "C,,", "-n", "tests", "-i", str(tmp_path / "ca.crt")]):
        process = await asyncio.create_subprocess_exec(certutil, "-d", f"sql:{store}", *words)
        assert await process.wait() == 0
    async with chromium(env={**os.environ, "HOME": str(tmp_path / "home")}) as browser:
        yield await browser.new_page()


@pytest.fixture
async def w(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        yield made


async def test_a_browser_comes_by_http_and_stays_over_tls(w: World, screen: Any, trusted: Authority) -> None:
    await w.certificate("pair", keypair(HOST, signer=trusted))
    async with pods("x") as (x,), w.browser("https") as browser:
        await w.service("web", [x])
        await w.client.create(ingress_of(host=HOST, tls="pair"))
        await w.until_answer(browser, HOST, text="x")
        answer = await screen.goto(f"http://{HOST}:{w.settings.http_port}/page?a=b")
        assert (answer.status, answer.url) == (200, f"https://{HOST}:{w.settings.https_port}/page?a=b")
        redirected = await answer.request.redirected_from.response()
        assert redirected.status == 308
        shown = await answer.security_details()
        assert (shown["subjectName"], shown["issuer"], shown["protocol"]) == (HOST, "an authority of tests", "TLS 1.3")
        assert await screen.evaluate("performance.getEntriesByType('navigation')[0].nextHopProtocol") == "h2"
        assert await screen.inner_text("body") == "x"
        assert x.requests[-1][2]["X-Forwarded-Proto"] == "https"
        assert await screen.evaluate(ECHO) == "x: hello"


async def test_a_browser_does_not_trust_what_nobody_signed(w: World, screen: Any) -> None:
    async with pods("x") as (x,), w.browser("https") as browser:
        await w.service("web", [x])
        await w.client.create(ingress_of(host=HOST))
        await w.until_answer(browser, HOST, text="x")
        with pytest.raises(Exception, match="ERR_CERT_AUTHORITY_INVALID"):
            await screen.goto(f"https://{HOST}:{w.settings.https_port}/")

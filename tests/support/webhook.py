"""A webhook on loopback, with a certificate of an authority of its own; a test says what it answers."""

from __future__ import annotations

import asyncio
import base64
import ssl
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import yaml
from aiohttp import web

from knarr.service.certificates import CertificateAuthority

NAMES = ("127.0.0.1", "hook.default.svc")
# Given the request's body, answers a response or what becomes one: JSON.
Answer = Callable[[Any], Awaitable[Any]]


class Webhook:
    """``asked`` are the bodies as they came. ``answer`` may be set anew at any time."""

    def __init__(self, authority: CertificateAuthority, answer: Answer) -> None:
        self.answer, self._authority = answer, authority
        self.asked: list[Any] = []
        # What stands behind the question mark of each.
        self.queries: list[str] = []
        self.port = self.open = self.most_open = 0
        # The connections over which requests came; those that are still there.
        self.connections: set[Any] = set()

    @property
    def ca_bundle(self) -> bytes:
        return self._authority.pair.certificate

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}/convert"

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        self.connections.add(request.transport)
        self.asked.append(orjson.loads(await request.read()))
        self.queries.append(request.query_string)
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            found = await self.answer(self.asked[-1])
        finally:
            self.open -= 1
        if isinstance(found, web.StreamResponse):
            return found
        return web.Response(body=found if isinstance(found, bytes) else orjson.dumps(found), content_type="application/json")


@asynccontextmanager
async def running_webhook(
    answer: Answer, names: tuple[str, ...] = NAMES, authority: CertificateAuthority | None = None
) -> AsyncIterator[Webhook]:
    authority = authority or CertificateAuthority.create()
    webhook = Webhook(authority, answer)
    runner = web.ServerRunner(web.Server(webhook), shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=_context(authority, names))
    await site.start()
    webhook.port = runner.addresses[0][1]
    try:
        yield webhook
    finally:
        await runner.cleanup()
        # Closed connections say goodbye in a later turn of the loop.
        await asyncio.sleep(0)


def _context(authority: CertificateAuthority, names: tuple[str, ...]) -> ssl.SSLContext:
    pair = authority.issue("webhook", hosts=names)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:
        pair.save(Path(folder), "tls")
        context.load_cert_chain(Path(folder, "tls.crt"), Path(folder, "tls.key"))
    return context


def kubeconfig(folder: Path, server: str, ca: bytes = b"", **user: Any) -> Path:
    """A file in ``folder`` that names a server, whom to trust there, and what is shown to it."""
    cluster: dict[str, Any] = {"server": server}
    if ca:
        cluster["certificate-authority-data"] = base64.b64encode(ca).decode()
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "there", "user": "us"}}],
        "clusters": [{"name": "there", "cluster": cluster}],
        "users": [{"name": "us", "user": user}],
    }
    file = folder / "webhook.kubeconfig"
    file.write_text(yaml.safe_dump(document))
    return file
